"""RUN steps of builds: each a container of its own that ends when the build does, however that ends.

What makes containers is imported when the first step runs: a build that changes nothing needs none of it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from pyd.build.run_job import RunEnd, RunJob
from pyd.errors import Cancelled, PydError, StartError
from pyd.runtime.connection import Connection, pair
from pyd.store.gc import ingest_lock
from pyd.store.locks import try_acquire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.engine.engine import Engine
    from pyd.store import ContainerRecord


_DYING_SECONDS = 1.0


def sweep(engine: Engine) -> None:
    """Remove what builds that were killed have left. Does nothing while another build runs."""
    fd = try_acquire(ingest_lock(engine.store))
    if fd is None:
        return
    deadline = time.monotonic() + _DYING_SECONDS
    try:
        for record in engine.store.containers.list():
            if (record.host.get("pyd") or {}).get("build"):
                with suppress(PydError):  # it is removed while it is looked at, here or by somebody else
                    _sweep(engine, record.id, deadline)
    finally:
        os.close(fd)


def _sweep(engine: Engine, container_id: str, deadline: float) -> None:
    """No build holds the lock, so its own is dead, and a monitor that is still there is about to end."""
    now = engine.settled(container_id)
    while now.state in ("running", "paused") and time.monotonic() < deadline:
        time.sleep(0.005)
        now = engine.settled(container_id)
    if now.state not in ("running", "paused"):
        engine.discard(now)


class BuildRunner:
    """build.run_job.Runner."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connections: set[Connection] = set()
        self._cancelled = False
        self._lock = threading.Lock()

    def run(self, job: RunJob, write: Callable[[int, bytes], None]) -> RunEnd:
        from pyd.engine import build_container
        from pyd.engine.start import undo

        engine = self._engine
        record = build_container.insert(engine, job)
        try:
            ended = self._run(record, job, write)
            if self._cancelled:
                raise Cancelled("the build was cancelled")
            if ended is None:
                # what the step has done is not known to be whole
                raise StartError("the monitor (shim) of a build step died", "build again", stage="shim")
        except BaseException as error:
            undo(engine, record, error)
            raise
        finally:
            build_container.clear(engine, record, job)
            engine.discard(record)
        return RunEnd(int(ended["exit_code"]), bool(ended.get("oom_killed")))

    def cancel(self) -> None:
        """A job ends when the connection to its monitor does ("tied"), also in the middle of its start."""
        with self._lock:
            self._cancelled = True
            for connection in self._connections:
                with suppress(OSError):
                    connection.cut()

    @contextmanager
    def _connected(self) -> Iterator[tuple[Connection, Connection]]:

        ours, theirs = pair()
        with ours, theirs:
            with self._lock:
                if self._cancelled:
                    raise Cancelled("the build was cancelled")
                self._connections.add(ours)
            try:
                yield ours, theirs
            finally:
                with self._lock:
                    self._connections.discard(ours)

    def _run(
        self, record: ContainerRecord, job: RunJob, write: Callable[[int, bytes], None]
    ) -> dict[str, Any] | None:
        from pyd.engine import build_container
        from pyd.runtime.attach import Pump

        engine = self._engine
        with self._connected() as (ours, theirs):
            # others who look at it meanwhile see the lock and know that it is being started
            with engine.store.lock(record.id):
                build_container.start(engine, record, job, theirs)
            theirs.close()
            if job.interactive:
                from pyd.engine.session import Session

                session = Session(tty=True, stdin=True, proxy=False)
                return session.carry(ours, lambda: engine.task(record))[0]
            return Pump(ours, write).run()
