"""Unpacked layers: one directory per chainID, and a row once it is complete.

The row is what makes a snapshot exist. A directory without one was left by somebody who was killed, or
belongs to an unpack that still runs; only the collector, which knows that nobody unpacks, removes those.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyd.errors import ImageNotFound
from pyd.oci.digest import Digest
from pyd.paths import Paths
from pyd.record import Record
from pyd.store.db import Database

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyd._native import FileDifference as FileDifference
    from pyd._native import FileNode as FileNode
    from pyd._native import ImageContent as ImageContent
    from pyd.store import Store


class Snapshot(Record):
    chain_id: Digest
    diff_id: Digest
    parent: Digest | None
    size: int  # bytes of this layer alone
    created: str


class Snapshots:
    __slots__ = ("_db", "_paths")

    def __init__(self, db: Database, paths: Paths) -> None:
        self._db = db
        self._paths = paths

    def path(self, chain_id: str) -> str:
        """Directory of the layer's files, whether or not it exists."""
        return f"{self._paths.snapshots}/{Digest.parse(chain_id).hex}/fs"

    def lower_dirs(self, layers: Sequence[str]) -> list[str]:
        """Directories for overlayfs, top first, of chainIDs that are given top first
        (ContainerRecord.layers).
        """
        return [self.path(chain_id) for chain_id in layers]

    def known(self, chain_ids: Sequence[str]) -> set[str]:
        """Those of `chain_ids` that are unpacked and complete."""
        marks = ", ".join("?" * len(chain_ids))
        rows = self._db.query(f"SELECT chain_id FROM snapshots WHERE chain_id IN ({marks})", tuple(chain_ids))
        return {row["chain_id"] for row in rows}

    def get(self, chain_id: str) -> Snapshot:
        rows = self._db.query("SELECT * FROM snapshots WHERE chain_id = ?", (chain_id,))
        if not rows:
            raise ImageNotFound(f"No such layer: {chain_id}")
        row = rows[0]
        parent = Digest(row["parent"]) if row["parent"] else None
        return Snapshot(Digest(row["chain_id"]), Digest(row["diff_id"]), parent, row["size"], row["created"])

    def used(self, chain_ids: Sequence[str]) -> set[str]:
        """Those of `chain_ids` that an image or a container needs."""
        marks = ", ".join("?" * len(chain_ids))
        rows = self._db.query(
            f"SELECT chain_id FROM image_layers WHERE chain_id IN ({marks}) "
            f"UNION SELECT chain_id FROM container_layers WHERE chain_id IN ({marks})",
            (*chain_ids, *chain_ids),
        )
        return {row["chain_id"] for row in rows}

    def total(self) -> int:
        """Bytes of all snapshots."""
        return int(self._db.query("SELECT coalesce(sum(size), 0) AS total FROM snapshots")[0]["total"])

    def compare(self, before: Sequence[str], after: Sequence[str]) -> Sequence[FileDifference]:
        """What leads from one stack of layers (chainIDs, top first) to another, as paths of their files."""
        from pyd import _native

        return _native.compare_layers(self.lower_dirs(before), self.lower_dirs(after))

    def explore(self, layers: Sequence[str], *, copies: bool = True) -> ImageContent:
        """What each of the layers (chainIDs, top first) adds, and what the upper ones make useless.

        `copies`: look for files with the same content too, which reads many of them.
        """
        from pyd import _native

        return _native.explore_layers(self.lower_dirs(layers)[::-1], copies=copies)


def sync(store: Store) -> None:
    """Make the layers of builds durable that are not yet: before an image names them."""

    def flush() -> None:
        from pyd import _native

        _native.syncfs(store.paths.snapshots)

    store.build_cache.sync(flush)
