"""Files of an artifact, named by whoever pushed it, in a directory that they must not leave (CVE-2025-62725).

A name is a relative path. Each directory of it is opened by descriptor without following links, so that
neither the name nor what lies in the directory already leads out of it; the last part is replaced by rename,
never written through.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from pyd.errors import CorruptData, from_os_error
from pyd.store.content import fsync_dir

_MAX_NAME = 1024
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def check_name(name: str) -> list[str]:
    """The parts of a file's name. Raises CorruptData for one that is not the plain path of a file."""
    parts = name.split("/")
    if (
        len(name.encode("utf-8", "surrogatepass")) > _MAX_NAME
        or not name.isprintable()  # no NUL, newline or escape sequence
        or "\\" in name
        or any(part in ("", ".", "..") for part in parts)
    ):
        shown = name[:80] if name.isprintable() else repr(name[:80])
        raise CorruptData(f"the artifact has a file of the name {shown!r}, which is refused")
    return parts


def write(directory: str, name: str, chunks: Iterable[bytes]) -> str:
    """Write one file below `directory`, whole and durable or not at all; its path."""
    parts = check_name(name)
    path = f"{directory}/{name}"
    try:
        os.makedirs(directory, exist_ok=True)
        place = _walk(directory, parts[:-1])
    except OSError as error:
        raise from_os_error(error, f"making the directory of {path}") from error
    partial = f".{os.urandom(6).hex()}.partial"
    try:
        fd = os.open(
            partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=place
        )
        try:
            with os.fdopen(fd, "wb", buffering=0) as file:
                for chunk in chunks:
                    view = memoryview(chunk)
                    while view:
                        view = view[file.write(view) or 0 :]
                os.fsync(file.fileno())
            os.rename(partial, parts[-1], src_dir_fd=place, dst_dir_fd=place)
            os.fsync(place)
        except BaseException:
            try:
                os.unlink(partial, dir_fd=place)
            except FileNotFoundError:
                pass
            raise
    except OSError as error:
        raise from_os_error(error, f"writing {path}") from error
    finally:
        os.close(place)
    fsync_dir(directory)
    return path


def _walk(directory: str, parts: list[str]) -> int:
    """A descriptor of the directory that the parts lead to, made where it is missing."""
    fd = os.open(directory, _DIRECTORY)
    for part in parts:
        try:
            try:
                os.mkdir(part, 0o755, dir_fd=fd)
            except FileExistsError:
                pass
            # a link here fails with ENOTDIR or ELOOP, wherever it points
            inner = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
        finally:
            os.close(fd)
        fd = inner
    return fd
