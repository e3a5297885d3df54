"""Archives as build contexts: told from a Dockerfile by their first bytes, and unpacked into a directory."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from pyd.build.room import Room, free
from pyd.errors import NotSupported, from_os_error

HEAD = 1024  # bytes that tell an archive from a Dockerfile
_BY_RUST = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")  # gzip, zstd: decompressed while they are unpacked
_BY_PYTHON = (b"BZh", b"\xfd7zXZ\0")
_CHECKSUM = slice(148, 156)  # of the tar header block, pax(1)


def is_archive(head: bytes) -> bool:
    """Whether a file that begins like this is a tar: plain, or compressed with gzip, zstd, bzip2 or xz."""
    return head.startswith((*_BY_RUST, *_BY_PYTHON)) or _is_tar(head)


def unpack(chunks: Iterable[bytes], scratch: str, what: str) -> str:
    """The directory, below `scratch`, with the content of a tar archive in any of these compressions.

    `what` names it in errors. Raises CorruptData for a damaged or hostile archive, KernelError (ENOSPC) for
    one that the disk has no room for. Device nodes are made as they are; COPY refuses them.
    """
    from pyd import _native

    path, root = f"{scratch}/{os.urandom(8).hex()}.tar", f"{scratch}/{os.urandom(8).hex()}"
    try:
        save(_plain(chunks), path, what)
        os.mkdir(root, 0o700)
        _native.unpack_blob(path, root, allowance=_native.Allowance(free(scratch)))
    except OSError as error:
        raise from_os_error(error, f"unpacking {what}") from error
    finally:
        if os.path.lexists(path):
            os.unlink(path)
    _check_whiteouts(root, what)
    return root


def _check_whiteouts(root: str, what: str) -> None:
    """The extractor is that of layers: a file named .wh.x is the absence of x there, and is gone here."""
    directories = [root]
    while directories:
        with os.scandir(directories.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    directories.append(entry.path)
                elif not entry.is_file(follow_symlinks=False) and not entry.is_symlink():
                    found = entry.stat(follow_symlinks=False)
                    if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
                        raise NotSupported(
                            f"{what} holds a file whose name begins with .wh.: {entry.name[:200]}",
                            "give the files as a directory",
                        )


def save(chunks: Iterable[bytes], path: str, what: str, limit: int = 0) -> None:
    """Write a new file, of at most `limit` bytes, or as many as the disk has room for."""
    room = Room(os.path.dirname(path), what, limit)
    try:
        with open(path, "xb") as file:
            for chunk in chunks:
                room.take(len(chunk))
                file.write(chunk)
    except OSError as error:
        raise from_os_error(error, f"writing {path}") from error


def _plain(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Without what the extractor does not decompress itself."""
    from pyd.store.spool import decompressed

    stream = iter(chunks)
    head = next(stream, b"")
    whole = _chained(head, stream)
    return decompressed(whole) if head.startswith(_BY_PYTHON) else whole


def _chained(head: bytes, stream: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from stream


def _is_tar(head: bytes) -> bool:
    """By the checksum of the first header, which old archives without the word "ustar" have too."""
    block = head[:512]
    if len(block) < 512 or not any(block):
        return False
    try:
        wanted = int(block[_CHECKSUM].strip(b" \0"), 8)
    except ValueError:
        return False
    return sum(block) - sum(block[_CHECKSUM]) + 8 * 0x20 == wanted
