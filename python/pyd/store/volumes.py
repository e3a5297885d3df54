"""Named and anonymous volumes. The data is volumes/<name>/_data; the row says that it exists."""

from __future__ import annotations

import json
import os
import re
from contextlib import AbstractContextManager
from typing import Any

from pyd.errors import Conflict, InvalidArgument, VolumeNotFound, from_os_error
from pyd.paths import Paths
from pyd.store import sqlite
from pyd.store.db import Database
from pyd.store.locks import exclusive
from pyd.store.resources import VolumeRecord
from pyd.store.trash import Trash

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", re.ASCII)


class Volumes:
    __slots__ = ("_db", "_paths", "_trash")

    def __init__(self, db: Database, paths: Paths, trash: Trash) -> None:
        self._db = db
        self._paths = paths
        self._trash = trash

    def path(self, name: str) -> str:
        """Directory of the data."""
        return self._paths.volume(_check(name))

    def ensure(self, record: VolumeRecord) -> VolumeRecord:
        """Create the volume with its empty directory, or return the one of this name that exists."""
        _check(record.name)
        rows = self._db.query("SELECT * FROM volumes WHERE name = ?", (record.name,))
        if rows:
            return _record(rows[0])
        path = self._paths.volume(record.name)
        with self._lock(), self._db.write() as tx:
            row = tx.execute("SELECT * FROM volumes WHERE name = ?", (record.name,)).fetchone()
            if row:
                return _record(row)
            # a deleter may have been killed between its commit and its rename: nobody inherits that data
            self._trash.take(f"{self._paths.volumes}/{record.name}")
            try:
                os.makedirs(path, mode=0o755, exist_ok=True)
            except OSError as error:
                raise from_os_error(error, f"making {path}") from error
            tx.execute(
                "INSERT INTO volumes VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    record.name,
                    record.driver,
                    record.created,
                    json.dumps(record.labels),
                    json.dumps(record.options),
                    record.anonymous,
                    record.populated,
                ),
            )
        return record

    def get(self, name: str) -> VolumeRecord:
        rows = self._db.query("SELECT * FROM volumes WHERE name = ?", (name,))
        if not rows:
            raise VolumeNotFound(f"get {name}: no such volume")
        return _record(rows[0])

    def list(self) -> tuple[VolumeRecord, ...]:
        return tuple(_record(row) for row in self._db.query("SELECT * FROM volumes ORDER BY name"))

    def users(self, name: str) -> tuple[str, ...]:
        """Ids of the containers, running or not, that use the volume."""
        rows = self._db.query("SELECT container FROM container_volumes WHERE volume = ?", (name,))
        return tuple(row["container"] for row in rows)

    def set_populated(self, name: str) -> None:
        """Note that the image's files were copied in: that happens on first use only."""
        with self._db.write() as tx:
            tx.execute("UPDATE volumes SET populated = 1 WHERE name = ?", (name,))

    def delete(self, name: str) -> None:
        """Raises Conflict while a container uses it."""
        _check(name)
        # the lock covers commit and rename, so that no new volume of this name comes in between
        with self._lock():
            with self._db.write() as tx:
                try:
                    done = tx.execute("DELETE FROM volumes WHERE name = ?", (name,))
                except sqlite.IntegrityError:
                    users = ", ".join(self.users(name))
                    raise Conflict(f"remove {name}: volume is in use - [{users}]") from None
                if done.rowcount == 0:
                    raise VolumeNotFound(f"get {name}: no such volume")
            self._trash.take(f"{self._paths.volumes}/{name}")

    def _lock(self) -> AbstractContextManager[None]:
        return exclusive(f"{self._paths.run_root}/locks/volumes")


def _check(name: str) -> str:
    if not _NAME.fullmatch(name) or len(name) > 255:
        raise InvalidArgument(
            f'create {name}: "{name}" includes invalid characters for a local volume name, '
            'only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. '
            "If you intended to pass a host directory, use absolute path"
        )
    return name


def _record(row: Any) -> VolumeRecord:
    return VolumeRecord(
        name=row["name"],
        driver=row["driver"],
        created=row["created"],
        labels=json.loads(row["labels"]),
        options=json.loads(row["options"]),
        anonymous=bool(row["anonymous"]),
        populated=bool(row["populated"]),
    )
