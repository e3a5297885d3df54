"""A file that a command writes: whole under its name, or not there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from pyd.errors import InvalidArgument, from_os_error
from pyd.store.content import fsync_dir


@contextmanager
def replacing(path: str) -> Iterator[BinaryIO]:
    """Write here; at the end it is durable and takes the place of `path`. Mode 0600, as Docker's: what comes
    out of a container may be secret. What is no regular file (/dev/stdout, a FIFO) is written to directly.
    """
    directory = os.path.dirname(path) or "."
    if not os.path.isdir(directory):
        raise InvalidArgument(f'invalid output path: directory "{directory}" does not exist')
    if os.path.isdir(path):
        raise InvalidArgument(f'invalid output path: "{path}" must be a regular file')
    try:
        special = not stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        special = False
    partial = f"{path}.{os.urandom(6).hex()}.partial"
    try:
        if special:
            with open(path, "wb") as file:
                yield file
            return
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            yield file
            file.flush()
            os.fsync(fd)
        os.rename(partial, path)
        fsync_dir(directory)
    except OSError as error:
        raise from_os_error(error, f"writing {path}") from error
    finally:
        if os.path.lexists(partial):
            os.unlink(partial)
