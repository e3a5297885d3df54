"""An image from the archive that `save` writes: its configuration, and its file system after all layers."""

from __future__ import annotations

import gzip
import hashlib
import json
import stat
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "symlink",
    tarfile.FIFOTYPE: "fifo",
    tarfile.CHRTYPE: "character device",
    tarfile.BLKTYPE: "block device",
}
OPAQUE = ".wh..wh..opq"
WHITEOUT = ".wh."


@dataclass(frozen=True, slots=True)
class Entry:
    kind: str
    mode: int
    owner: tuple[int, int]
    link: str = ""
    device: tuple[int, int] = (0, 0)
    content: str = ""
    """sha256 of a file, or `hardlink:PATH` until the layers are put together."""
    xattrs: tuple[tuple[str, str], ...] = ()


Files = dict[str, Entry]
"""Path without slashes at its ends -> entry. The root itself is not in it: no engine says its mode."""


@dataclass(frozen=True)
class Image:
    config: dict[str, Any]
    files: Files
    layers: int


class Reader:
    """Keeps the layers that it has read: images of one base share them."""

    def __init__(self) -> None:
        self._layers: dict[str, Files] = {}

    def read(self, archive: Path) -> Image:
        """A docker-archive with one image. AssertionError when a layer is not what its diffID says."""
        with tarfile.open(archive) as tar:
            (manifest,) = json.load(_member(tar, "manifest.json"))
            config = json.load(_member(tar, manifest["Config"]))
            diff_ids = config["rootfs"]["diff_ids"] or []
            assert len(diff_ids) == len(manifest["Layers"] or []), f"{archive}: layers and diffIDs"
            files: Files = {}
            for diff_id, name in zip(diff_ids, manifest["Layers"] or [], strict=True):
                if diff_id not in self._layers:
                    self._layers[diff_id] = _layer(tar, name, diff_id)
                apply(files, self._layers[diff_id])
            return Image(config.get("config") or {}, files, len(diff_ids))


def _member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    found = tar.extractfile(name)
    assert found is not None, f"no {name} in the archive"
    return found


class _Hashing:
    """Passes on what is read, and hashes it."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self.hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self._source.read(size)
        self.hash.update(block)
        return block


def _layer(tar: tarfile.TarFile, name: str, diff_id: str) -> Files:
    blob = _member(tar, name)
    magic = blob.read(2)
    blob.seek(0)
    plain = gzip.GzipFile(fileobj=blob) if magic == b"\x1f\x8b" else blob
    source = _Hashing(plain)  # type: ignore[arg-type]
    files: Files = {}
    with tarfile.open(fileobj=source, mode="r|") as layer:  # type: ignore[call-overload]
        for member in layer:
            path = str(PurePosixPath("/", member.name))[1:]
            if path:
                files[path] = _entry(layer, member)
    while source.read(1 << 20):
        pass
    assert f"sha256:{source.hash.hexdigest()}" == diff_id, f"{name} is not {diff_id}"
    return files


def _entry(layer: tarfile.TarFile, member: tarfile.TarInfo) -> Entry:
    if member.islnk():
        target = str(PurePosixPath("/", member.linkname))[1:]
        return Entry("file", 0, (0, 0), content=f"hardlink:{target}")
    content = ""
    if member.isreg():
        source = layer.extractfile(member)
        assert source is not None
        content = hashlib.file_digest(source, "sha256").hexdigest()  # type: ignore[arg-type]
    prefix = "SCHILY.xattr."
    xattrs = sorted(
        (key.removeprefix(prefix), value)
        for key, value in member.pax_headers.items()
        if key.startswith(prefix)
    )
    return Entry(
        KINDS[member.type],
        0 if member.issym() else stat.S_IMODE(member.mode),
        (member.uid, member.gid),
        member.linkname if member.issym() else "",
        (member.devmajor, member.devminor) if member.isdev() else (0, 0),
        content,
        tuple(xattrs),
    )


def apply(files: Files, layer: Files) -> None:
    """Puts a layer over `files`: what it deletes and hides, then what it has."""
    gone, hidden = set(), set()
    for path, entry in layer.items():
        parent, _, name = path.rpartition("/")
        if name == OPAQUE:
            hidden.add(parent)
        elif name.startswith(WHITEOUT):
            gone.add(f"{parent}/{name.removeprefix(WHITEOUT)}".lstrip("/"))
        elif entry.kind != "directory" and path in files:
            gone.add(path)  # and what was below it, if it was a directory
    if gone or hidden:
        for path in list(files):
            if path in gone or any(above in gone or above in hidden for above in _parents(path)):
                del files[path]
    for path, entry in layer.items():
        if not path.rpartition("/")[2].startswith(WHITEOUT):
            kind, _, target = entry.content.partition(":")
            files[path] = files[target] if kind == "hardlink" else entry


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[:count]) for count in range(len(parts), -1, -1)]
