"""Networks and the addresses in use on them."""

from __future__ import annotations

import json
from collections.abc import Iterable

from pyd.errors import Conflict, InvalidArgument, NetworkNotFound, Unavailable
from pyd.store import sqlite
from pyd.store.db import Database
from pyd.store.resources import NetworkRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Networks:
    __slots__ = ("_db",)

    def __init__(self, db: Database) -> None:
        self._db = db

    def ensure(self, record: NetworkRecord) -> NetworkRecord:
        """Insert it, or return the one of this name that exists."""
        with self._db.write() as tx:
            row = tx.execute("SELECT * FROM networks WHERE name = ?", (record.name,)).fetchone()
            if row:
                return _record(row)
            tx.execute(
                "INSERT INTO networks VALUES (?, ?, ?, ?, ?)",
                (record.id, record.name, record.driver, record.created, json.dumps(record.config)),
            )
        return record

    def get(self, name: str) -> NetworkRecord:
        """By id, name or unique id prefix."""
        rows = self._db.query(
            "SELECT * FROM networks WHERE id = ?1 OR name = ?1 ORDER BY id <> ?1 LIMIT 1", (name,)
        )
        if not rows and name:
            rows = self._db.query(
                "SELECT * FROM networks WHERE id >= ? AND id < ? LIMIT 2", (name, name + "g")
            )
        if not rows:
            raise NetworkNotFound(f"network {name} not found")
        if len(rows) > 1:
            raise InvalidArgument(
                f"network {name} is ambiguous ({len(rows)} matches found based on ID prefix)"
            )
        return _record(rows[0])

    def list(self) -> tuple[NetworkRecord, ...]:
        return tuple(_record(row) for row in self._db.query("SELECT * FROM networks ORDER BY name"))

    def delete(self, network_id: str) -> None:
        """Raises Conflict while a container has an address on it."""
        with self._db.write() as tx:
            if tx.execute("SELECT 1 FROM addresses WHERE network = ?", (network_id,)).fetchone():
                raise Conflict(f"network {network_id} has active endpoints")
            tx.execute("DELETE FROM networks WHERE id = ?", (network_id,))

    def claim(
        self, network_id: str, container_id: str, candidates: Iterable[str], *, durable: bool = True
    ) -> str:
        """The first of `candidates` that nobody uses, now held by the container until it is deleted or
        released.
        """
        with self._db.write(durable=durable) as tx:
            rows = tx.execute("SELECT address FROM addresses WHERE network = ?", (network_id,))
            taken = {row["address"] for row in rows}
            for address in candidates:
                if address in taken:
                    continue
                try:
                    tx.execute("INSERT INTO addresses VALUES (?, ?, ?)", (network_id, address, container_id))
                except sqlite.IntegrityError:
                    raise NetworkNotFound(f"network {network_id} not found") from None
                return address
        raise Unavailable(
            "no available IPv4 addresses on this network's address pools", "remove unused containers"
        )

    def release(self, container_id: str, *, durable: bool = True) -> None:
        """Give up all addresses of the container."""
        with self._db.write(durable=durable) as tx:
            tx.execute("DELETE FROM addresses WHERE container = ?", (container_id,))

    def addresses(self, network_id: str) -> dict[str, str]:
        """address -> container id"""
        rows = self._db.query("SELECT address, container FROM addresses WHERE network = ?", (network_id,))
        return {row["address"]: row["container"] for row in rows}


def _record(row: Any) -> NetworkRecord:
    return NetworkRecord(
        id=row["id"],
        name=row["name"],
        driver=row["driver"],
        created=row["created"],
        config=json.loads(row["config"]),
    )
