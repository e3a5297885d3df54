"""The database: SQLite in WAL mode, opened by as many processes as like.

A connection per thread (SQLite objects may not be shared), made on first use. Every write is one transaction
that takes the write lock at its start: a deferred one could fail with SQLITE_BUSY when it turns from reader
to writer, and no busy_timeout helps against that.

Durability: synchronous=FULL syncs the WAL at each commit, so what was acknowledged survives a power cut.
`durable=False` (synchronous=NORMAL) is for rows of --rm containers, which a crash would remove anyway; the
database stays consistent.
"""

from __future__ import annotations

import errno
import time
from _thread import _local  # threading.local, without a millisecond of import
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pyd.errors import CorruptData, KernelError, NotSupported, PydError, Unavailable
from pyd.paths import Paths
from pyd.store import sqlite, wal
from pyd.store.schema import MIGRATIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BUSY_SECONDS = 30.0
_LOG_PAGES = 200  # the first process after all others have ended reads the log: 0.8 MB, half a millisecond


class Database:
    """`query` to read, `write()` for a transaction. Errors of SQLite come out as PydErrors."""

    __slots__ = ("_local", "_paths")

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._local = _local()

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite.Row]:
        try:
            rows: list[sqlite.Row] = self._connection().execute(sql, values).fetchall()
        except sqlite.Error as error:
            raise self._error(error) from error
        return rows

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Several reads that see one state."""
        connection = self._connection()
        if connection.in_transaction:
            yield
            return
        connection.execute("BEGIN")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[sqlite.Connection]:
        """One transaction: all of it or nothing. Inside another one it joins that."""
        connection = self._connection()
        if connection.in_transaction:
            yield connection
            return
        try:
            connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite.Error as error:
            raise self._error(error) from error

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            wal.release(self._local.key)
            self._local.connection = None

    def _connection(self) -> sqlite.Connection:
        connection: sqlite.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            self._paths.make()
            try:
                connection = self._open()
            except sqlite.Error as error:
                raise self._error(error) from error
            self._local.connection = connection
        return connection

    def _open(self) -> sqlite.Connection:
        path = self._paths.db
        connection = open_file(path, MIGRATIONS, "use that version of pyd, or another --data-root")
        connection.execute(f"PRAGMA wal_autocheckpoint={_LOG_PAGES}")
        self._local.key = wal.hold(path)
        return connection

    def _error(self, error: sqlite.Error) -> PydError:
        return explain(error, self._paths.db, "the data-root", ", or choose another --data-root")


def open_file(
    path: str, migrations: Sequence[Sequence[str]], remedy: str, *, check_same_thread: bool = True
) -> sqlite.Connection:
    """A connection in autocommit mode to a database whose schema is brought up to date first: element n of
    `migrations` leads from version n to n+1. Raises NotSupported, with `remedy`, for a newer one.
    """
    connection = sqlite.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=check_same_thread
    )
    try:
        connection.row_factory = sqlite.Row
        connection.execute("PRAGMA foreign_keys=ON")
        if connection.execute("PRAGMA user_version").fetchone()[0] != len(migrations):
            _migrate(connection, path, migrations, remedy)
        connection.execute("PRAGMA synchronous=FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(
    connection: sqlite.Connection, path: str, migrations: Sequence[Sequence[str]], remedy: str
) -> None:
    # WAL is a property of the file; it cannot be changed inside a transaction, so it comes first
    _use_wal(connection)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        # read again under the lock: another process may have been first
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(migrations):
            raise NotSupported(
                f"{path} was written by a newer pyd: schema {version}, known here {len(migrations)}", remedy
            )
        for statements in migrations[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={len(migrations)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _use_wal(connection: sqlite.Connection) -> None:
    """SQLite does not wait for others that open a new database at the same time: two that want to write the
    header of the file would wait for each other, so one is told "locked" at once.
    """
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.005)


def explain(error: sqlite.Error, path: str, place: str, elsewhere: str) -> PydError:
    """The error in pyd's words. `place`: what the database lies in; `elsewhere`: how to choose another."""
    text = str(error)
    if "locked" in text or "busy" in text:
        return Unavailable(f"{path} is locked by another process for more than {BUSY_SECONDS:.0f} seconds")
    if "malformed" in text or "not a database" in text:
        return CorruptData(f"{path} is damaged: {text}", f"restore it from a backup{elsewhere}")
    hint, code = None, 0
    if "full" in text:
        hint, code = f"free space on the file system of {place}{elsewhere}", errno.ENOSPC
    elif "readonly" in text or "unable to open" in text:
        hint = f"run as root{elsewhere}"
    return KernelError(f"writing {path}: {text}", hint, op="sqlite", path=path, errno=code)
