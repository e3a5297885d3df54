"""Starting a container: endpoint, files, user, config.json, bundle, shim. In this order, under the
container's lock.
"""

from __future__ import annotations

import os

from pyd.engine import describe, mountpoints, networking
from pyd.errors import NotModified, PydError, StartError
from pyd.record import replace
from pyd.runtime import bundle, defaults, host, spec, task, users
from pyd.runtime.layered import LayeredRoot
from pyd.store import ContainerRecord
from pyd.store.records import ZERO_TIME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.engine.engine import Engine
    from pyd.network.endpoint import Endpoint
    from pyd.runtime.connection import Connection


def start(
    engine: Engine,
    container_id: str,
    *,
    attach: Connection | None = None,
    console: tuple[int, int] = (0, 0),
) -> ContainerRecord:
    """Start the container of this full id. `attach`: becomes the first attached client. `console`: rows,
    columns.

    Raises NotModified when it runs already. After a failure the container is as before, with the error noted.
    """
    with engine.store.lock(container_id):
        record = engine.settled(container_id, locked=True)
        if record.state in ("running", "paused"):
            raise NotModified(f"container {record.name} is already running")
        try:
            return _start(engine, record, attach, console)
        except BaseException as error:
            undo(engine, record, error)
            raise


def _start(
    engine: Engine, record: ContainerRecord, attach: Connection | None, console: tuple[int, int]
) -> ContainerRecord:
    paths = engine.config.paths
    points = record.host["pyd"]["mounts"]
    if points:
        mountpoints.check_binds(points)
    endpoint = networking.connect(engine, record)
    files = networking.write_files(engine, record, endpoint)
    directory = paths.bundle(record.id)
    layers = readable_layers(engine, record)
    overlay = _overlay(engine, record, layers)
    user = users.resolve(record.config["User"], LayeredRoot(layers), record.host.get("GroupAdd") or ())
    host_config = {**record.host, "ConsoleSize": console}
    document = spec.build(
        spec.SpecInput(
            id=record.id,
            config=record.config,
            host=host_config,
            user=user,
            root=f"{directory}/rootfs" if overlay else layers[0],
            overlay=overlay,
            mounts=points,
            network=endpoint.namespace,
            joins=_joins(engine, record),
            files=files,
            cgroups_path=engine.cgroup(record),
            cgroup_v2=host.cgroup_mode() == "v2",
            runtime=engine.config.runtime,
        )
    )
    try:
        os.unlink(paths.exit_file(record.id))
    except FileNotFoundError:
        pass
    bundle.write(directory, document, shim_document(engine, record, endpoint))
    started, child = task.spawn(engine.config.runtime, directory, attach)
    engine.children.add(child)
    for warning in (*endpoint.warnings, *started.warnings):
        engine.warn(warning)
    columns: dict[str, Any] = {
        "state": "running",
        "pid": started.pid,
        "shim_pid": started.shim_pid,
        "started_at": started.started_at,
        "finished_at": ZERO_TIME,
        "exit_code": 0,
        "error": "",
        "oom_killed": False,
        "network": networking.document(engine, endpoint),
    }
    engine.store.containers.update(record.id, durable=not record.auto_remove, **columns)
    return replace(record, **columns)


def shim_document(engine: Engine, record: ContainerRecord, endpoint: Endpoint) -> dict[str, Any]:
    """shim.json."""
    paths, log = engine.config.paths, record.host["LogConfig"]
    size = describe.log_size(log["Config"])
    return {
        "id": record.id,
        "run_dir": paths.bundle(record.id),
        "exit_file": paths.exit_file(record.id),
        "durable": not record.auto_remove,
        "log": {
            "driver": log["Type"],
            "path": paths.log(record.id),
            "max_size": size if size > 0 else 1 << 62,
            "max_file": int(log["Config"].get("max-file", defaults.LOG_FILES)),
        },
        "stdin": {"open": record.config["OpenStdin"], "once": record.config["StdinOnce"]},
        "network": endpoint.document,
    }


def readable_layers(engine: Engine, record: ContainerRecord) -> list[str]:
    """Directories that make up the container's root, top first, for reading its files from outside."""
    rootfs = record.host["pyd"]["rootfs"]
    if rootfs and not rootfs["overlay"]:
        return [rootfs["path"]]
    lower = [rootfs["path"]] if rootfs else engine.store.snapshots.lower_dirs(record.layers)
    return [f"{engine.config.paths.container(record.id)}/diff", *lower]


def _overlay(engine: Engine, record: ContainerRecord, layers: list[str]) -> dict[str, Any] | None:
    if len(layers) == 1 and record.host["pyd"]["rootfs"]:
        return None
    work = f"{engine.config.paths.container(record.id)}/work"
    return {"lower": layers[1:], "upper": layers[0], "work": work, "volatile": record.auto_remove}


def _joins(engine: Engine, record: ContainerRecord) -> dict[str, str]:
    """Namespace path of `--pid container:x`."""
    mode = record.host["PidMode"]
    if not mode.startswith("container:"):
        return {}
    peer = engine.running(mode.partition(":")[2], "join PID of")
    return {"pid": f"/proc/{peer.pid}/ns/pid"}


def undo(engine: Engine, record: ContainerRecord, error: BaseException) -> None:
    """Nothing of a failed start remains but its error in the row."""
    directory = engine.config.paths.bundle(record.id)
    if task.is_alive(directory):
        try:
            task.Task(directory).call("kill", signal=9, all=True)
            task.Task(directory).call("wait")
        except PydError:
            pass
    elif not isinstance(error, StartError) or error.stage == "shim":
        # Nobody said that it had cleaned up: the shim was killed, or never came to life
        host.clean_up(record.id, engine.cgroup(record))
    bundle.remove(directory)
    networking.release(engine, record)
    if isinstance(error, PydError) and not record.auto_remove:
        engine.store.containers.update(record.id, error=str(error), exit_code=error.exit_code, network={})
