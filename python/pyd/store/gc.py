"""Garbage collection by reference: images keep blobs and snapshots, containers and the build cache keep
snapshots.

Fetching and unpacking put files in place before any row refers to them, so they hold `ingest.lock` shared;
the collector takes it exclusively, and does nothing about files when somebody is fetching: their own end or
the next command collects.
"""

from __future__ import annotations

import os
import time

from pyd.store.locks import try_acquire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyd.store import Store

KEEP_PARTIAL = 24 * 3600  # seconds: an interrupted pull resumes for a day


_UNUSED = (
    "WHERE chain_id NOT IN (SELECT chain_id FROM image_layers) "
    "AND chain_id NOT IN (SELECT chain_id FROM container_layers)"
)


def ingest_lock(store: Store) -> str:
    return f"{store.paths.run_root}/locks/ingest"


def collect(store: Store, *, keep_partials: bool = True) -> None:
    fd = try_acquire(ingest_lock(store))
    if fd is not None:
        try:
            # partials first: on a full disk the database has no room for a transaction either
            _collect_partials(store, KEEP_PARTIAL if keep_partials else 0)
            collect_snapshots(store)
            _collect_blobs(store)
        finally:
            os.close(fd)
    store.trash.sweep()


def collect_snapshots(store: Store) -> None:
    """Remove unpacked layers that nobody needs. The caller holds `ingest_lock` exclusively."""
    # asked first: a write would cost a sync even when there is nothing to delete
    if store.db.query(f"SELECT 1 FROM snapshots {_UNUSED} LIMIT 1"):
        with store.db.write() as tx:
            tx.execute(f"DELETE FROM snapshots {_UNUSED}")
    known = {row["chain_id"][7:] for row in store.db.query("SELECT chain_id FROM snapshots")}
    known |= {chain_id[7:] for chain_id in store.build_cache.chains()}
    for name in _names(store.paths.snapshots):
        if name not in known:
            store.trash.take(f"{store.paths.snapshots}/{name}")


def _collect_blobs(store: Store) -> None:
    needed = {row["digest"][7:] for row in store.db.query("SELECT DISTINCT digest FROM image_blobs")}
    for name in _names(store.paths.content):
        if name not in needed:
            store.trash.take(f"{store.paths.content}/{name}")


def _collect_partials(store: Store, keep: float) -> None:
    oldest = time.time() - keep
    for name in _names(store.paths.ingest):
        path = f"{store.paths.ingest}/{name}"
        try:
            # without the suffix it is a small blob that is written in one go: its writer is dead, we hold
            # the lock
            if not name.endswith(".partial") or os.stat(path).st_mtime < oldest:
                os.unlink(path)
        except FileNotFoundError:
            pass


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []
