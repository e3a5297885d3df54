"""How many bytes something from outside may take: what it is allowed, and what the disk has."""

from __future__ import annotations

import errno
import os

from pyd.errors import CorruptData, from_os_error

_RESERVE = 64 << 20  # bytes that stay free: databases and logs are on the same disk
_STEP = 64 << 20  # bytes after which the disk is asked again: others write too


def free(directory: str) -> int:
    """Bytes that may be written to the disk of `directory`."""
    try:
        disk = os.statvfs(directory)
    except OSError as error:
        raise from_os_error(error, f"asking for the free space of {directory}") from error
    return max(0, disk.f_bavail * disk.f_frsize - _RESERVE)


class Room:
    """`what` is named in errors. limit: bytes; 0: as many as the disk has."""

    def __init__(self, directory: str, what: str, limit: int = 0) -> None:
        self._directory = directory
        self._what = what
        self._limit = limit
        self._taken = 0
        self._left = min(free(directory), _STEP)

    def need(self, size: int) -> None:
        """Raises if so many more bytes have no place. CorruptData: too large; KernelError: the disk is
        full.
        """
        if self._limit and self._taken + size > self._limit:
            raise CorruptData(f"{self._what} is larger than {self._limit} bytes")
        if size > self._left and size > free(self._directory):
            full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._directory)
            raise from_os_error(full, f"writing {self._what} to {self._directory}")

    def take(self, size: int) -> None:
        """These bytes are about to be written."""
        self.need(size)
        self._taken += size
        self._left -= size
        if self._left < 0:
            self._left = min(free(self._directory), _STEP)
