"""The container of one RUN step.

It has a row like any container, for its address on the network and for the sweep after a crash; what it runs
and its environment, which may hold secrets, are only in its bundle. So is all else that it needs: nothing of
it outlives the step, and the run-root is in memory.
"""

from __future__ import annotations

import os
from contextlib import suppress

from pyd.engine import describe, networking
from pyd.engine.create import insert as insert_row
from pyd.engine.names import new_id
from pyd.engine.options import ContainerOptions
from pyd.errors import from_os_error
from pyd.runtime import bundle, host, spec, task, users
from pyd.runtime.layered import LayeredRoot
from pyd.store import ContainerRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.build.run_job import RunJob, SecretFile
    from pyd.engine.engine import Engine
    from pyd.network.endpoint import Endpoint
    from pyd.runtime.connection import Connection

EXIT = "exit.json"
HOSTNAME = "buildkitsandbox"  # as BuildKit's: a RUN may write it into a file, which must not differ each time


def insert(engine: Engine, job: RunJob) -> ContainerRecord:
    options = ContainerOptions(
        image="build", command=("build",), network=job.network, remove=True, privileged=job.insecure
    )
    config = describe.config(options, None, HOSTNAME)
    host_config = {**describe.host_config(options)[0], **job.host}
    config["Hostname"] = HOSTNAME
    host_config["pyd"] = {"mounts": [], "rootfs": None, "platform": "", "build": True}
    record = ContainerRecord(
        id=new_id(),
        name="",
        image_ref="build",
        image_id="",
        layers=(),
        volumes=(),
        config=config,
        host=host_config,
        auto_remove=True,
    )
    return insert_row(engine, record)


def start(engine: Engine, record: ContainerRecord, job: RunJob, attach: Connection) -> None:
    """`attach` becomes the client of its monitor. The caller holds the lock of the container."""
    paths = engine.config.paths
    endpoint = networking.connect(engine, record)
    directory = paths.bundle(record.id)
    bundle.make(directory)
    document = _document(engine, record, job, endpoint)
    document["mounts"] += [
        {
            "destination": secret.target,
            "type": "bind",
            "source": f"{directory}/secret-{number}",
            "options": ["bind", "ro", "rprivate", "nosuid", "nodev", "noexec"],
        }
        for number, secret in enumerate(job.secrets)
    ]
    shim = {
        "id": record.id,
        "run_dir": directory,
        "exit_file": f"{directory}/{EXIT}",
        "durable": False,
        "log": {"driver": "none", "path": paths.log(record.id), "max_size": 1 << 62, "max_file": 1},
        "stdin": {"open": job.interactive, "once": job.interactive},
        "network": endpoint.document,
        "tied": True,
    }
    bundle.fill(directory, document, shim)
    for number, secret in enumerate(job.secrets):
        _write_secret(f"{directory}/secret-{number}", secret)
    started, child = task.spawn(engine.config.runtime, directory, attach)
    engine.children.add(child)
    for warning in (*endpoint.warnings, *started.warnings):
        engine.warn(warning)
    engine.store.containers.update(
        record.id,
        durable=False,
        state="running",
        pid=started.pid,
        shim_pid=started.shim_pid,
        started_at=started.started_at,
    )


def clear(engine: Engine, record: ContainerRecord, job: RunJob) -> None:
    """Remove what lies in its bundle besides what is in every bundle."""
    directory = engine.config.paths.bundle(record.id)
    for name in (EXIT, *networking.FILES, *(f"secret-{number}" for number in range(len(job.secrets)))):
        with suppress(FileNotFoundError):
            os.unlink(f"{directory}/{name}")


def _document(engine: Engine, record: ContainerRecord, job: RunJob, endpoint: Endpoint) -> dict[str, Any]:
    paths = engine.config.paths
    user = users.resolve(job.user, LayeredRoot(job.lowers))
    config = {
        **record.config,
        "Env": list(job.env),
        "Cmd": list(job.args),
        "Entrypoint": None,
        "WorkingDir": job.cwd,
        "User": job.user,
        "Tty": job.interactive,
    }
    document = spec.build(
        spec.SpecInput(
            id=record.id,
            config=config,
            host=record.host,
            user=user,
            root=f"{paths.bundle(record.id)}/rootfs",
            overlay={"lower": job.lowers or [], "upper": job.upper, "work": job.work, "volatile": True},
            mounts=(),
            network=endpoint.namespace,
            files=networking.write_files(engine, record, endpoint, paths.bundle(record.id)),
            cgroups_path=engine.cgroup(record),
            cgroup_v2=host.cgroup_mode() == "v2",
            runtime=engine.config.runtime,
        )
    )
    document["mounts"] += job.mounts
    return document


def _write_secret(path: str, secret: SecretFile) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(secret.data)
            os.fchown(fd, secret.uid, secret.gid)
            os.fchmod(fd, secret.mode)
    except OSError as error:
        raise from_os_error(error, f"writing {path}") from error
