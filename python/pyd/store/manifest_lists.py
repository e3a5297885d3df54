"""Lists of manifests that are being put together, until they are pushed."""

from __future__ import annotations

import json
from typing import Any

from pyd.errors import Conflict
from pyd.store.db import Database

Entries = list[dict[str, Any]]


def get(db: Database, name: str) -> Entries | None:
    """The entries of the list with this canonical name."""
    rows = db.query("SELECT document FROM manifest_lists WHERE name = ?", (name,))
    entries: Entries | None = json.loads(rows[0]["document"]) if rows else None
    return entries


def merge(db: Database, name: str, entries: Entries, *, amend: bool) -> Entries:
    """Add entries, or replace those of the same `ref`; all of the list then.

    Raises Conflict when it exists and is not to be amended.
    """
    with db.write() as tx:
        known = get(db, name)
        if known is not None and not amend:
            raise Conflict("refusing to amend an existing manifest list with no --amend flag")
        merged = {entry["ref"]: entry for entry in known or ()}
        merged.update({entry["ref"]: entry for entry in entries})
        tx.execute(
            "INSERT OR REPLACE INTO manifest_lists VALUES (?, ?)", (name, json.dumps(list(merged.values())))
        )
    return list(merged.values())


def delete(db: Database, name: str) -> bool:
    """False when there is none."""
    with db.write() as tx:
        return bool(tx.execute("DELETE FROM manifest_lists WHERE name = ?", (name,)).rowcount)
