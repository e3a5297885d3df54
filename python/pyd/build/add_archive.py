"""Archives that ADD unpacks: told by their first bytes, as BuildKit does, not by their names."""

from __future__ import annotations

import os

from pyd.build import archives, inside
from pyd.errors import from_os_error

_BY_PYTHON = (b"BZh", b"\xfd7zXZ\0")  # bzip2, xz: the extractor does not read these


def is_archive(root: str, path: str) -> bool:
    try:
        return archives.is_archive(_head(root, path))
    except OSError:
        return False


def prepared(root: str, path: str, scratch: str) -> str:
    """The path of an archive that the extractor reads: the file itself, or a plain copy in `scratch`."""
    try:
        place = inside.locate(root, path)
        if not _head(root, path).startswith(_BY_PYTHON):
            return place
        from pyd.store.spool import CHUNK, decompressed

        plain = f"{scratch}/{os.urandom(8).hex()}.tar"
        with open(place, "rb") as file:
            archives.save(decompressed(iter(lambda: file.read(CHUNK), b"")), plain, path)
        return plain
    except OSError as error:
        raise from_os_error(error, f"reading {path}") from error


def _head(root: str, path: str) -> bytes:
    place = inside.locate(root, path)
    # O_NONBLOCK: a FIFO that has taken the place of the file meanwhile must not hold us
    fd = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        return file.read(archives.HEAD)
