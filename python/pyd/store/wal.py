"""Keep the write-ahead log from one command to the next.

The last connection that closes a database moves the log into it, syncs twice and deletes the log; the next
writer makes a new one and syncs its directory. For a store that every short command opens that is 7 ms of
each `run` on ext4. SQLite does it only when it gets its exclusive lock (sqlite3WalClose), so we hold a shared
one beside it. The log is then emptied every so many pages as in any long-lived process, and read again by the
next command, as after a crash.

The lock is an open-file-description lock: it conflicts with SQLite's own locks although they are of the same
process. Closing *any* descriptor of the file drops all of SQLite's locks in this process (fcntl(2), "Record
locks"), so ours is closed only when no connection of this process is left.
"""

from __future__ import annotations

import fcntl
import os
import struct
from _thread import allocate_lock  # threading.Lock, without a millisecond of import

# SHARED_FIRST and SHARED_SIZE of SQLite's file format (os.h): the bytes that stand for a reader
_FIRST, _COUNT = 0x40000000 + 2, 510

Key = tuple[int, int]  # device and inode: a file may have several paths

_guard = allocate_lock()
_holds: dict[Key, tuple[int, int]] = {}  # (descriptor, connections of this process)


def hold(path: str) -> Key:
    """Count one more connection of this process to the database at `path`; the first takes the lock."""
    with _guard:
        info = os.stat(path)
        key = info.st_dev, info.st_ino
        fd, count = _holds.get(key, (-1, 0))
        _holds[key] = _lock(path) if count == 0 else fd, count + 1
        return key


def release(key: Key) -> None:
    """One connection was closed; with the last one the lock goes."""
    with _guard:
        fd, count = _holds[key]
        if count > 1:
            _holds[key] = fd, count - 1
            return
        del _holds[key]
        if fd >= 0:
            os.close(fd)


def _lock(path: str) -> int:
    """-1 where such locks do not exist: then SQLite tidies up as ever."""
    fd = -1
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        # struct flock: type, whence, start, length, pid
        fcntl.fcntl(
            fd, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, _FIRST, _COUNT, 0)
        )
    except OSError:
        # not closed if it was opened: a connection may exist already
        return fd
    return fd
