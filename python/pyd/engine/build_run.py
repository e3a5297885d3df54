"""RUN steps of builds: each a container of its own that ends when the build does, however that ends.

It has a row like any container, for its address on the network and for the sweep after a crash; what it runs
and its environment, which may hold secrets, are only in its bundle.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from pyd.build.request import BuildRequest
from pyd.build.run_job import RunEnd, RunJob, SecretFile
from pyd.engine import describe, mountpoints, networking
from pyd.engine.create import insert
from pyd.engine.names import new_id
from pyd.engine.options import ContainerOptions
from pyd.engine.start import undo
from pyd.errors import Cancelled, InvalidArgument, PydError, StartError, from_os_error
from pyd.runtime import bundle, host, mounts, spec, task, users
from pyd.runtime.attach import Pump
from pyd.runtime.layered import LayeredRoot
from pyd.store import ContainerRecord
from pyd.store.gc import ingest_lock
from pyd.store.locks import try_acquire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.engine.engine import Engine
    from pyd.network.endpoint import Endpoint

_LIMITS = (
    *("ExtraHosts", "ShmSize", "Ulimits", "Memory", "MemorySwap", "CpuShares", "CpuPeriod", "CpuQuota"),
    *("CpusetCpus", "CpusetMems", "CgroupParent", "SecurityOpt"),
)
HOSTNAME = "buildkitsandbox"  # as BuildKit's: a RUN may write it into a file, which must not differ each time


def job_limits(request: BuildRequest) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(what of a HostConfig the RUNs of a build get, entries of config.json for its `-v`)."""
    options = ContainerOptions(
        image="build",
        command=("build",),
        network=request.network,
        add_hosts=request.add_hosts,
        shm_size=request.shm_size,
        ulimits=request.ulimits,
        memory=request.memory,
        memory_swap=request.memory_swap,
        cpu_shares=request.cpu_shares,
        cpu_period=request.cpu_period,
        cpu_quota=request.cpu_quota,
        cpuset_cpus=request.cpuset_cpus,
        cpuset_mems=request.cpuset_mems,
        cgroup_parent=request.cgroup_parent,
        security_opts=request.security_opts,
    )
    host_config = describe.host_config(options)[0]
    limits = {key: host_config[key] for key in _LIMITS}
    requests = [mounts.parse_volume(text) for text in request.volumes]
    for one in requests:
        if one["Type"] != "bind":
            raise InvalidArgument(
                f"invalid volume {one['Destination']!r}: a build mounts directories of this machine only",
                "give it as /host/directory:/target[:ro]",
            )
    mountpoints.check_binds(requests)
    return limits, mounts.oci(requests)


def sweep(engine: Engine) -> None:
    """Remove what builds that were killed have left. Does nothing while another build runs."""
    fd = try_acquire(ingest_lock(engine.store))
    if fd is None:
        return
    try:
        for record in engine.store.containers.list():
            if not (record.host.get("pyd") or {}).get("build"):
                continue
            now = engine.settled(record.id)
            if now.state not in ("running", "paused"):
                engine.discard(now)
    except PydError:
        pass  # whoever settles it at this moment removes it too
    finally:
        os.close(fd)


class BuildRunner:
    """build.run_job.Runner."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connections: set[socket.socket] = set()
        self._cancelled = False
        self._lock = threading.Lock()

    def run(self, job: RunJob, write: Callable[[int, bytes], None]) -> RunEnd:
        engine = self._engine
        record = self._insert(job)
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
            for number in range(len(job.secrets)):
                with suppress(FileNotFoundError):
                    os.unlink(f"{engine.config.paths.bundle(record.id)}/secret-{number}")
            engine.discard(record)
        return RunEnd(int(ended["exit_code"]), bool(ended.get("oom_killed")))

    def cancel(self) -> None:
        """A job ends when the connection to its monitor does ("tied"), also in the middle of its start."""
        with self._lock:
            self._cancelled = True
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def _connected(self) -> Iterator[tuple[socket.socket, socket.socket]]:
        ours, theirs = socket.socketpair()
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

    def _insert(self, job: RunJob) -> ContainerRecord:
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
        record = insert(self._engine, record)
        path = self._engine.config.paths.container(record.id)
        try:
            os.mkdir(path, 0o710)
        except FileNotFoundError:
            self._engine.config.paths.make()
            os.mkdir(path, 0o710)
        return record

    def _run(
        self, record: ContainerRecord, job: RunJob, write: Callable[[int, bytes], None]
    ) -> dict[str, Any] | None:
        engine = self._engine
        with self._connected() as (ours, theirs):
            # others who look at it meanwhile see the lock and know that it is being started
            with engine.store.lock(record.id):
                self._start(record, job, theirs)
            theirs.close()
            if job.interactive:
                from pyd.engine.session import Session

                session = Session(tty=True, stdin=True, proxy=False)
                return session.carry(ours, lambda: engine.task(record))[0]
            return Pump(ours, write).run()

    def _start(self, record: ContainerRecord, job: RunJob, attach: socket.socket) -> None:
        engine, paths = self._engine, self._engine.config.paths
        endpoint = networking.connect(engine, record)
        document = self._document(record, job, endpoint)
        directory = paths.bundle(record.id)
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
            "exit_file": paths.exit_file(record.id),
            "durable": False,
            "log": {"driver": "none", "path": paths.log(record.id), "max_size": 1 << 62, "max_file": 1},
            "stdin": {"open": job.interactive, "once": job.interactive},
            "network": endpoint.document,
            "tied": True,
        }
        bundle.write(directory, document, shim)
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

    def _document(self, record: ContainerRecord, job: RunJob, endpoint: Endpoint) -> dict[str, Any]:
        engine, paths = self._engine, self._engine.config.paths
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
                files=networking.write_files(engine, record, endpoint),
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
