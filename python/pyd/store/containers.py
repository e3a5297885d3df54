"""Containers in the database. Who changes one holds its lock (`Store.lock`); readers need none."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pyd.errors import Conflict, ContainerNotFound, ImageNotFound, InvalidArgument, VolumeNotFound
from pyd.record import fields
from pyd.store import sqlite
from pyd.store.db import Database
from pyd.store.records import ContainerRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# the fields of ContainerRecord that are columns of `containers`, in any fixed order
_COLUMNS = tuple(name for name in fields(ContainerRecord) if name not in ("layers", "volumes"))
_JSON = ("config", "host", "network")
_FLAGS = ("oom_killed", "auto_remove")
_FIXED = ("id", "created")
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM containers"
_MARKS = ", ".join("?" * len(_COLUMNS))
_INSERT = f"INSERT INTO containers ({', '.join(_COLUMNS)}) VALUES ({_MARKS})"


class Containers:
    __slots__ = ("_db",)

    def __init__(self, db: Database) -> None:
        self._db = db

    def insert(self, record: ContainerRecord) -> None:
        """Durable unless the container is `auto_remove`.

        Raises Conflict when the name is taken, ImageNotFound when a layer was removed meanwhile,
        VolumeNotFound likewise: the rows that keep layers and volumes alive are written in the same
        transaction that checks them.
        """
        values = [_store(column, getattr(record, column)) for column in _COLUMNS]
        with self._db.write(durable=not record.auto_remove) as tx:
            self._check_name(tx, record.name)
            tx.execute(_INSERT, values)
            try:
                tx.executemany(
                    "INSERT INTO container_layers VALUES (?, ?, ?)",
                    [(record.id, position, chain) for position, chain in enumerate(record.layers)],
                )
            except sqlite.IntegrityError:
                raise ImageNotFound(f"No such image: {record.image_ref}") from None
            self._use_volumes(tx, record.id, record.volumes)

    def get(self, name: str) -> ContainerRecord:
        """By full id, name (with or without the slash) or unique id prefix, in this order.

        Raises ContainerNotFound, or InvalidArgument when several ids begin like this.
        """
        name = name.removeprefix("/")
        rows = self._db.query(f"{_SELECT} WHERE id = ?1 OR name = ?1 ORDER BY id <> ?1 LIMIT 1", (name,))
        if not rows and name and all(digit in "0123456789abcdef" for digit in name):
            # half-open range instead of LIKE: uses the primary key
            rows = self._db.query(f"{_SELECT} WHERE id >= ? AND id < ? LIMIT 2", (name, name + "g"))
        if not rows:
            raise ContainerNotFound(f"No such container: {name}")
        if len(rows) > 1:
            raise InvalidArgument(
                f"Multiple IDs found with provided prefix: {name}", "give more digits of the id"
            )
        return self._records(rows)[0]

    def list(self) -> tuple[ContainerRecord, ...]:
        """All of them, newest first."""
        return self._records(self._db.query(f"{_SELECT} ORDER BY created DESC, id"))

    def update(self, container_id: str, *, durable: bool = True, **columns: Any) -> None:
        """Set fields of ContainerRecord (not id, created, layers). A taken name raises Conflict."""
        volumes = columns.pop("volumes", None)
        for column in columns:
            if column not in _COLUMNS or column in _FIXED:
                raise TypeError(f"a container has no changeable field {column!r}")
        with self._db.write(durable=durable) as tx:
            if "name" in columns:
                self._check_name(tx, columns["name"], container_id)
            if columns:
                assignments = ", ".join(f"{column} = ?" for column in columns)
                values = [_store(column, value) for column, value in columns.items()]
                done = tx.execute(
                    f"UPDATE containers SET {assignments} WHERE id = ?", (*values, container_id)
                )
                if done.rowcount == 0:
                    raise ContainerNotFound(f"No such container: {container_id}")
            if volumes is not None:
                tx.execute("DELETE FROM container_volumes WHERE container = ?", (container_id,))
                self._use_volumes(tx, container_id, volumes)

    def delete(self, container_id: str, *, durable: bool = True) -> None:
        """Remove the row, its addresses and its hold on layers and volumes; fine when it is gone already."""
        with self._db.write(durable=durable) as tx:
            tx.execute("DELETE FROM containers WHERE id = ?", (container_id,))

    def _records(self, rows: Sequence[sqlite.Row]) -> tuple[ContainerRecord, ...]:
        if not rows:
            return ()
        only = "" if len(rows) > 1 else " WHERE container = ?"
        ids = () if len(rows) > 1 else (rows[0]["id"],)
        layers: dict[str, Any] = {}
        for container, chain in self._db.query(
            f"SELECT container, chain_id FROM container_layers{only} ORDER BY container, position",
            ids,
        ):
            layers.setdefault(container, []).append(chain)
        volumes: dict[str, Any] = {}
        for container, volume in self._db.query(
            f"SELECT container, volume FROM container_volumes{only}", ids
        ):
            volumes.setdefault(container, []).append(volume)
        return tuple(_record(row, layers.get(row["id"], ()), volumes.get(row["id"], ())) for row in rows)

    def _check_name(self, tx: sqlite.Connection, name: str, own_id: str = "") -> None:
        row = tx.execute("SELECT id FROM containers WHERE name = ? AND id <> ?", (name, own_id)).fetchone()
        if row:
            raise Conflict(
                f'Conflict. The container name "/{name}" is already in use by container "{row["id"]}". '
                "You have to remove (or rename) that container to be able to reuse that name."
            )

    def _use_volumes(self, tx: sqlite.Connection, container_id: str, volumes: tuple[str, ...]) -> None:
        for volume in dict.fromkeys(volumes):
            try:
                tx.execute("INSERT INTO container_volumes VALUES (?, ?)", (container_id, volume))
            except sqlite.IntegrityError:
                raise VolumeNotFound(f"get {volume}: no such volume") from None


def _store(column: str, value: Any) -> Any:
    return json.dumps(value, separators=(",", ":")) if column in _JSON else value


def _record(row: sqlite.Row, layers: Any, volumes: Any) -> ContainerRecord:
    values: dict[str, Any] = dict(zip(_COLUMNS, row, strict=True))
    for column in _JSON:
        values[column] = json.loads(values[column])
    for column in _FLAGS:
        values[column] = bool(values[column])
    return ContainerRecord(layers=tuple(layers), volumes=tuple(volumes), **values)
