"""Run a container to its end in this process: create, start attached, carry its output, remove."""

from __future__ import annotations

import os

from pyd.engine import create as _create
from pyd.engine import settle, start
from pyd.engine.options import ContainerOptions, RunResult
from pyd.errors import Conflict, ContainerNotFound, PydError
from pyd.runtime.attach import STDERR, Pump
from pyd.runtime.connection import pair

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyd.engine.engine import Engine


def run(engine: Engine, options: ContainerOptions, stdin: bytes | None = None) -> RunResult:
    created = _create.create(engine, options)
    output: tuple[list[bytes], list[bytes]] = ([], [])
    ours, theirs = pair()
    try:
        with ours:
            try:
                start.start(engine, created.id, attach=theirs)
            finally:
                theirs.close()
            reader = _feed(stdin) if stdin is not None else None
            try:
                pump = Pump(ours, lambda stream, data: output[stream == STDERR].append(data), stdin=reader)
                ended = pump.run()
            finally:
                if reader is not None:
                    os.close(reader)
    except BaseException:
        abandon(engine, created.id, options.remove)
        raise
    exit_code = collect(engine, created.id, ended)
    return RunResult(exit_code, b"".join(output[0]), b"".join(output[1]), created.id)


def _feed(data: bytes) -> int:
    """A pipe that a thread fills: the pump reads it as any other stdin."""
    import threading

    reader, writer = os.pipe()

    def write() -> None:
        with open(writer, "wb", closefd=True) as file:
            try:
                file.write(data)
            except BrokenPipeError:
                pass

    threading.Thread(target=write, daemon=True).start()
    return reader


def collect(engine: Engine, container_id: str, ended: dict[str, object] | None) -> int:
    """The exit code after the last frame, with the end noted or the --rm container removed."""
    with engine.store.lock(container_id):
        try:
            record = engine.store.containers.get(container_id)
        except ContainerNotFound:  # somebody looked before us and has swept it
            return int(str((ended or {}).get("exit_code", 137)))
        result = settle.read_exit(engine, container_id)
        if result is None and ended is None:
            now = settle.settle(engine, record, locked=True)
            return now.exit_code if now is not None else 137
        result = result or dict(ended or {})
        settle.finish(engine, record, result)
        return int(result["exit_code"])


def abandon(engine: Engine, container_id: str, remove: bool) -> None:
    """After an error or Ctrl-C: nothing goes on behind the caller's back."""
    try:
        record = engine.settled(container_id)
        if record.state in ("running", "paused"):
            engine.task(record).call("kill", signal=9, all=True)
            try:
                engine.task(record).call("wait")
            except Conflict:
                pass
        with engine.store.lock(container_id):
            record = engine.settled(container_id, locked=True)
            if remove and record.state not in ("running", "paused"):
                engine.discard(record)
    except PydError:
        pass  # the error that brought us here says more; the next command sweeps
