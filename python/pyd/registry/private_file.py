"""Files that are their owner's alone: read whole, changed under a lock, replaced durably.

A symbolic link stays: what it leads to is replaced. A process that is killed leaves the old file or the new
one, and at most a `.NAME.new` (mode 0600) that the next change removes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from pyd.errors import CorruptData, KernelError, from_os_error
from pyd.store.content import fsync_dir
from pyd.store.locks import exclusive

_MAX = 16 << 20


def read(path: str) -> bytes | None:
    """The content, None when there is no file. Raises CorruptData for what is no file of a sensible size."""
    try:
        # a FIFO in its place must not hold us up
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _failed(error, "reading", path) from error
    try:
        state = os.fstat(fd)
        if not stat.S_ISREG(state.st_mode):
            raise CorruptData(f"{path} is not a regular file")
        if state.st_size > _MAX:
            raise CorruptData(f"{path} is larger than {_MAX} bytes")
        with os.fdopen(fd, "rb", closefd=False) as file:
            return file.read(_MAX + 1)
    except OSError as error:
        raise _failed(error, "reading", path) from error
    finally:
        os.close(fd)


@contextmanager
def changing(path: str) -> Iterator[str]:
    """Alone among processes of pyd; the value is the path behind symbolic links, for `read` and `replace`."""
    target = os.path.realpath(path)
    directory, name = os.path.split(target)
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
    except OSError as error:
        raise _failed(error, "making", directory) from error
    try:
        with exclusive(f"{directory}/.{name}.lock", remove=True):
            yield target
    except KernelError as error:
        # the remedies of the data-root are not those of a user's file
        raise KernelError(error.message, None, op=error.op, path=error.path, errno=error.errno) from error


def replace(target: str, data: bytes, mode: int | None = 0o600) -> None:
    """Durably, with the owner of the old file, and its mode when `mode` is None. Call it inside of
    `changing`.
    """
    directory, name = os.path.split(target)
    new = f"{directory}/.{name}.new"
    try:
        if os.path.lexists(new):
            os.unlink(new)
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                _keep(target, fd, mode)
                file.write(data)
                file.flush()
                os.fsync(fd)
            os.rename(new, target)
        except BaseException:
            os.unlink(new)
            raise
        fsync_dir(directory)
    except OSError as error:
        raise _failed(error, "writing", target) from error


def _keep(target: str, fd: int, mode: int | None) -> None:
    """Who logs in by sudo, with the home of another, must not take that one's file away."""
    try:
        old = os.stat(target)
        if mode is None:
            os.fchmod(fd, old.st_mode & 0o777)
    except FileNotFoundError:
        old = os.stat(os.path.dirname(target))
        if mode is None:
            os.fchmod(fd, 0o644)
    if os.geteuid() == 0 and (old.st_uid, old.st_gid) != (0, 0):
        os.fchown(fd, old.st_uid, old.st_gid)


def _failed(error: OSError, doing: str, path: str) -> KernelError:
    found = from_os_error(error, f"{doing} {path}")
    return KernelError(found.message, None, op=doing, path=path, errno=error.errno or 0)
