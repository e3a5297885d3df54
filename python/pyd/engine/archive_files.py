"""The files of an archive of images: in a tar (plain, gzip, bzip2, xz or zstd), or in a directory.

Both are read as if strangers had made them: links lead nowhere else, sizes are known before bytes are read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Protocol

from pyd.errors import CorruptData, from_os_error
from pyd.oci.document import MAX_MANIFEST
from pyd.paths import Paths
from pyd.store.spool import CHUNK, is_plain, spooled
from pyd.store.tar_index import TarIndex


class Files(Protocol):
    """Paths are relative: "blobs/sha256/…". What is not there raises CorruptData."""

    def has(self, path: str) -> bool: ...

    def size(self, path: str) -> int: ...

    def small(self, path: str) -> bytes:
        """The whole file, of at most 4 MiB."""

    def chunks(self, path: str, offset: int = 0) -> Iterator[bytes]:
        """Its bytes from `offset` on. Called from several threads."""


@contextmanager
def opened(paths: Paths, source: BinaryIO | str) -> Iterator[Files]:
    """`source`: an open file, or the path of a file or directory."""
    if isinstance(source, str):
        if os.path.isdir(source):
            yield Directory(source)
            return
        try:
            file: BinaryIO = open(source, "rb")  # noqa: SIM115 - closed below
        except OSError as error:
            raise from_os_error(error, f"open {source}") from error
        with file, opened(paths, file) as files:
            yield files
        return
    head = source.peek(6)[:6] if hasattr(source, "peek") else b"\x1f\x8b"
    if source.seekable() and is_plain(head):
        yield Tar(source)
        return
    with spooled(paths, iter(lambda: source.read(CHUNK), b"")) as (plain, _):
        yield Tar(plain)


class Tar:
    def __init__(self, file: BinaryIO) -> None:
        self._fd = file.fileno()
        self._index = TarIndex(file)

    def has(self, path: str) -> bool:
        return self._index.find(path) is not None

    def size(self, path: str) -> int:
        return self._index.need(path).size

    def small(self, path: str) -> bytes:
        if self.size(path) > MAX_MANIFEST:
            raise CorruptData(f"{path[:200]!r} in the archive is larger than {MAX_MANIFEST} bytes")
        return b"".join(self.chunks(path))

    def chunks(self, path: str, offset: int = 0) -> Iterator[bytes]:
        member = self._index.need(path)
        position, end = member.offset + offset, member.offset + member.size
        while position < end:
            # pread: several threads read one file
            chunk = os.pread(self._fd, min(CHUNK, end - position), position)
            if not chunk:
                raise CorruptData("the archive is truncated")
            position += len(chunk)
            yield chunk


class Directory:
    """An OCI image layout, or an archive that was unpacked. Symbolic links are not followed."""

    def __init__(self, path: str) -> None:
        self._path = path

    def has(self, path: str) -> bool:
        fd = self._open(path)
        if fd is not None:
            os.close(fd)
        return fd is not None

    def size(self, path: str) -> int:
        fd = self._need(path)
        try:
            return os.fstat(fd).st_size
        finally:
            os.close(fd)

    def small(self, path: str) -> bytes:
        if self.size(path) > MAX_MANIFEST:
            raise CorruptData(f"{self._path}/{path} is larger than {MAX_MANIFEST} bytes")
        return b"".join(self.chunks(path))[: MAX_MANIFEST + 1]

    def chunks(self, path: str, offset: int = 0) -> Iterator[bytes]:
        fd = self._need(path)
        try:
            while chunk := os.pread(fd, CHUNK, offset):
                offset += len(chunk)
                yield chunk
        finally:
            os.close(fd)

    def _need(self, path: str) -> int:
        fd = self._open(path)
        if fd is None:
            raise CorruptData(f"{self._path} has no file {path[:200]!r}")
        return fd

    def _open(self, path: str) -> int | None:
        """A regular file below the directory, None if there is none."""
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if not parts or ".." in parts or "\0" in path:
            return None
        fd = os.open(self._path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for number, part in enumerate(parts):
                last = number == len(parts) - 1
                # O_NONBLOCK: a FIFO of that name is not to keep us waiting
                flags = os.O_RDONLY | os.O_NONBLOCK if last else os.O_PATH | os.O_DIRECTORY
                inner = os.open(part, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
                os.close(fd)
                fd = inner
            found, fd = fd, -1
        except OSError:
            return None
        finally:
            if fd >= 0:
                os.close(fd)
        if stat.S_ISREG(os.fstat(found).st_mode):
            return found
        os.close(found)
        return None
