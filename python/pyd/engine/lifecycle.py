"""What happens to a container between its start and its removal."""

from __future__ import annotations

import signal as _signal
import time

from pyd.engine import names
from pyd.errors import Conflict, ContainerNotFound, InvalidArgument, Unavailable
from pyd.runtime import defaults, resources
from pyd.runtime.signals import signal_number
from pyd.store import ContainerRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.engine.engine import Engine

_KILL_SECONDS = 30.0  # how long a process may take to die of SIGKILL (it can be stuck in the kernel)


def stop(engine: Engine, name: str, timeout: float | None = None, signal: str = "") -> bool:
    """Signal, wait, kill. `timeout`: seconds, negative = for ever, None = the container's. False if it ran
    not.
    """
    number = signal_number(signal) if signal else 0
    record = engine.settled(name)
    if record.state not in ("running", "paused"):
        return False
    if timeout is None:
        configured = record.config.get("StopTimeout")
        timeout = float(defaults.STOP_TIMEOUT if configured is None else configured)
    number = number or signal_number(record.config.get("StopSignal") or defaults.STOP_SIGNAL)
    task = engine.task(record)
    try:
        with task.ask("wait") as waiting:
            task.call("kill", signal=number, all=False)
            if record.state == "paused":
                task.call("resume")  # a frozen process cannot react
            if waiting.wait(None if timeout < 0 else max(timeout, 0.001)) is None:
                task.call("kill", signal=int(_signal.SIGKILL), all=False)
                _wait_for_death(record, waiting.wait(_KILL_SECONDS))
    except Conflict:
        pass  # it ended by itself meanwhile
    _note_end(engine, record)
    return True


def _wait_for_death(record: ContainerRecord, answer: object) -> None:
    if answer is None:
        raise Unavailable(
            f"container {record.name}: tried to kill it, but did not receive an exit event",
            "a process of it is stuck in the kernel (state D): see `pyd top`",
        )


def _note_end(engine: Engine, record: ContainerRecord) -> None:
    """Fold the exit record, waiting for whoever else does so."""
    with engine.store.lock(record.id):
        try:
            engine.settled(record.id, locked=True)
        except ContainerNotFound:
            pass


def kill(engine: Engine, name: str, signal: str = "KILL") -> None:
    """Send one signal to the container's first process; SIGKILL is waited for."""
    number = signal_number(signal)
    record = engine.running(name, "kill")
    task = engine.task(record)
    if number != _signal.SIGKILL:
        task.call("kill", signal=number, all=False)
        return
    try:
        with task.ask("wait") as waiting:
            task.call("kill", signal=number, all=False)
            _wait_for_death(record, waiting.wait(_KILL_SECONDS))
    except Conflict:
        pass
    _note_end(engine, record)


def pause(engine: Engine, name: str) -> None:
    record = engine.running(name, "pause")
    with engine.store.lock(record.id):
        record = engine.settled(record.id, locked=True)
        if record.state == "paused":
            raise Conflict(f"Container {name} is already paused")
        engine.task(record).call("pause")
        engine.store.containers.update(record.id, state="paused", durable=not record.auto_remove)


def unpause(engine: Engine, name: str) -> None:
    record = engine.settled(name)
    with engine.store.lock(record.id):
        record = engine.settled(record.id, locked=True)
        if record.state != "paused":
            raise Conflict(f"Container {name} is not paused")
        engine.task(record).call("resume")
        engine.store.containers.update(record.id, state="running", durable=not record.auto_remove)


def wait(engine: Engine, name: str) -> int:
    """Exit code of the container when it does not run (any more)."""
    record = engine.settled(name)
    if record.state not in ("running", "paused"):
        return record.exit_code
    try:
        answer = engine.task(record).call("wait")
    except Conflict:
        # Its shim ended or was killed between our look and the question
        try:
            with engine.store.lock(record.id):
                return engine.settled(record.id, locked=True).exit_code
        except ContainerNotFound:
            return 137
    _note_end(engine, record)
    return int(answer["exit"]["exit_code"])


def remove(engine: Engine, name: str, *, force: bool = False, volumes: bool = False) -> None:
    record = engine.settled(name)
    with engine.store.lock(record.id):
        record = engine.settled(record.id, locked=True)
        if record.state in ("running", "paused"):
            if not force:
                raise Conflict(
                    f"You cannot remove a {record.state} container {record.id}. "
                    "Stop the container before attempting removal or force remove"
                )
            _kill_locked(engine, record)
            if record.auto_remove:
                try:
                    record = engine.settled(record.id, locked=True)
                except ContainerNotFound:
                    return
        engine.discard(record, volumes=volumes or record.auto_remove)


def _kill_locked(engine: Engine, record: ContainerRecord) -> None:
    task = engine.task(record)
    try:
        with task.ask("wait") as waiting:
            task.call("kill", signal=int(_signal.SIGKILL), all=True)
            _wait_for_death(record, waiting.wait(_KILL_SECONDS))
    except Conflict:
        _wait_for_lock(engine, record)


def _wait_for_lock(engine: Engine, record: ContainerRecord) -> None:
    """The shim does not answer any more: it is about to end."""
    from pyd.runtime import task

    deadline = time.monotonic() + _KILL_SECONDS
    while task.is_alive(engine.config.paths.bundle(record.id)):
        if time.monotonic() > deadline:
            _wait_for_death(record, None)
        time.sleep(0.005)


def rename(engine: Engine, name: str, new_name: str) -> None:
    plain = names.check_name(new_name)
    record = engine.settled(name)
    with engine.store.lock(record.id):
        if record.name == plain:
            raise InvalidArgument("Renaming a container with the same name as its current name")
        engine.store.containers.update(record.id, name=plain)


_UPDATABLE = (
    "BlkioWeight",
    "CpuPeriod",
    "CpuQuota",
    "CpuRealtimePeriod",
    "CpuRealtimeRuntime",
    "CpuShares",
    "CpusetCpus",
    "CpusetMems",
    "Memory",
    "MemoryReservation",
    "MemorySwap",
    "NanoCpus",
    "PidsLimit",
)


def update(engine: Engine, name: str, changes: dict[str, Any]) -> list[str]:
    """Change limits, of a running container at once. `changes`: keys of HostConfig. Gives back warnings."""
    unknown = set(changes) - set(_UPDATABLE)
    if unknown:
        raise InvalidArgument(f"cannot update {', '.join(sorted(unknown))}")
    record = engine.settled(name)
    with engine.store.lock(record.id):
        record = engine.settled(record.id, locked=True)
        host = {**record.host, **changes}
        if "Memory" in changes and "MemorySwap" not in changes and 0 < host["MemorySwap"] < host["Memory"]:
            raise Conflict(
                "Memory limit should be smaller than already set memoryswap limit, "
                "update the memoryswap at the same time"
            )
        warnings = resources.check(host)
        if record.state in ("running", "paused"):
            engine.task(record).call("update", resources=resources.linux_resources(host))
        engine.store.containers.update(record.id, host=host, durable=not record.auto_remove)
    return warnings
