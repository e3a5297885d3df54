"""Why a step was not in the cache: for each kind of change the true cause, and only that."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.builds import Builder

BASE = """FROM busybox AS tool
RUN echo tool >/tool
FROM busybox
ARG LEVEL
ENV MODE=plain
WORKDIR /app
COPY src/ /app/src/
RUN --mount=type=bind,from=tool,source=/tool,target=/t cat /t; ls /app >/tmp/list
"""
COPY, RUN = "COPY src/ /app/src/", BASE.strip().splitlines()[-1]


@dataclass
class Change:
    """`edit`: of the files. `replace`: in the Dockerfile. `step`: the instruction after the change."""

    said: str
    step: str
    replace: tuple[str, str] = ("", "")
    edit: Callable[[Builder], object] = lambda builder: None
    options: dict[str, Any] = field(default_factory=dict)


def remove(builder: Builder) -> None:
    (builder.directory / "src/b.txt").unlink()


CHANGES = {
    "contents": Change("src/b.txt has other contents", COPY, edit=lambda b: b.write("src/b.txt", "other")),
    "new file": Change("src/c.txt is new", COPY, edit=lambda b: b.write("src/c.txt", "new")),
    "removed file": Change("src/b.txt is gone", COPY, edit=remove),
    "mode": Change("src/a.sh has mode 755, had 644", COPY, edit=lambda b: b.write("src/a.sh", "a", 0o755)),
    "ignored now": Change("src/b.txt is gone", COPY, edit=lambda b: b.write(".dockerignore", "src/b.txt\n")),
    "command": Change("the command is another", "RUN echo other >/tool", ("echo tool", "echo other")),
    "environment": Change("ENV MODE is 'other', was 'plain'", RUN, ("MODE=plain", "MODE=other")),
    "new variable": Change("ENV MORE is new", RUN, ("ENV MODE=plain", "ENV MODE=plain MORE=1")),
    "argument": Change("build argument LEVEL is '2', was '1'", RUN, options={"build_args": {"LEVEL": "2"}}),
    "directory": Change("the directory is '/other', was '/app'", "WORKDIR /other",
                        ("WORKDIR /app", "WORKDIR /other")),
    "user": Change("USER is new", RUN, ("RUN --mount", "USER 7\nRUN --mount")),
    "network": Change("--network is 'none', was 'default'", RUN.replace("RUN", "RUN --network=none", 1),
                      ("RUN --mount", "RUN --network=none --mount")),
    "destination": Change("the destination is '/app/other/', was '/app/src/'", "COPY src/ /app/other/",
                          ("src/ /app/src/", "src/ /app/other/")),
    "owner": Change("the owner is new", "COPY --chown=5:6 src/ /app/src/",
                    ("COPY src", "COPY --chown=5:6 src")),
    "permissions": Change("--chmod is new", "COPY --chmod=700 src/ /app/src/",
                          ("COPY src", "COPY --chmod=700 src")),
    "shell": Change("the command is another", RUN, ("RUN --mount", 'SHELL ["/bin/sh", "-ec"]\nRUN --mount')),
    "mount": Change("the mount at /u: target is '/u', was '/t'", RUN.replace("target=/t", "target=/u"),
                    ("target=/t", "target=/u")),
    "file of a mount": Change("in the mount at /t: tool has other contents", RUN, ("echo tool", "echo 2")),
    "epoch": Change("SOURCE_DATE_EPOCH is 400000000, was 315532800", COPY, options={"epoch": 400000000}),
    "what is below": Change("line 8 gave other files", RUN, ("COPY src", "RUN echo below >/below\nCOPY src")),
}  # fmt: skip


@pytest.mark.parametrize("kind", CHANGES)
def test_the_cause_is_named(builder: Builder, kind: str) -> None:
    change = CHANGES[kind]
    builder.write("src/a.sh", "a")
    builder.write("src/b.txt", "b")
    builder.write("src/other", kind)  # what the other tests have built is not found
    options: dict[str, Any] = {"build_args": {"LEVEL": "1"}}
    builder.build(BASE, **options)
    assert builder.build(BASE, **options).told.reasons == {}
    before, after = change.replace
    assert before in BASE
    change.edit(builder)
    text = BASE.replace(before, after, 1) if before else BASE
    told = builder.build(text, **{**options, **change.options}).told
    assert told.reasons[change.step] == change.said


def test_what_was_removed_from_the_cache(builder: Builder) -> None:
    text = "FROM busybox\nRUN echo removed >/removed\n"
    first = builder.build(text)
    layer = builder.engine.store.images.resolve(first.id).layers[0]
    builder.engine.images.remove(first.id)
    path = builder.engine.store.snapshots.path(layer)
    assert os.path.isdir(path)  # the cache keeps it
    with builder.engine.store.db.write() as tx:
        tx.execute("DELETE FROM build_layers WHERE chain_id = ?", (layer,))
    builder.engine.store.gc()
    assert not os.path.isdir(path)
    told = builder.build(text).told
    assert told.reasons["RUN echo removed >/removed"] == "its result was removed from the cache"
