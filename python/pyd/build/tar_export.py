"""The files of a stage as a tar: `--output type=tar`. The same stage gives the same bytes."""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence

from pyd import _native
from pyd.errors import from_os_error
from pyd.runtime.layered import LayeredRoot, Merged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

_MAX_DEPTH = 200
_NAMES = ("path", "linkpath")


def write_tar(out: BinaryIO, layers: Sequence[str]) -> None:
    """`layers`: directories, top first."""
    if not layers:
        out.write(bytes(2 * tarfile.BLOCKSIZE))
        return
    out.flush()
    _native.pack_tree(out.fileno(), list(layers))


def write_joined(
    out: BinaryIO, parts: Sequence[tuple[str, Sequence[str], Mapping[str, bytes]]], epoch: int
) -> None:
    """Several in one: (directory in the tar or "", layers, files besides by name) each."""
    try:
        with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            for prefix, layers, files in parts:
                if prefix:
                    entry = tarfile.TarInfo(prefix)
                    entry.type, entry.mode, entry.mtime = tarfile.DIRTYPE, 0o755, epoch
                    tar.addfile(entry)
                _add(tar, f"{prefix}/" if prefix else "", layers, files)
                for name, data in sorted(files.items()):
                    entry = tarfile.TarInfo(f"{prefix}/{name}" if prefix else name)
                    entry.size, entry.mode, entry.mtime = len(data), 0o600, epoch
                    tar.addfile(entry, _Bytes(data))
    except OSError as error:
        raise from_os_error(error, "writing the tar") from error


def _add(tar: tarfile.TarFile, prefix: str, layers: Sequence[str], hidden: Mapping[str, bytes]) -> None:
    """The tar of the layers, renamed on its way."""
    if not layers:
        return
    reading, writing = os.pipe()
    failures: list[BaseException] = []

    def pack() -> None:
        try:
            _native.pack_tree(writing, list(layers))
        except BaseException as error:
            failures.append(error)
        finally:
            os.close(writing)

    packer = threading.Thread(target=pack, name="pack")
    packer.start()
    try:
        with os.fdopen(reading, "rb", buffering=1 << 20) as file:
            with tarfile.open(fileobj=file, mode="r|") as source:
                for member in source:
                    if member.name in hidden:
                        continue
                    data = source.extractfile(member) if member.isreg() else None
                    member.name = f"{prefix}{member.name}"
                    if member.islnk():
                        member.linkname = f"{prefix}{member.linkname}"
                    # names that were too long for a header, and may be so again
                    kept = {key: text for key, text in member.pax_headers.items() if key not in _NAMES}
                    member.pax_headers = kept
                    tar.addfile(member, data)
            # what is behind the end: the packer waits until it is read
            while file.read(1 << 20):
                pass
    except tarfile.TarError:
        if not failures:
            raise
    finally:
        packer.join()
    if failures:
        raise failures[0]


def digests(layers: Sequence[str]) -> list[tuple[str, str]]:
    """(path, sha256 in hex) of all regular files, by path."""
    found: list[tuple[str, str]] = []
    with LayeredRoot(layers).directory("/") as root:
        if root is not None:
            for path, fd in regular_files(root):
                try:
                    with os.fdopen(fd, "rb", buffering=0) as file:
                        found.append((path, hashlib.file_digest(file, "sha256").hexdigest()))
                except OSError as error:
                    raise from_os_error(error, f"reading {path}") from error
    return found


def paths(layers: Sequence[str]) -> list[str]:
    """Of all regular files."""
    found = []
    with LayeredRoot(layers).directory("/") as root:
        for path, fd in regular_files(root) if root is not None else ():
            os.close(fd)
            found.append(path)
    return found


def regular_files(directory: Merged, path: str = "", depth: int = 0) -> Iterator[tuple[str, int]]:
    """(path, descriptor to close) of each, by path."""
    for name in directory.names():
        found = directory.lookup(name)
        if found is None:
            continue
        inner = f"{path}/{name}" if path else name
        if stat.S_ISREG(found[1].st_mode):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            yield inner, os.open(name, flags, dir_fd=directory.fds[found[0]])
        elif stat.S_ISDIR(found[1].st_mode) and depth < _MAX_DEPTH:
            below = directory.enter(name)
            if below is not None:
                try:
                    yield from regular_files(below, inner, depth + 1)
                finally:
                    below.close()


class _Bytes:
    """What tarfile wants of a file."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int = -1, /) -> bytes:
        taken, self._data = self._data[:size], self._data[size:]
        return taken
