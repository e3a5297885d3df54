"""What builds keep: the results of their steps, the layers these have made, and the directories of cache
mounts.

A step is known by its key, the digest of its *structure*: everything that can change its result, as JSON. The
structure is kept, so that a miss can be explained by what differs. A result is either a layer on top of the
step's parent, or nothing (a RUN that wrote no file).

Rows come as soon as a step has ended, its files are synced once, at the end of the build. Until then the row
carries the id of this boot: after a power cut it is worth nothing, after a mere `kill -9` everything.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from pyd.errors import from_os_error
from pyd.oci.digest import Digest
from pyd.record import Record
from pyd.store.db import Database

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.store import sqlite


_REMEMBERED = 90 * 86400  # seconds: how long it is known where a step was used


class BuildLayer(Record):
    """A snapshot that the cache keeps. `plain_size`: bytes of its tar; `size`: bytes in regular files.

    late: its files still have times after this epoch (seconds), to which `settle_times` is to set them; None:
    they are as its tar has them.
    """

    chain_id: Digest
    diff_id: Digest
    parent: Digest | None
    plain_size: int
    size: int
    late: int | None = None


class BuildStep(Record):
    key: str
    place: str  # where it was done first: steps of one place are compared to explain a miss
    structure: Mapping[str, Any]
    layer: BuildLayer | None  # None: it changed no file
    value: Mapping[str, Any]  # what else came of it: the commit of a git source, ...
    created: float  # seconds since the epoch
    used: float


class CacheMount(Record):
    """A directory that `RUN --mount=type=cache` keeps between builds: data-root/build/mounts/<name>."""

    name: str
    id: str  # as the Dockerfile calls it
    created: float
    used: float


class BuildCache:
    __slots__ = ("_db",)

    def __init__(self, db: Database) -> None:
        self._db = db

    def find(self, key: str) -> BuildStep | None:
        """The step of this key whose files are there. Notes that it was used."""
        rows = self._db.query(
            "SELECT s.*, l.diff_id, l.parent, l.plain_size, l.size, l.late FROM build_steps s "
            "LEFT JOIN build_layers l USING (chain_id) "
            "WHERE key = coalesce((SELECT target FROM build_aliases WHERE key = ?1), ?1) "
            "AND s.boot IN ('', ?2) AND coalesce(l.boot, '') IN ('', ?2)",
            (key, boot_id()),
        )
        if not rows or (rows[0]["chain_id"] and rows[0]["diff_id"] is None):
            return None
        return _step(rows[0])

    def touch(self, keys: Iterable[str], places: Iterable[tuple[str, str]] = ()) -> None:
        """Note that these steps were used now, and where: (place, key)."""
        now = time.time()
        with self._db.write(durable=False) as tx:
            tx.executemany("UPDATE build_steps SET used = ? WHERE key = ?", [(now, key) for key in keys])
            tx.executemany(
                "INSERT OR REPLACE INTO build_places VALUES (?, ?, ?)",
                [(place, key, now) for place, key in places],
            )
            tx.execute("DELETE FROM build_places WHERE used < ?", (now - _REMEMBERED,))

    def add(self, step: BuildStep, aliases: Sequence[str] = ()) -> None:
        """Its files are in place, not yet synced. `aliases`: other keys under which it is found."""
        boot = boot_id()
        with self._db.write(durable=False) as tx:
            if step.layer is not None:
                _add_layer(tx, step.layer, boot)
            tx.execute(
                "INSERT OR REPLACE INTO build_steps VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    step.key,
                    step.place,
                    json.dumps(step.structure, separators=(",", ":"), sort_keys=True),
                    str(step.layer.chain_id) if step.layer else "",
                    json.dumps(step.value, separators=(",", ":"), sort_keys=True),
                    boot,
                    step.created,
                    step.used,
                ),
            )
            tx.executemany(
                "INSERT OR REPLACE INTO build_aliases VALUES (?, ?)",
                [(alias, step.key) for alias in aliases if alias != step.key],
            )

    def add_layer(self, layer: BuildLayer) -> None:
        """Its directory is in place, not yet synced."""
        with self._db.write(durable=False) as tx:
            _add_layer(tx, layer, boot_id())

    def late_layers(self) -> list[BuildLayer]:
        """Those whose files still have the times of the build context."""
        rows = self._db.query("SELECT * FROM build_layers WHERE late IS NOT NULL")
        return [_layer(row) for row in rows]

    def settled(self, chain_id: str) -> None:
        """The files of this layer have the times of its tar now."""
        with self._db.write(durable=False) as tx:
            tx.execute("UPDATE build_layers SET late = NULL WHERE chain_id = ?", (chain_id,))

    def alias(self, key: str, target: str) -> None:
        with self._db.write(durable=False) as tx:
            tx.execute("INSERT OR REPLACE INTO build_aliases VALUES (?, ?)", (key, target))

    def sync(self, flush: Callable[[], None]) -> None:
        """Call `flush`, which writes the files to disk, if there is anything that waits for it.

        Only what was there before it becomes durable: others add rows meanwhile.
        """
        boot = (boot_id(),)
        steps = self._db.query("SELECT key FROM build_steps WHERE boot = ?", boot)
        layers = self._db.query("SELECT chain_id FROM build_layers WHERE boot = ?", boot)
        if not steps and not layers:
            return
        flush()
        with self._db.write() as tx:
            tx.executemany("UPDATE build_layers SET boot = '' WHERE chain_id = ?", map(tuple, layers))
            tx.executemany("UPDATE build_steps SET boot = '' WHERE key = ?", map(tuple, steps))

    def aliases(self, key: str) -> tuple[str, ...]:
        """The other keys under which this step is found."""
        rows = self._db.query("SELECT key FROM build_aliases WHERE target = ? ORDER BY key", (key,))
        return tuple(row["key"] for row in rows)

    def at(self, place: str) -> list[BuildStep]:
        """Steps that were done or found at this place, the one used last first."""
        rows = self._db.query(
            "SELECT s.*, l.diff_id, l.parent, l.plain_size, l.size, l.late FROM build_places p "
            "JOIN build_steps s USING (key) LEFT JOIN build_layers l USING (chain_id) "
            "WHERE p.place = ? ORDER BY p.used DESC LIMIT 100",
            (place,),
        )
        return [_step(row) for row in rows]

    def was_at(self, place: str, key: str) -> bool:
        """Whether this step was done or found there, though it may have been removed since."""
        return bool(self._db.query("SELECT 1 FROM build_places WHERE place = ? AND key = ?", (place, key)))

    def layer(self, chain_id: str) -> BuildLayer | None:
        rows = self._db.query(
            "SELECT * FROM build_layers WHERE chain_id = ? AND boot IN ('', ?)", (chain_id, boot_id())
        )
        return _layer(rows[0]) if rows else None

    def layer_of(self, diff_id: str) -> BuildLayer | None:
        """Any snapshot with these contents."""
        rows = self._db.query(
            "SELECT * FROM build_layers WHERE diff_id = ? AND boot IN ('', ?) LIMIT 1", (diff_id, boot_id())
        )
        return _layer(rows[0]) if rows else None

    def chains(self) -> set[str]:
        """chainIDs of all layers that the cache keeps."""
        rows = self._db.query("SELECT chain_id FROM build_layers WHERE boot IN ('', ?)", (boot_id(),))
        return {row["chain_id"] for row in rows}

    def remove(self, keys: Iterable[str]) -> None:
        """Forget these steps, and the layers that no other step has made."""
        with self._db.write() as tx:
            for key in keys:
                tx.execute("DELETE FROM build_steps WHERE key = ?", (key,))
                tx.execute("DELETE FROM build_aliases WHERE key = ?1 OR target = ?1", (key,))
            tx.execute("DELETE FROM build_layers WHERE chain_id NOT IN (SELECT chain_id FROM build_steps)")

    def mounts(self) -> list[CacheMount]:
        """The one used last first."""
        rows = self._db.query("SELECT * FROM build_mounts ORDER BY used DESC")
        return [CacheMount(row["name"], row["id"], row["created"], row["used"]) for row in rows]

    def use_mount(self, name: str, mount_id: str) -> None:
        now = time.time()
        with self._db.write(durable=False) as tx:
            tx.execute(
                "INSERT INTO build_mounts VALUES (?, ?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET used = excluded.used",
                (name, mount_id, now, now),
            )

    def remove_mount(self, name: str) -> None:
        with self._db.write() as tx:
            tx.execute("DELETE FROM build_mounts WHERE name = ?", (name,))

    def list(self) -> list[BuildStep]:
        """All steps, the one used last first."""
        return [
            _step(row)
            for row in self._db.query(
                "SELECT s.*, l.diff_id, l.parent, l.plain_size, l.size, l.late FROM build_steps s "
                "LEFT JOIN build_layers l USING (chain_id) ORDER BY used DESC"
            )
        ]


@functools.cache
def boot_id() -> str:
    path = "/proc/sys/kernel/random/boot_id"
    try:
        with open(path, "rb") as file:
            return file.read().strip().decode()
    except OSError as error:
        raise from_os_error(error, f"reading {path}") from error


def _add_layer(tx: sqlite.Connection, layer: BuildLayer, boot: str) -> None:
    # a layer that is on disk already stays so
    tx.execute(
        "INSERT OR IGNORE INTO build_layers VALUES (?, ?, ?, ?, ?, ?, ?)",
        (layer.chain_id, layer.diff_id, layer.parent, layer.plain_size, layer.size, layer.late, boot),
    )


def _layer(row: Any) -> BuildLayer:
    return BuildLayer(
        Digest(row["chain_id"]),
        Digest(row["diff_id"]),
        Digest(row["parent"]) if row["parent"] else None,
        row["plain_size"],
        row["size"],
        row["late"],
    )


def _step(row: Any) -> BuildStep:
    return BuildStep(
        key=row["key"],
        place=row["place"],
        structure=json.loads(row["structure"]),
        layer=_layer(row) if row["diff_id"] is not None else None,
        value=json.loads(row["value"]),
        created=row["created"],
        used=row["used"],
    )
