"""Additional processes in a running container: built from the process that the container was started with."""

from __future__ import annotations

import json

from pyd.engine import names
from pyd.engine.environment import environment
from pyd.engine.options import ExecOptions, RunResult
from pyd.errors import Conflict, InvalidArgument, from_os_error
from pyd.runtime.attach import STDERR, Pump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.engine.engine import Engine
    from pyd.runtime.task import Stream
    from pyd.store import ContainerRecord


def open_exec(
    engine: Engine, name: str, options: ExecOptions, console: tuple[int, int] = (0, 0)
) -> tuple[ContainerRecord, str, Stream]:
    """Start the process: (container, exec id, the connection with its frames)."""
    if not options.command or not options.command[0]:
        raise InvalidArgument("No exec command specified")
    record = engine.running(name, "exec in")
    if record.state == "paused":
        raise Conflict(f"Container {name} is paused, unpause the container before exec")
    exec_id = names.new_id()
    process = process_of(engine, record, options, console)
    stream = engine.task(record).open(
        "exec", exec_id=exec_id, process=process, stdin=options.interactive, detach=options.detach
    )
    return record, exec_id, stream


def process_of(
    engine: Engine, record: ContainerRecord, options: ExecOptions, console: tuple[int, int]
) -> dict[str, Any]:
    """The OCI process: capabilities, limits and no_new_privs are those of the container's first process."""
    path = f"{engine.config.paths.bundle(record.id)}/config.json"
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            process: dict[str, Any] = json.load(file)["process"]
    except OSError as error:
        raise from_os_error(error, f"reading {path}") from error
    process.pop("consoleSize", None)
    process["args"] = list(options.command)
    process["terminal"] = options.tty
    if options.tty and console[0] and console[1]:
        process["consoleSize"] = {"height": console[0], "width": console[1]}
    if options.workdir:
        if not options.workdir.startswith("/"):
            raise InvalidArgument(f"Cwd must be an absolute path: {options.workdir}")
        process["cwd"] = options.workdir
    env = {entry.partition("=")[0]: entry for entry in process["env"]}
    if options.tty:
        env.setdefault("TERM", "TERM=xterm")
    if options.user:
        from pyd.engine.start import readable_layers
        from pyd.runtime import users
        from pyd.runtime.layered import LayeredRoot

        user = users.resolve(
            options.user, LayeredRoot(readable_layers(engine, record)), record.host.get("GroupAdd") or ()
        )
        process["user"] = {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)}
        if not any(entry.startswith("HOME=") for entry in record.config.get("Env") or ()):
            env["HOME"] = f"HOME={user.home}"
    process["env"] = environment(options.env, list(env.values()))
    if options.privileged:
        from pyd.runtime import capabilities

        limits = capabilities.bounding()
        granted = [name for name in capabilities.NAMES if name in limits]
        process["capabilities"] = {"bounding": granted, "effective": granted, "permitted": granted}
    return process


def run(engine: Engine, name: str, options: ExecOptions) -> RunResult:
    """The process to its end, its output collected."""
    _, exec_id, stream = open_exec(engine, name, options)
    output: tuple[list[bytes], list[bytes]] = ([], [])
    with stream:
        pump = Pump(
            stream.socket, lambda kind, data: output[kind == STDERR].append(data), received=stream.buffer
        )
        ended = pump.run()
    if ended is None:
        raise Conflict(f"Container {name} stopped while the command ran")
    return RunResult(int(ended["exit_code"]), b"".join(output[0]), b"".join(output[1]), exec_id)
