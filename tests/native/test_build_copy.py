"""COPY into the root of a container: what BuildKit makes of it, and nothing outside of that root."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyd import _native
from pyd.errors import Conflict, InvalidArgument, KernelError
from tests.native.test_build_select import tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts an overlay")

EPOCH = 315_532_800


class Image:
    """A lower directory, and what is written over it."""

    def __init__(self, directory: Path) -> None:
        self.lower, self.upper, self.work = (directory / name for name in ("lower", "upper", "work"))
        for path in (self.lower, self.upper, self.work):
            path.mkdir(parents=True)
        self.lowers = [str(self.lower)]

    def copy(self, selection: _native.Selection, dest: str, **options: Any) -> None:
        options.setdefault("dest_is_dir", dest.endswith("/"))
        options.setdefault("epoch", EPOCH)
        _native.copy_files(
            selection, lowers=self.lowers, upper=str(self.upper), work=str(self.work), dest=dest, **options
        )

    def names(self) -> list[str]:
        return sorted(str(path.relative_to(self.upper)) for path in self.upper.rglob("*"))


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return Image(tmp_path / "image")


@pytest.fixture
def context(tmp_path: Path) -> Path:
    return tree(tmp_path / "context", "a.txt", "b.txt", "src/main.c", "src/lib/x.c")


def chosen(root: Path, *names: str, **options: Any) -> _native.Selection:
    return _native.BuildContext(root).select(list(names), **options)


def facts(path: Path) -> tuple[str, int, int, int]:
    status = path.lstat()
    return f"{stat.S_IMODE(status.st_mode):o}", status.st_uid, status.st_gid, int(status.st_mtime)


def test_files_and_directories(context: Path, image: Image) -> None:
    os.chown(context / "a.txt", 7, 7)
    (context / "a.txt").chmod(0o4751)
    (context / "src/lib").chmod(0o2711)
    image.copy(chosen(context, "a.txt"), "/new/place/b")
    image.copy(chosen(context, "a.txt", "b.txt"), "/etc/")
    image.copy(chosen(context, "src"), "/opt/src")
    assert image.names() == [
        "etc", "etc/a.txt", "etc/b.txt", "new", "new/place", "new/place/b",
        "opt", "opt/src", "opt/src/lib", "opt/src/lib/x.c", "opt/src/main.c",
    ]  # fmt: skip
    assert (image.upper / "new/place/b").read_text() == "a.txt"
    assert facts(image.upper / "new/place/b") == ("4751", 0, 0, EPOCH)
    assert facts(image.upper / "new") == ("755", 0, 0, EPOCH)
    # The content of a directory is copied: not what it is itself.
    assert facts(image.upper / "opt/src") == ("755", 0, 0, EPOCH)
    assert facts(image.upper / "opt/src/lib") == ("2711", 0, 0, EPOCH)
    assert not list(image.work.iterdir()) or not list((image.work).glob("work/*"))


def test_owner_and_mode(context: Path, image: Image) -> None:
    (context / "src/link").symlink_to("nowhere")
    image.copy(chosen(context, "src"), "/new/src", uid=5, gid=6, chmod=0o640)
    assert facts(image.upper / "new") == ("755", 5, 6, EPOCH)
    assert facts(image.upper / "new/src/main.c") == ("640", 5, 6, EPOCH)
    assert facts(image.upper / "new/src/lib") == ("640", 5, 6, EPOCH)
    assert facts(image.upper / "new/src/link")[1:] == (5, 6, EPOCH)
    image.copy(chosen(context, "src"), "/sym", chmod="u=rwX,go=")
    assert facts(image.upper / "sym/main.c")[0] == "600"
    assert facts(image.upper / "sym/lib")[0] == "700"
    for wrong in ("u+z", "8", 0o10000):
        with pytest.raises(InvalidArgument, match="invalid chmod parameter"):
            image.copy(chosen(context, "src"), "/x", chmod=wrong)


def test_times_of_the_source(context: Path, image: Image) -> None:
    for name in ("src/main.c", "src/lib", "a.txt"):
        os.utime(context / name, (1_000_000_000, 1_000_000_000))
    image.copy(chosen(context, "."), "/here", epoch=None)
    for name in ("src/main.c", "src/lib", "a.txt"):
        assert facts(image.upper / "here" / name)[3] == 1_000_000_000


def test_links_and_attributes(context: Path, image: Image) -> None:
    os.link(context / "src/main.c", context / "src/lib/again")
    os.setxattr(context / "src/main.c", "user.x", b"1")
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(context / "src/lib/x.c", "security.capability", capability)
    os.mkfifo(context / "src/pipe")
    image.copy(chosen(context, "src"), "/a", uid=5, gid=5)
    copied = image.upper / "a"
    assert (copied / "main.c").stat().st_ino == (copied / "lib/again").stat().st_ino
    assert os.getxattr(copied / "main.c", "user.x") == b"1"
    assert os.getxattr(copied / "lib/x.c", "security.capability") == capability
    assert (copied / "pipe").is_fifo()
    image.copy(chosen(context, "src/main.c", "src/lib/again"), "/b/")  # each for itself, as BuildKit does
    assert (image.upper / "b/main.c").stat().st_nlink == 1


def test_what_is_there_already(context: Path, image: Image) -> None:
    tree(image.lower, "etc/a.txt", "opt/main.c/", "opt/lib", "usr/real/main.c")
    (image.lower / "link").symlink_to("usr/real")
    (image.lower / "etc/b.txt").symlink_to("/etc/a.txt")
    (image.lower / "usr/real").chmod(0o700)
    image.copy(chosen(context, "b.txt", "a.txt"), "/etc/")
    assert (image.upper / "etc/b.txt").read_text() == "b.txt"  # the link is replaced
    assert not (image.upper / "etc/b.txt").is_symlink()
    image.copy(chosen(context, "src"), "/link")
    assert (image.upper / "usr/real/main.c").read_text() == "src/main.c"
    assert facts(image.upper / "usr/real")[0] == "700"
    with pytest.raises(Conflict, match=r"cannot replace to directory /opt/main.c with file"):
        image.copy(chosen(context, "src/main.c"), "/opt")
    with pytest.raises(Conflict, match=r"cannot copy to non-directory: /opt/lib"):
        image.copy(chosen(context, "src", excludes=["main.c"]), "/opt")
    with pytest.raises(Conflict, match=r"cannot copy to non-directory: /etc/a.txt"):
        image.copy(chosen(context, "src"), "/etc/a.txt")
    with pytest.raises(KernelError, match=r"/etc/a.txt"):
        image.copy(chosen(context, "a.txt"), "/etc/a.txt/x")
    # A directory is merged with the one that is there, and gets the mode of its source.
    tree(image.lower, "merged/lib/old")
    (image.lower / "merged/lib").chmod(0o700)
    image.copy(chosen(context, "src"), "/merged")
    assert (image.upper / "merged/lib").stat().st_mode & 0o777 == 0o755


def test_the_last_source_wins(context: Path, image: Image) -> None:
    tree(context, "1/x", "2/x", "3/x")
    image.copy(chosen(context, "1", "2", "3", "1/x"), "/all/")
    assert (image.upper / "all/x").read_text() == "1/x"
    image.copy(chosen(context, "1/x", "2"), "/two/")
    assert (image.upper / "two/x").read_text() == "2/x"


def test_parents(context: Path, image: Image) -> None:
    (context / "src").chmod(0o750)
    tree(image.lower, "there/src/old")
    (image.lower / "there/src").chmod(0o711)
    image.copy(chosen(context, "src/lib/x.c", parents=True), "/new/")
    assert facts(image.upper / "new/src") == ("750", 0, 0, EPOCH)
    assert image.names() == ["new", "new/src", "new/src/lib", "new/src/lib/x.c"]
    image.copy(chosen(context, "src/lib/x.c", parents=True), "/there/")
    assert facts(image.upper / "there/src")[0] == "711"


def test_a_layer_for_itself(context: Path, image: Image) -> None:
    image.lowers = []
    image.copy(chosen(context, "."), "/app/")
    first = _native.seal_layer(image.upper, [], epoch=EPOCH)
    other = Image(image.upper.parent.parent / "other")
    other.copy(chosen(context, "."), "/app/")
    assert _native.seal_layer(other.upper, other.lowers, epoch=EPOCH).diff_id == first.diff_id


def test_from_layers(tmp_path: Path, image: Image) -> None:
    bottom = tree(tmp_path / "0", "app/x", "app/y")
    top = tree(tmp_path / "1", "app/z")
    os.mknod(top / "app/y", 0o020000, 0)
    os.chown(bottom / "app/x", 3, 4)
    layers = _native.LayerTree([str(top), str(bottom)])
    image.copy(layers.select(["/app"]), "/kept")
    assert image.names() == ["kept", "kept/x", "kept/z"]
    assert facts(image.upper / "kept/x")[1:3] == (3, 4)
    image.copy(layers.select(["/app"]), "/given", uid=9)
    assert facts(image.upper / "given/x")[1:3] == (9, 4)


def test_a_file_that_changes_meanwhile(context: Path, image: Image) -> None:
    big = context / "big"
    big.write_bytes(bytes(3 << 20))
    for name, new in (("a.txt", "A.TXT"), ("a.txt", "longer than before"), ("a.txt", ""), ("big", "x")):
        selection = chosen(context, ".")
        before = (context / name).read_bytes()
        (context / name).write_text(new)
        with pytest.raises(Conflict, match=f"/{name} changed while it was copied"):
            image.copy(selection, "/x/")
        (context / name).write_bytes(before)
    selection = chosen(context, ".")
    with big.open("r+b") as file:
        file.seek(2 << 20)
        file.write(b"x")
    with pytest.raises(Conflict, match="changed while"):
        image.copy(selection, "/x/")
    (context / "a.txt").unlink()
    (context / "a.txt").symlink_to("/etc/passwd")
    with pytest.raises(Conflict, match="changed while"):
        image.copy(chosen(context, "src") and selection, "/x/")


def test_many_and_big_ones(tmp_path: Path, image: Image) -> None:
    context = tree(tmp_path / "many", *(f"d{number % 9}/f{number}" for number in range(1500)))
    (context / "big").write_bytes(os.urandom(5 << 20))
    progress = _native.Progress()
    image.copy(chosen(context, "."), "/app", progress=progress)
    assert subprocess.run(["diff", "-r", context, image.upper / "app"], check=False).returncode == 0
    assert progress.done == chosen(context, ".").bytes


def test_work_directories(image: Image) -> None:
    tree(image.lower, "there/x", "file")
    (image.lower / "link").symlink_to("there")
    (image.lower / "dangling").symlink_to("/made/here")

    def make(path: str, **options: Any) -> bool:
        return _native.make_directory(
            path, lowers=image.lowers, upper=str(image.upper), work=str(image.work), epoch=EPOCH, **options
        )

    assert not make("/there") and not make("/link") and not make("/") and not make("there/../there/")
    assert image.names() == []
    assert make("/a/b", uid=5, gid=6)
    assert facts(image.upper / "a") == facts(image.upper / "a/b") == ("755", 5, 6, EPOCH)
    assert not make("/a/b")
    assert make("/link/new") and (image.upper / "there/new").is_dir()
    assert make("/dangling") and (image.upper / "made/here").is_dir()
    with pytest.raises(KernelError):
        make("/file/x")
    with pytest.raises(KernelError):
        make("/file")


@pytest.mark.parametrize("lowers", [True, False])
def test_a_hostile_image_leads_nowhere(context: Path, image: Image, tmp_path: Path, lowers: bool) -> None:
    outside = tree(tmp_path / "outside", "kept")
    base = image.lower if lowers else image.upper
    up = "/".join([".."] * 30)
    (base / "abs").symlink_to(outside)
    (base / "rel").symlink_to(f"{up}{outside}")
    (base / "proc-root").symlink_to("/proc/1/root")
    (base / "self").symlink_to("/proc/self/fd/3")
    tree(base, "app/")
    (base / "app/main.c").symlink_to(outside / "kept")
    (base / "app/lib").symlink_to(outside)
    image.lowers = image.lowers if lowers else []
    for dest in ("/abs/", "/rel/", "/abs/deeper/", "/proc-root/", "/self/x", f"/{up}{outside}/"):
        image.copy(chosen(context, "a.txt", "src/main.c"), dest, dest_is_dir=True)
    image.copy(chosen(context, "a.txt"), "/abs")  # into the directory that was made at the link's end
    image.copy(chosen(context, "src/main.c"), "/app/")  # the link is replaced, not followed
    with pytest.raises(Conflict):
        image.copy(chosen(context, "src"), "/app")
    _native.make_directory(
        "/rel/work", lowers=image.lowers, upper=str(image.upper), work=str(image.work), epoch=EPOCH
    )
    assert sorted(os.listdir(outside)) == ["kept"]
    assert (outside / "kept").read_text() == "kept"
    inside = image.upper / str(outside).lstrip("/")
    assert {"a.txt", "main.c", "deeper", "work"} <= set(
        os.listdir(inside)
    )  # control: they are followed, inside


def test_nothing_is_left_mounted(context: Path, image: Image) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    program = (
        "import sys; from pyd import _native as n; n.copy_files(n.BuildContext(sys.argv[1]).select(['.']),"
        "lowers=[sys.argv[2]], upper=sys.argv[3], work=sys.argv[4], dest='/', dest_is_dir=True);"
        "print(open('/proc/self/mountinfo').read() == sys.argv[5])"
    )
    arguments = [str(path) for path in (context, image.lower, image.upper, image.work)]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments, before], capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"
    assert (image.upper / "a.txt").exists()
