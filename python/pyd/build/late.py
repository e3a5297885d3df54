"""Layers that keep the times of the build context while their build runs.

make, cargo and the like compare the times of sources with those of what a cache mount has kept: a file that
was edited must look newer. So a COPY before such a RUN leaves the times in its files, until every build that
may look at them has ended; then they become what the layer's tar says.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pyd import _native
from pyd.store.locks import acquire, try_acquire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyd.store import Store
    from pyd.store.build_cache import BuildLayer


def _lock(store: Store) -> str:
    return f"{store.paths.run_root}/locks/late-times"


@contextmanager
def looked_at(store: Store) -> Iterator[None]:
    """For the time of a build; whoever is the last to leave settles what all of them have left."""
    fd = acquire(_lock(store), shared=True)
    try:
        yield
    finally:
        os.close(fd)
        settle(store)


def settle(store: Store, layers: Sequence[BuildLayer] | None = None) -> None:
    """Set the times of late layers, unless a build runs that may look at them."""
    waiting = store.build_cache.late_layers() if layers is None else layers
    if not waiting:
        return
    fd = try_acquire(_lock(store))
    if fd is None:
        return
    try:
        for layer in waiting:
            path = store.snapshots.path(layer.chain_id)
            if layer.late is not None and os.path.isdir(path):
                _native.reclamp(path, layer.late)
            store.build_cache.settled(layer.chain_id)
    finally:
        os.close(fd)
