"""What became of a container: the shim's exit record is folded into the row by whoever looks next.

A task may exist only while its bundle does. Cases, when the row says that it runs or a bundle is there:
    exit.json is there             it has ended: note how, remove the bundle
    the shim holds its lock        it runs
    neither                        its shim was killed, and the kernel killed its init with it (or the host
                                   rebooted): clean up after both and note 137
A container with --rm is removed instead of noted.
"""

from __future__ import annotations

import json
import os
import time

from pyd.errors import Conflict, ContainerNotFound
from pyd.record import replace
from pyd.runtime import bundle, host, task
from pyd.store import ContainerRecord, now
from pyd.store.locks import try_acquire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.engine.engine import Engine

SHIM_DIED = "its monitor (shim) died"
_START_SECONDS = 15.0


def settle(engine: Engine, record: ContainerRecord, *, locked: bool = False) -> ContainerRecord | None:
    """The record as it is now; None when the container is gone by this. Waits for nobody."""
    directory = engine.config.paths.bundle(record.id)
    has_bundle = os.path.isdir(directory)
    says_running = record.state in ("running", "paused")
    if not has_bundle and not says_running:
        return record
    if says_running and has_bundle and not _ended(engine, record) and task.is_alive(directory):
        return record
    if locked:
        return _settle(engine, record.id, _START_SECONDS)
    fd = try_acquire(f"{engine.config.paths.run_root}/locks/{record.id}")
    if fd is None:
        return record  # somebody starts, stops or removes it at this moment
    try:
        return _settle(engine, record.id, 0)
    finally:
        os.close(fd)


def _ended(engine: Engine, record: ContainerRecord) -> bool:
    return any(map(os.path.exists, _exit_files(engine, record.id)))


def _exit_files(engine: Engine, container_id: str) -> tuple[str, str]:
    """Where the shim's record may be: in the bundle when the disk of the data-root had no room for it, and
    that of a build's step.
    """
    paths = engine.config.paths
    return paths.exit_file(container_id), f"{paths.bundle(container_id)}/exit.json"


def _settle(engine: Engine, container_id: str, patience: float) -> ContainerRecord | None:
    """The same with the lock held, on the row as it is under the lock.

    `patience`: seconds to wait for a shim in the middle of its start, whose `pyd` was killed.
    """
    try:
        record = engine.store.containers.get(container_id)
    except ContainerNotFound:
        return None
    directory = engine.config.paths.bundle(container_id)
    alive = task.is_alive(directory)
    result = read_exit(engine, container_id)
    if result is None and alive:
        if record.state in ("running", "paused"):
            return record
        found = _found_running(engine, record, patience)
        if found is not None:
            return found
    if not os.path.isdir(directory) and record.state not in ("running", "paused"):
        return record
    if result is None:
        # It may have written its record between our two looks
        result = read_exit(engine, container_id)
    if result is None:
        host.clean_up(container_id, engine.cgroup(record))
        result = {"exit_code": 137, "finished_at": now(), "error": SHIM_DIED}
        if record.state not in ("running", "paused") and not record.auto_remove:
            # the start itself was killed half-way: as if it had not been tried
            from pyd.engine import networking

            bundle.remove(directory)
            networking.release(engine, record)
            return record
    return finish(engine, record, result)


def read_exit(engine: Engine, container_id: str) -> dict[str, Any] | None:
    """The shim's record."""
    for path in _exit_files(engine, container_id):
        try:
            with open(path, encoding="utf-8") as file:
                value = json.load(file)
        except (OSError, ValueError):
            continue
        if isinstance(value, dict):
            return value
    return None


def finish(engine: Engine, record: ContainerRecord, result: dict[str, Any]) -> ContainerRecord | None:
    """Note the end (lock held). First the row, then the bundle: killed in between, this is done again."""
    if record.auto_remove:
        engine.discard(record)
        return None
    from pyd.engine import networking

    columns: dict[str, Any] = {
        "state": "exited",
        "pid": 0,
        "shim_pid": 0,
        "exit_code": int(result.get("exit_code") or 0),
        "error": str(result.get("error") or ""),
        "oom_killed": bool(result.get("oom_killed")),
        "started_at": str(result.get("started_at") or record.started_at),
        "finished_at": str(result.get("finished_at") or now()),
        "network": {},
    }
    with engine.store.db.write():
        engine.store.containers.update(record.id, **columns)
        networking.release(engine, record)
    bundle.remove(engine.config.paths.bundle(record.id))
    return replace(record, **columns)


def _found_running(engine: Engine, record: ContainerRecord, patience: float) -> ContainerRecord | None:
    """The `pyd` that started it was killed before it could say so. None when the shim has ended meanwhile."""
    directory = engine.config.paths.bundle(record.id)
    deadline = time.monotonic() + patience
    while True:
        try:
            answer = task.Task(directory).call("state")
            break
        except Conflict:  # it has no socket yet, or no more
            if not task.is_alive(directory):
                return None
            if time.monotonic() >= deadline:
                return record
            time.sleep(0.005)
    columns: dict[str, Any] = {
        "state": answer.get("status", "running"),
        "pid": answer["pid"],
        "started_at": now(),
        "network": _network_of(directory, record),
    }
    engine.store.containers.update(record.id, durable=not record.auto_remove, **columns)
    return replace(record, **columns)


def _network_of(directory: str, record: ContainerRecord) -> dict[str, Any]:
    """The endpoint as the bundle has it."""
    try:
        with open(f"{directory}/shim.json", encoding="utf-8") as file:
            document = json.load(file).get("network")
    except (OSError, ValueError):
        document = None
    if not document:
        return {"name": record.host["NetworkMode"]}
    bridge = document["bridge"]
    return {
        "name": "bridge",
        "address": document["address"],
        "prefix": bridge["prefix"],
        "gateway": bridge["gateway"],
        "mac": document["mac"],
        "ports": document["ports"],
    }
