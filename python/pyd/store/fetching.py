"""While bytes come in: the collector is kept away from what no row refers to yet.

Apart from the intake of layers, so that who stores what is made here (builds) need not import its pool.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pyd.errors import KernelError, PydError
from pyd.store.gc import collect, collect_snapshots, ingest_lock
from pyd.store.locks import acquire, try_acquire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyd.store import Store

RESERVE = 16 << 20  # bytes of a disk that no image gets: the database must be able to grow


@contextmanager
def fetching(store: Store) -> Iterator[None]:
    """Keep the collector away while blobs are stored that no image refers to yet.

    What was fetched before a failure stays for the next try, unless the disk is full.
    """
    fd = _share(store)
    is_full = False
    try:
        yield
    except KernelError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise
    finally:
        os.close(fd)
        store.trash.sweep()
        if is_full:
            with suppress(
                PydError
            ):  # the disk may still be too full; what the caller learns is the first error
                # what was half unpacked is gone: often that is room enough to keep what was fetched
                collect(store, keep_partials=_free(store) >= RESERVE)


def _free(store: Store) -> int:
    """Bytes that are free on the disk of the data-root; 0 when that cannot be told."""
    try:
        disk = os.statvfs(store.paths.data_root)
    except OSError:
        return 0
    return disk.f_bavail * disk.f_frsize


def _share(store: Store) -> int:
    """`ingest.lock`, shared. Whoever comes first clears away what killed pulls have unpacked."""
    path = ingest_lock(store)
    fd = try_acquire(path)
    if fd is None:
        return acquire(path, shared=True)
    try:
        collect_snapshots(store)
        # not atomic, but a collector that slips in between does no harm yet
        fcntl.flock(fd, fcntl.LOCK_SH)
    except BaseException:
        os.close(fd)
        raise
    return fd
