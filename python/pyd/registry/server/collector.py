"""Garbage collection, while the registry serves or from another process.

1. a transaction forgets: untagged manifests if asked for, links to blobs that no manifest of the repository
needs (after a grace, for pushes that send blobs first), blobs that no repository shows 2. a second one
deletes files without a row. It holds the write lock, and `Store.add_blob` gives a file its name inside of a
transaction too: a blob that is pushed again at this moment is either seen here, or not yet named

Killed between the two, files without rows are left; the next run finds them.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass

from pyd.registry.server.database import Transaction
from pyd.registry.server.sessions import sweep
from pyd.registry.server.store import Store

GRACE = 3600.0  # seconds
UPLOAD_EXPIRY = 24 * 3600.0
_BATCH = 500  # files per transaction: pushes wait that long


@dataclass(frozen=True, slots=True)
class Collected:
    manifests: int
    blobs: int
    size: int  # bytes of the blobs
    uploads: int


def collect(
    store: Store,
    *,
    grace: float = GRACE,
    untagged: bool = False,
    upload_expiry: float = UPLOAD_EXPIRY,
) -> Collected:
    """Delete what nothing refers to. `grace`: seconds for which a blob without a manifest, or with `untagged`
    a manifest without a tag, is kept.
    """
    now = time.time()
    manifests = store.db.transact(lambda tx: _forget(tx, now - grace, untagged))
    removed, size = _delete_files(store)
    _share(store)
    uploads = sweep(store.files, uploads_before=now - upload_expiry, temporary_before=now - upload_expiry)
    return Collected(manifests, removed, size, uploads)


_UNTAGGED = """DELETE FROM manifests AS m WHERE pushed < ?
    AND NOT EXISTS (SELECT 1 FROM tags t WHERE t.repository = m.repository AND t.digest = m.digest)
    AND NOT EXISTS (SELECT 1 FROM manifest_references f WHERE f.repository = m.repository
        AND f.digest = m.digest AND f.kind = 'manifest' AND f.manifest <> m.digest)
    AND NOT EXISTS (SELECT 1 FROM manifests s WHERE m.subject <> ''
        AND s.repository = m.repository AND s.digest = m.subject)"""


def _forget(tx: Transaction, before: float, untagged: bool) -> int:
    manifests = 0
    # what an index held may be next, and what referred to it
    while untagged and (count := tx.run(_UNTAGGED, (before,)).rowcount):
        manifests += count
    if manifests:
        Store.drop_documents(tx)
    tx.run(
        "DELETE FROM repository_blobs AS l WHERE linked < ? AND NOT EXISTS "
        "(SELECT 1 FROM manifest_references f WHERE f.repository = l.repository AND f.digest = l.digest)",
        (before,),
    )
    tx.run("DELETE FROM blobs WHERE digest NOT IN (SELECT digest FROM repository_blobs)")
    tx.run(
        "DELETE FROM repositories WHERE id NOT IN (SELECT repository FROM manifests) "
        "AND id NOT IN (SELECT repository FROM repository_blobs)"
    )
    return manifests


def _delete_files(store: Store) -> tuple[int, int]:
    """(files, bytes)"""
    known = {row[0] for row in store.db.query("SELECT digest FROM blobs")}
    candidates = [digest for digest in store.files.digests() if digest not in known]
    removed = size = 0

    def delete(tx: Transaction, digests: list[str]) -> tuple[int, int]:
        count = total = 0
        for digest in digests:
            if tx.one("SELECT 1 FROM blobs WHERE digest = ?", (digest,)) is None:
                with contextlib.suppress(FileNotFoundError):
                    total += store.files.size(digest) or 0
                    os.unlink(store.files.path(digest))
                    count += 1
        return count, total

    for start in range(0, len(candidates), _BATCH):
        batch = candidates[start : start + _BATCH]
        count, total = store.db.transact(lambda tx, batch=batch: delete(tx, batch))  # type: ignore[misc]
        removed, size = removed + count, size + total
    return removed, size


def _share(store: Store) -> None:
    """A blob that was here before pyd's content store had it too is kept once from now on."""
    if store.files.shared is None:
        return

    def share(tx: Transaction, digests: list[str]) -> None:
        for digest in digests:
            if tx.one("SELECT 1 FROM blobs WHERE digest = ?", (digest,)) is not None:
                # both files were verified when they came; who reads the old one keeps it
                store.files.link_shared(digest)

    known = [row[0] for row in store.db.query("SELECT digest FROM blobs")]
    candidates = [digest for digest in known if store.files.is_kept_twice(digest)]
    for start in range(0, len(candidates), _BATCH):
        batch = candidates[start : start + _BATCH]
        store.db.transact(lambda tx, batch=batch: share(tx, batch))  # type: ignore[misc]
