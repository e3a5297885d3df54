"""The registry's database: SQLite in WAL mode. Several processes may have it open (`serve` and `gc`).

`query` and `transact` are for any thread, each with a connection of its own. `Writer` is the server's way to
write: one thread that puts all changes that wait into one transaction, because a commit is a sync of the disk
and ten pushes at once need not wait for ten of them.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pyd.errors import PydError
from pyd.registry.server.schema import MIGRATIONS
from pyd.store.db import explain, open_file

_Result = TypeVar("_Result")
_MAX_BATCH = 100


class Transaction:
    """`run` is a statement in it. Directories in `renamed_in` are synced before the commit, so that no row is
    on disk before the file that it speaks of.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.run = connection.execute
        self.renamed_in: set[str] = set()

    def one(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """The first row, or None."""
        return self.run(sql, values).fetchone()

    def sync(self) -> None:
        for path in sorted(self.renamed_in):
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        self.renamed_in.clear()


class Database:
    def __init__(self, path: str) -> None:
        self.path = path
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._lock = threading.Lock()

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        try:
            rows: list[sqlite3.Row] = self._connection().execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self.translate(error) from error
        return rows

    def transact(self, work: Callable[[Transaction], _Result]) -> _Result:
        """`work` in one durable transaction: all of it or nothing."""
        (result,) = self.transact_all([work])
        if isinstance(result, BaseException):
            raise result
        value: _Result = result
        return value

    def transact_all(self, jobs: Sequence[Callable[[Transaction], Any]]) -> list[Any]:
        """Each job's result or its exception: one that fails undoes its own changes only."""
        connection = self._connection()
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                transaction = Transaction(connection)
                results = [_attempt(transaction, job) for job in jobs]
                transaction.sync()
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self.translate(error) from error
        return results

    def close(self) -> None:
        """Close the connections of all threads; none of them may be at work."""
        with self._lock:
            for connection in self._all:
                connection.close()
            self._all.clear()
            self._local = threading.local()

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            try:
                connection = self._open()
            except sqlite3.Error as error:
                raise self.translate(error) from error
            self._local.connection = connection
            with self._lock:
                self._all.append(connection)
        return connection

    def _open(self) -> sqlite3.Connection:
        # closed by another thread than its own at the end
        return open_file(self.path, MIGRATIONS, "use that version of pyd", check_same_thread=False)

    def translate(self, error: sqlite3.Error) -> PydError:
        return explain(error, self.path, "the registry", ", or choose another --root")


def _attempt(transaction: Transaction, job: Callable[[Transaction], Any]) -> Any:
    transaction.run("SAVEPOINT job")
    try:
        result = job(transaction)
    except sqlite3.OperationalError:
        raise  # the database itself fails: for all
    except Exception as error:
        transaction.run("ROLLBACK TO job")
        transaction.run("RELEASE job")
        return error
    transaction.run("RELEASE job")
    return result


class Writer:
    """The one thread of the server that writes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._jobs: queue.SimpleQueue[tuple[Callable[[Transaction], Any], asyncio.Future[Any]] | None] = (
            queue.SimpleQueue()
        )
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="registry-writer")
        self._thread.start()

    async def write(self, work: Callable[[Transaction], _Result]) -> _Result:
        """The result of `work`, after its transaction is on disk. It is done even if the caller is
        cancelled.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        self._jobs.put((work, future))
        result: _Result = await asyncio.shield(future)
        return result

    def close(self) -> None:
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        ended = False
        while not ended:
            batch = []
            item = self._jobs.get()
            while item is not None:
                batch.append(item)
                if len(batch) >= _MAX_BATCH or self._jobs.empty():
                    break
                item = self._jobs.get()
            ended = item is None
            if not batch:
                continue
            try:
                results = self._database.transact_all([work for work, _ in batch])
            except Exception as error:
                results = [error] * len(batch)
            self._loop.call_soon_threadsafe(_resolve, [future for _, future in batch], results)


def _resolve(futures: Sequence[asyncio.Future[Any]], results: Sequence[Any]) -> None:
    for future, result in zip(futures, results, strict=True):
        if future.done():
            continue
        if isinstance(result, BaseException):
            future.set_exception(result)
            future.exception()  # nobody may be waiting any more; that is no error of the program
        else:
            future.set_result(result)
