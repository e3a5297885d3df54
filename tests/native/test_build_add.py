"""ADD of a local archive: unpacked as Docker does in a chroot, and never out of its destination."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from pyd import _native
from pyd.errors import CorruptData, InvalidArgument, KernelError
from tests.native.test_build_copy import EPOCH, Image, facts
from tests.native.test_build_select import tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts an overlay")


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return Image(tmp_path / "image")


def member(
    name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **fields: Any
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mtime = kind, len(data), 1_000_000_000
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o640
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes], compress: bool = False) -> Path:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    path.write_bytes(gzip.compress(plain.getvalue()) if compress else plain.getvalue())
    return path


def add(image: Image, path: Path | str, dest: str, **options: Any) -> int:
    return _native.unpack_archive(
        path, lowers=image.lowers, upper=image.upper, work=image.work, dest=dest, epoch=EPOCH, **options
    )


@pytest.mark.parametrize("compress", [False, True])
def test_an_archive_keeps_what_it_says(tmp_path: Path, image: Image, compress: bool) -> None:
    path = archive(
        tmp_path / "a.tar",
        member("d", tarfile.DIRTYPE, uid=3, gid=4, mode=0o2750),
        member("d/file", data=b"x", uid=5, gid=6, mode=0o4755),
        member("d/link", tarfile.SYMTYPE, linkname="/etc"),
        member("d/hard", tarfile.LNKTYPE, linkname="d/file"),
        member("d/null", tarfile.CHRTYPE, devmajor=1, devminor=3),
        member("d/.wh.name", data=b"not a whiteout"),
        compress=compress,
    )
    assert add(image, path, "/new/place", uid=8, gid=9) == 6
    place = image.upper / "new/place"
    assert facts(image.upper / "new") == facts(place) == ("755", 8, 9, EPOCH)
    assert facts(place / "d") == ("2750", 3, 4, 1_000_000_000)
    assert facts(place / "d/file") == ("4755", 5, 6, 1_000_000_000)
    assert os.readlink(place / "d/link") == "/etc"
    assert (place / "d/hard").stat().st_ino == (place / "d/file").stat().st_ino
    assert os.major((place / "d/null").stat().st_rdev) == 1
    assert (place / "d/.wh.name").read_text() == "not a whiteout"


def test_over_what_is_there(tmp_path: Path, image: Image) -> None:
    tree(image.lower, "usr/lib/old", "etc/conf", "opt/full/x", "srv/kept")
    (image.lower / "lib").symlink_to("/usr/lib")
    (image.lower / "etc/alias").symlink_to("conf")
    path = archive(
        tmp_path / "a.tar",
        member("lib/new", data=b"new"),  # through the image's link
        member("etc", tarfile.DIRTYPE, mode=0o711),
        member("etc/alias", data=b"file now"),
        member("opt/full", data=b"a file in the place of a directory"),
        member("srv/again", tarfile.LNKTYPE, linkname="srv/kept"),
    )
    add(image, path, "/")
    assert (image.upper / "usr/lib/new").read_text() == "new"
    assert not (image.upper / "lib").exists()
    assert facts(image.upper / "etc")[0] == "711"
    assert (image.upper / "etc/alias").read_text() == "file now" and not (image.upper / "etc/conf").exists()
    assert (image.upper / "opt/full").is_file()
    assert (image.upper / "srv/again").read_text() == "srv/kept"


def test_it_may_be_bounded(tmp_path: Path, image: Image) -> None:
    path = archive(tmp_path / "a.tar", member("zeros", data=bytes(1 << 20)), compress=True)
    with pytest.raises(CorruptData):
        add(image, path, "/", allowance=_native.Allowance(1000))
    (tmp_path / "text").write_text("no archive" * 200)
    with pytest.raises(CorruptData):
        add(image, tmp_path / "text", "/")


def test_a_hostile_archive_leads_nowhere(tmp_path: Path, image: Image) -> None:
    outside = tree(tmp_path / "outside", "kept")
    up = "/".join([".."] * 30)
    (image.lower / "abs").symlink_to(outside)
    (image.lower / "rel").symlink_to(f"{up}{outside}")
    tree(image.lower, str(outside).lstrip("/") + "/")  # the same path, inside
    inside = image.upper / str(outside).lstrip("/")
    add(image, archive(tmp_path / "1", member("abs/one", data=b"1"), member("rel/two", data=b"2")), "/")
    assert sorted(os.listdir(inside)) == ["one", "two"]  # control: links are followed, inside
    linked = (member("l", tarfile.SYMTYPE, linkname=str(outside)), member("l/three", data=b"3"))
    add(image, archive(tmp_path / "2", *linked), "/")
    assert (inside / "three").exists()
    refused = [
        (member("../x", data=b"x"),),
        (member("l", tarfile.SYMTYPE, linkname="/nowhere"), member("l/x", data=b"x")),
        (member("hard", tarfile.LNKTYPE, linkname=str(outside / "kept") + "x"),),
        (member("hard", tarfile.LNKTYPE, linkname=f"{up}/etc/passwd"),),
        (member("loop", tarfile.SYMTYPE, linkname="loop"), member("loop/x", data=b"x")),
    ]
    for number, members in enumerate(refused):
        with pytest.raises((CorruptData, KernelError)):
            add(image, archive(tmp_path / f"bad{number}", *members), "/sub")
    assert sorted(os.listdir(outside)) == ["kept"]
    assert (outside / "kept").read_text() == "kept"


def test_an_archive_of_a_selection(tmp_path: Path, image: Image) -> None:
    context = tree(tmp_path / "context", "dir/x")
    archive(context / "a.tar", member("x", data=b"x"))
    (context / "link").symlink_to("a.tar")
    selection = _native.BuildContext(context).select(["link", "dir"])
    fd = selection.open(0)
    try:
        assert add(image, f"/proc/self/fd/{fd}", "/") == 1
    finally:
        os.close(fd)
    with pytest.raises(InvalidArgument):
        selection.open(1)
    with pytest.raises(InvalidArgument):
        selection.open(2)
