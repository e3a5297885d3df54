"""The same inputs give the same image, whatever the clock, the times of files and the order of names say."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pyd import Engine
from tests.support.builds import Builder
from tests.support.world import World

# nothing in these reads the clock
DOCKERFILES = {
    "copy": "COPY tree /tree\n",
    "copy with owner": "COPY --chown=3:4 --chmod=640 tree /tree\n",
    "copy linked": "RUN mkdir /other\nCOPY --link tree /tree\n",
    "copy over": "COPY tree/a /bin/a\nCOPY tree/b /bin/a\n",
    "copy from a stage": "RUN mkdir /s; echo s >/s/f\nFROM busybox\nCOPY --from=0 /s /s\n",
    "env": "ENV A=1 B=2\nENV C=$A\n",
    "label": "LABEL b=2 a=1\nLABEL c=3\n",
    "workdir": "WORKDIR /a/b/c\nWORKDIR d\n",
    "run writes": "RUN echo text >/text\n",
    "run makes a tree": "RUN mkdir -p /x/y/z; for n in 5 3 1 4; do echo $n >/x/$n; done; touch /x/y\n",
    "run links": "RUN echo 1 >/one; ln /one /two; ln -s /one /three; mkfifo /four\n",
    "run removes": "RUN rm -r /root /etc/group; rm /bin/acpid\n",
    "run replaces": "RUN rm -r /root; mkdir /root; echo new >/root/new\n",
    "run changes modes": "RUN chmod 700 /etc; chown 7:8 /etc/passwd\n",
    "run with a cache": "RUN --mount=type=cache,target=/c date >/c/date; echo done >/done\n",
    "run with a secret": "RUN --mount=type=secret,id=none echo done >/done\n",
    "run appends": "RUN echo line >>/etc/passwd\nRUN echo line >>/etc/passwd\n",
    "heredocs": "COPY <<ONE <<TWO /h/\n1\nONE\n2\nTWO\nRUN <<END\necho three >/h/three\nEND\n",
    "settings": 'USER 5\nEXPOSE 1 2\nVOLUME /v\nCMD x\nENTRYPOINT ["y"]\nSTOPSIGNAL 9\nHEALTHCHECK NONE\n',
    "archive": "ADD tree.tar /unpacked/\n",
    "times of the past": "RUN touch -d '1975-01-01 00:00:00' /old; touch -d '2001-01-01 00:00:00' /middle\n",
    "arguments": "ARG A=1\nARG B\nRUN echo $A $B >/args\n",
}


def context(directory: Path, names: list[str], when: int) -> None:
    """The same files, made in this order, with these times."""
    import tarfile

    tree = directory / "tree"
    tree.mkdir(parents=True)
    for name in names:
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_text(f"{name}\n")
        (tree / name).chmod(0o755 if name == "b" else 0o644)
    (tree / "link").symlink_to("a")
    with tarfile.open(directory / "tree.tar", "w") as tar:
        entry = tarfile.TarInfo("from-the-archive")
        entry.mtime = 500_000_000
        tar.addfile(entry)
    for path in [directory, *directory.rglob("*")]:
        os.utime(path, (when, when), follow_symlinks=False)


@pytest.mark.parametrize("kind", DOCKERFILES)
def test_the_digest_is_the_same(kind: str, builder: Builder, world: World, tmp_path: Path) -> None:
    text = f"FROM busybox\n{DOCKERFILES[kind]}"
    ids = []
    for number, names in enumerate((["a", "b", "sub/c", "sub/d"], ["sub/d", "b", "sub/c", "a"])):
        place = tmp_path / str(number)
        context(place, names, 1_600_000_000 + number * 1_000_000)
        # nothing of the first is taken for the second
        built = builder.build(text, context=str(place), no_cache=True)
        layers = builder.engine.store.images.resolve(built.id).config.diff_ids
        ids.append((built.id, layers))
        if number == 0:
            _let_the_second_pass()
    assert ids[0] == ids[1]


def _let_the_second_pass() -> None:
    now = int(time.time())
    while int(time.time()) == now:
        time.sleep(0.02)


def test_the_control_a_clock_in_the_dockerfile_is_noticed(builder: Builder) -> None:
    text = "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid >/now\n"
    first = builder.build(text, no_cache=True)
    assert builder.build(text, no_cache=True).id != first.id


def test_source_date_epoch(builder: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    builder.write("file", "x")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    done = builder.build(
        "FROM busybox\nCOPY file /\nRUN touch /made; echo $SOURCE_DATE_EPOCH\n", tags=("e:1",)
    )
    assert done.told.text == "1000000000\n"
    image = builder.engine.store.images.resolve(done.id)
    assert image.created == "2001-09-09T01:46:40Z"
    assert builder.run("e:1", "stat", "-c", "%Y", "/file", "/made") == "1000000000\n1000000000\n"


def test_a_second_machine(builder: Builder, world: World, tmp_path: Path) -> None:
    """Another store, with the base loaded anew."""
    archive = tmp_path / "base.tar"
    with archive.open("wb") as file:
        builder.engine.images.save([builder.image], file)
    text = "FROM busybox\nRUN echo same >/same\n"
    first = builder.build(text)
    with Engine(data_root=str(tmp_path / "data"), run_root=str(tmp_path / "run")) as other:
        other.images.load(str(archive))
        built = Builder(other, builder.directory, builder.image).build(text)
        assert built.id == first.id and built.told.done == ["RUN echo same >/same"]
