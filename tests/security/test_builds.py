"""Builds from a base image, a context or an archive that wants to reach the host (SECURITY: section builds).

Every link in these leads to a canary directory of the host. What is copied, mounted, made or removed through
it must stay inside the build; the controls show that the link, taken as a path of the host, does lead there.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyd import Engine
from pyd.build.failure import BuildFailed
from pyd.errors import PydError
from tests.support.builds import Builder
from tests.support.world import World

SECRET = "of the host\n"


@pytest.fixture
def builder(busybox: str, tmp_path: Path) -> Iterator[Builder]:
    context = tmp_path / "context"
    context.mkdir()
    with Engine() as engine:
        yield Builder(engine, context, busybox)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    directory = tmp_path / "canary"
    (directory / "y" / "z").mkdir(parents=True)
    (directory / "secret").write_text(SECRET)
    return directory


def untouched(canary: Path) -> bool:
    found = sorted(str(path.relative_to(canary)) for path in canary.rglob("*"))
    return found == ["secret", "y", "y/z"] and (canary / "secret").read_text() == SECRET


def hostile(builder: Builder, canary: Path, link: str = "/link") -> str:
    """A base whose `link` leads to the canary."""
    builder.build(
        f"FROM busybox\nRUN mkdir -p $(dirname {link}); ln -s {canary} {link}\n", tags=("hostile:1",)
    )
    layer = builder.engine.store.images.resolve("hostile:1").layers[0]
    # the control: for whoever follows it on the host, it is the canary
    assert (Path(builder.engine.store.snapshots.path(layer) + link) / "secret").read_text() == SECRET
    return "hostile:1"


@pytest.mark.parametrize(
    "instruction",
    [
        "COPY file /link/",
        "COPY file /link/y/z/",
        "COPY file /link/secret",
        "COPY --chown=7:7 --chmod=777 file /link/secret",
        "ADD file /link/new",
        "ADD archive.tar /link/",
        "WORKDIR /link/made",
        "COPY <<EOF /link/heredoc\ntext\nEOF",
        "RUN echo x >/link/secret 2>/dev/null; mkdir -p /link; touch /link/x; true",
        "RUN --mount=type=cache,target=/link/c touch /link/c/x",
        "RUN --mount=type=tmpfs,target=/link/y true",
        "RUN --mount=type=secret,id=s,target=/link/secret-file cat /link/secret-file",
        "RUN --mount=type=bind,source=file,target=/link/secret true",
    ],
)
def test_nothing_is_written_through_a_link(builder: Builder, canary: Path, instruction: str) -> None:
    base = hostile(builder, canary)
    builder.write("file", "from the build\n")
    with tarfile.open(builder.directory / "archive.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("unpacked"))
    try:
        builder.build(f"FROM {base}\n{instruction}\n", secrets=(f"id=s,src={builder.directory / 'file'}",))
    except BuildFailed:
        pass  # refusing is as good as staying inside
    assert untouched(canary)


@pytest.mark.parametrize(
    "instruction",
    [
        "COPY --from=0 /link/secret /got",
        "COPY --from=0 /link /got",
        "COPY --from=0 /link/* /got/",
        "COPY --from=0 /deep/../link/secret /got",
        "RUN --mount=from=0,source=/link,target=/m cat /m/secret >/got",
        "RUN --mount=from=0,source=/link/secret,target=/m cat /m >/got",
        "RUN --mount=type=cache,from=0,source=/link,target=/m cat /m/secret >/got",
        "COPY link/secret /got",
        "COPY link /got",
        "COPY l*/secret /got",
        "ADD link/secret /got",
        "RUN --mount=source=link,target=/m cat /m/secret >/got",
    ],
)
def test_nothing_is_read_through_a_link(builder: Builder, canary: Path, instruction: str) -> None:
    base = hostile(builder, canary)
    (builder.directory / "link").symlink_to(canary)
    assert (builder.directory / "link" / "secret").read_text() == SECRET, "the control"
    try:
        builder.build(f"FROM {base}\nFROM busybox\n{instruction}\n", tags=("read:1",))
    except PydError:
        return
    done = builder.engine.run("read:1", ["sh", "-c", "cat /got /got/secret"], network="none")
    assert SECRET.encode() not in done.stdout


def test_a_mount_point_is_not_removed_through_a_link(builder: Builder, canary: Path) -> None:
    """CVE-2024-23652: after the step the runtime removed the empty directories that it had made."""
    builder.build(
        f"FROM busybox\nRUN --mount=type=tmpfs,target=/x/y/z mkdir /moved; mv /x /moved; ln -s {canary} /x\n"
    )
    assert untouched(canary)


def test_an_archive_does_not_leave_its_place(builder: Builder, canary: Path) -> None:
    hostile_names = ("../../../../../../escaped", f"{canary}/escaped", "link/escaped", "hard")
    for number, name in enumerate(hostile_names):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as tar:
            link = tarfile.TarInfo("link")
            link.type, link.linkname = tarfile.SYMTYPE, str(canary)
            tar.addfile(link)
            entry = tarfile.TarInfo(name)
            if name == "hard":
                entry.type, entry.linkname = tarfile.LNKTYPE, f"{canary}/secret"
            tar.addfile(entry)
        builder.write(f"{number}.tar", stream.getvalue())
        try:
            builder.build(f"FROM busybox\nADD {number}.tar /unpacked/\n", tags=("unpacked:1",))
        except BuildFailed:
            continue
        done = builder.engine.run("unpacked:1", ["cat", "/unpacked/hard"], network="none")
        assert SECRET.encode() not in done.stdout
    assert untouched(canary)


@pytest.mark.parametrize("number", range(3, 24))
def test_a_working_directory_is_no_descriptor_of_the_host(builder: Builder, number: int) -> None:
    """CVE-2024-21626."""
    try:
        done = builder.build(
            f"FROM busybox\nWORKDIR /proc/self/fd/{number}\n"
            "RUN pwd; cat ../../../etc/hostname; ls /proc/self/fd\n"
        )
    except BuildFailed:
        return
    assert os.uname().nodename not in done.told.text


def test_descriptors_of_a_step(builder: Builder) -> None:
    done = builder.build('FROM busybox\nRUN ["ls", "/proc/self/fd"]\n')
    # the fourth is the directory that ls reads
    assert done.told.text.split() == ["0", "1", "2", "3"]


def test_names_of_caches_are_no_paths(builder: Builder, world: World, canary: Path) -> None:
    for name in ("../../../../canary", "/etc", "a/../../b", str(canary)):
        builder.build(f"FROM busybox\nRUN --mount=type=cache,id={name},target=/c echo x >/c/written\n")
    assert untouched(canary)
    mounts = world.data_root / "build" / "mounts"
    names = [path.name for path in mounts.iterdir()]
    assert len(names) >= 4 and all(re.fullmatch(r"[0-9a-f]{32}(-\d+)?", name) for name in names)


def test_what_a_step_leaves_running_ends_with_it(builder: Builder, world: World) -> None:
    builder.build("FROM busybox\nRUN (sleep 1000 &) ; setsid sleep 1000 >/dev/null 2>&1 & true\n")
    assert world.cgroups() == []


def test_other_settings_of_a_base_are_another_build(builder: Builder) -> None:
    """CVE-2024-24557: a base of the same layers and other settings was taken from the cache."""
    text = "FROM {0}\nRUN echo $TOKEN >/token; cat /token\n"
    for value in ("one", "two"):
        builder.build(f"FROM busybox\nENV TOKEN={value}\nONBUILD ENV MORE={value}\n", tags=(f"{value}:1",))
    images = [builder.engine.store.images.resolve(f"{value}:1") for value in ("one", "two")]
    assert images[0].layers == images[1].layers
    found = [builder.build(text.format(f"{value}:1")) for value in ("one", "two")]
    assert [one.told.text for one in found] == ["one\n", "two\n"]
    assert found[0].id != found[1].id


def test_programs_of_the_image_are_not_run_by_the_host(builder: Builder, canary: Path) -> None:
    """Its environment and its libraries are for its own processes: nothing of pyd runs with them."""
    trojan = f"#!/bin/sh\ntouch {canary}/executed\n"
    for name in ("tar", "xz", "git", "gzip", "unpigz", "ssh"):
        builder.write(f"bin/{name}", trojan, 0o755)
    builder.write("file", "x")
    builder.build(
        "FROM busybox\n"
        "ENV PATH=/trojans:/bin LD_PRELOAD=/trojans/x.so PYTHONPATH=/trojans GIT_SSH=/trojans/ssh\n"
        "COPY bin /trojans\nCOPY bin /usr/bin/\nCOPY file /file\nADD file /file2\n"
        "RUN true\nWORKDIR /trojans\n"
    )
    assert untouched(canary)
