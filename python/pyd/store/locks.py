"""Locks between processes, by flock(2): the kernel drops them when their holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from pyd.errors import from_os_error


@contextmanager
def exclusive(path: str, *, remove: bool = False) -> Iterator[None]:
    """Hold the lock file `path`; waits for another holder. `remove` deletes the file at the end."""
    fd = acquire(path)
    try:
        yield
    finally:
        if remove:
            # still locked: whoever waits on this file sees in acquire() that it is no longer the one at the
            # path
            os.unlink(path)
        os.close(fd)


def acquire(path: str, *, shared: bool = False) -> int:
    """A descriptor that holds the lock until it is closed. Waits."""
    fd = _lock(path, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    assert fd is not None
    return fd


def try_acquire(path: str) -> int | None:
    """The same, exclusively, or None when somebody else holds it."""
    return _lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _lock(path: str, how: int) -> int | None:
    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            continue
        except OSError as error:
            raise from_os_error(error, f"opening {path}") from error
        try:
            fcntl.flock(fd, how)
            # The file may have been deleted while we waited; then others lock a new one and ours guards
            # nothing
            if os.fstat(fd).st_ino == os.stat(path).st_ino:
                return fd
        except BlockingIOError:
            os.close(fd)
            return None
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
