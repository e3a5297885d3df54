"""What a COPY means: found as BuildKit finds it, never outside of its root, described by one digest."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pyd import _native
from pyd.errors import InvalidArgument, KernelError, NotFound


def tree(root: Path, *names: str) -> Path:
    """Files whose content is their name; names that end in a slash are directories."""
    root.mkdir(exist_ok=True)
    for name in names:
        path = root / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_text(name)
    return root


def found(selection: _native.Selection) -> list[str]:
    return [path for path, _ in selection.listing()]


@pytest.fixture
def context(tmp_path: Path) -> Path:
    return tree(
        tmp_path / "context",
        "a.txt",
        "b.txt",
        "b.md",
        "src/main.c",
        "src/lib/x.c",
        "src/lib/x.h",
        "docs/README.md",
    )


def test_sources(context: Path) -> None:
    (context / "link").symlink_to("src/lib")
    (context / "file-link").symlink_to("/a.txt")
    select = _native.BuildContext(context).select
    for name in ("a.txt", "/a.txt", "./a.txt", "../a.txt", "src/../a.txt", "/../../a.txt"):
        one = select([name])
        assert (found(one), one.roots) == (["a.txt"], [(name, "a.txt", "file")]), name
    assert found(select(["src"])) == ["src/lib", "src/lib/x.c", "src/lib/x.h", "src/main.c"]
    assert found(select(["src/"])) == found(select(["src"]))
    assert found(select(["*.txt"])) == ["a.txt", "b.txt"]
    assert found(select(["src/*/x.?"])) == ["src/lib/x.c", "src/lib/x.h"]
    assert found(select(["[!a].txt"])) == ["a.txt"]  # Go's negation is ^
    assert found(select(["[^a].txt"])) == ["b.txt"]
    assert found(select(["link"])) == ["src/lib/x.c", "src/lib/x.h"]
    assert found(select(["link/x.c"])) == ["src/lib/x.c"]
    assert select(["file-link"]).roots == [("file-link", "file-link", "file")]
    assert found(select(["file-link"])) == ["a.txt"]
    assert [text for _, text in select(["file-link"], follow=False).listing()] == ["symlink /a.txt"]
    everything = select(["."])
    assert (everything.files, everything.bytes) == (9, 60)
    assert found(select(["b.txt", "a.txt"])) == ["b.txt", "a.txt"]


def test_what_is_missing(context: Path) -> None:
    (context / "dangling").symlink_to("/etc/passwd")
    select = _native.BuildContext(context).select
    for name in ("x", "a.txt/y", "dangling", "dangling/x", "nodir/*.txt"):
        with pytest.raises(NotFound, match="not found"):
            select([name])
    with pytest.raises(NotFound, match=r'^"/sub/x": not found'):
        select(["./sub//x"])
    assert select(["nothing*"]).files == 0
    assert select(["x"], required=False).roots == []
    with pytest.raises(InvalidArgument, match="syntax error in pattern"):
        select(["a[", "b"])
    (context / "loop").symlink_to("loop")
    with pytest.raises(KernelError) as error:
        select(["loop"])
    assert error.value.errno == errno.ELOOP


def test_ignored_files_are_not_there(context: Path) -> None:
    ignore = ["docs", "!docs/README.md", "**/*.h", "b.*", "!b.md"]
    select = _native.BuildContext(context, ignore=ignore).select
    assert found(select(["."])) == [
        "a.txt", "b.md", "docs", "docs/README.md", "src", "src/lib", "src/lib/x.c", "src/main.c",
    ]  # fmt: skip
    for name in ("b.txt", "src/lib/x.h"):
        with pytest.raises(NotFound):
            select([name])
    (context / "docs/README.md").unlink()
    assert "docs" not in found(select(["."]))
    # A link to what is ignored leads nowhere.
    (context / "link").symlink_to("b.txt")
    with pytest.raises(NotFound):
        select(["link"])
    assert found(_native.BuildContext(context, ignore=["*"]).select(["."])) == []


def test_excludes(context: Path) -> None:
    select = _native.BuildContext(context).select
    assert found(select(["src"], excludes=["lib/*.h"])) == ["src/lib", "src/lib/x.c", "src/main.c"]
    assert found(select(["src"], excludes=["lib"])) == ["src/main.c"]
    assert found(select(["src"], excludes=["*", "!lib/x.h"])) == ["src/lib", "src/lib/x.h"]
    assert found(select(["b*"], excludes=["*.md"])) == ["b.txt"]
    assert found(select(["b.md"], excludes=["*.md"])) == ["b.md"]  # asked for by its name


def test_parents(context: Path) -> None:
    select = _native.BuildContext(context).select
    assert found(select(["src/lib/x.c"], parents=True)) == ["src", "src/lib", "src/lib/x.c"]
    assert found(select(["src/**/*.c"], parents=True)) == ["src", "src/lib", "src/lib/x.c", "src/main.c"]
    pivot = select(["src/./lib/x.h"], parents=True)
    assert (found(pivot), pivot.roots) == (
        ["src/lib", "src/lib/x.h"],
        [("src/./lib/x.h", "src", "directory")],
    )
    assert found(select(["docs"], parents=True)) == ["docs", "docs/README.md"]
    with pytest.raises(NotFound, match=r'"/src/none": not found'):
        select(["src/none"], parents=True)
    assert found(select(["*/none"], parents=True)) == []


def test_the_digest_is_of_what_is_copied(context: Path) -> None:
    def digest(*names: str) -> str:
        return _native.BuildContext(context).select(list(names) or ["src"]).digest

    first = digest()
    os.utime(context / "src/main.c", (1, 1))
    (context / "src").chmod(0o700)  # the content is copied, not the directory
    assert digest() == first
    changes: dict[str, Callable[[], object]] = {
        "content": lambda: (context / "src/main.c").write_text("other"),
        "mode": lambda: (context / "src/main.c").chmod(0o755),
        "directory's mode": lambda: (context / "src/lib").chmod(0o711),
        "name": lambda: (context / "src/main.c").rename(context / "src/main.cc"),
        "new directory": (context / "src/new").mkdir,
        "link": lambda: (context / "src/link").symlink_to("x"),
        "attribute": lambda: os.setxattr(context / "src/main.cc", "user.x", b"y"),
        "hard link": lambda: os.link(context / "src/main.cc", context / "src/zz"),
    }
    seen = {first}
    for what, change in changes.items():
        change()
        assert digest() not in seen, what
        seen.add(digest())
    # A file has its name in it, a directory has not; neither has the way that it was asked for.
    assert digest("a.txt") != digest("b.txt")
    assert digest("src") == digest("./src/")
    assert digest("a.txt", "b.txt") != digest("b.txt", "a.txt")


def test_nodes(context: Path) -> None:
    os.mkfifo(context / "src/pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(context / "src/socket"))
        listing = dict(_native.BuildContext(context).select(["src"]).listing())
        assert _native.BuildContext(context).select(["src/socket"]).files == 0
    assert "src/socket" not in listing
    assert listing["src/pipe"].startswith("fifo ")


def test_what_was_read_is_remembered(context: Path, tmp_path: Path) -> None:
    cache = tmp_path / "remembered"

    def read() -> int:
        progress = _native.Progress()
        _native.BuildContext(context, cache=str(cache)).select(["."], progress=progress)
        return progress.done

    whole = read()
    assert whole > 0
    assert not cache.exists() or read() == whole  # written a moment ago: another write may have the same time
    time.sleep(1.1)
    assert read() == whole
    assert read() == 0
    path = context / "src/main.c"
    status = path.stat()
    path.write_text("MAIN.c src"[: status.st_size])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # as many bytes, the same time
    assert read() == status.st_size
    for damage in (b"", b"foreign", cache.read_bytes()[:-1], os.urandom(1000)):
        cache.write_bytes(damage)
        assert read() == whole
    cache.unlink()
    cache.mkdir()  # cannot be written: nothing but time is lost
    assert read() == whole


def test_a_name_leads_nowhere_else(context: Path, tmp_path: Path) -> None:
    outside = tree(tmp_path / "outside", "secret")
    (context / "abs").symlink_to(outside)
    (context / "rel").symlink_to("../outside")
    (context / "up").symlink_to("../../../../../../../../../../../etc")
    select = _native.BuildContext(context).select
    for name in ("abs/secret", "rel/secret", "abs", "rel/*", "up/passwd", "../outside/secret"):
        with pytest.raises(NotFound):
            select([name])
    inside = select(["."])  # as links
    assert "abs" in found(inside)
    assert not any("secret" in name for name in found(inside))
    tree(context, "etc/passwd")
    assert found(select(["up/passwd"])) == ["etc/passwd"]  # control: the link is followed, from the root


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: whiteouts are device nodes")
def test_layers(tmp_path: Path) -> None:
    bottom = tree(tmp_path / "0", "etc/passwd", "etc/gone", "opt/a/old", "opt/b/x", "usr/lib/y")
    middle = tree(tmp_path / "1", "opt/a/new", "etc/shadow", "opt/b/")
    top = tree(tmp_path / "2", "etc/passwd2")
    os.mknod(middle / "etc/gone", 0o020000, 0)
    os.mknod(middle / "usr", 0o020000, 0)
    os.setxattr(middle / "opt/a", "trusted.overlay.opaque", b"y")
    (top / "lib").symlink_to("opt/b")
    layers = _native.LayerTree([str(top), str(middle), str(bottom)])
    assert found(layers.select(["/"])) == [
        "etc", "etc/passwd", "etc/passwd2", "etc/shadow", "lib",
        "opt", "opt/a", "opt/a/new", "opt/b", "opt/b/x",
    ]  # fmt: skip
    assert found(layers.select(["lib/x"])) == ["opt/b/x"]
    for name in ("usr/lib/y", "etc/gone", "opt/a/old"):
        with pytest.raises(NotFound):
            layers.select([name])
    before = layers.select(["/etc"]).digest
    os.chown(bottom / "etc/passwd", 7, 7)
    assert layers.select(["/etc"]).digest != before  # of a context, the owner is nobody's business
    assert layers.select(["/etc/passwd"]).listing()[0][1].endswith(" 7:7")
