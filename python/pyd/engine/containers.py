"""The verbs on containers, as every front door calls them. What is behind each is in the module it names."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from pyd.engine.options import ContainerOptions, Created, ExecOptions, LogOptions, RunResult
from pyd.errors import NotModified, NotSupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.engine.engine import Engine
    from pyd.engine.session import Session
    from pyd.oci.digest import Digest
    from pyd.runtime.logs import LogLine
    from pyd.store import ContainerRecord


class Containers:
    """`name` is always a name, an id or a unique prefix of one. Raises ContainerNotFound."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(self, options: ContainerOptions) -> Created:
        from pyd.engine.create import create

        return create(self._engine, options)

    def start(self, name: str) -> None:
        """Start without attaching. Raises StartError; NotModified when it runs already."""
        from pyd.engine.start import start

        record = self._engine.settled(name)
        start(self._engine, record.id)

    def start_new(self, created: Created, *, remove: bool = False) -> None:
        """`run -d`: start what was just created; with `remove` nothing is left after a failure."""
        from pyd.engine.run import abandon
        from pyd.engine.start import start

        try:
            start(self._engine, created.id)
        except BaseException:
            abandon(self._engine, created.id, remove)
            raise

    def run_attached(self, created: Created, session: Session, *, remove: bool) -> int:
        from pyd.engine import session as _session

        return _session.run(self._engine, created, session, remove)

    def start_attached(self, name: str, session: Session) -> int:
        from pyd.engine import session as _session

        return _session.start_attached(self._engine, self._engine.settled(name).id, session)

    def attach(self, name: str, session: Session) -> int:
        from pyd.engine import session as _session

        return _session.attach(self._engine, name, session)

    def get(self, name: str) -> ContainerRecord:
        """The stored record, up to date."""
        return self._engine.settled(name)

    def stop(self, name: str, timeout: float | None = None, signal: str = "") -> bool:
        """False when it did not run. `timeout` in seconds, negative = wait for ever, None = the container's
        own.
        """
        from pyd.engine import lifecycle

        return lifecycle.stop(self._engine, name, timeout, signal)

    def kill(self, name: str, signal: str = "KILL") -> None:
        from pyd.engine import lifecycle

        lifecycle.kill(self._engine, name, signal)

    def restart(self, name: str, timeout: float | None = None, signal: str = "") -> None:
        record = self._engine.settled(name)
        self.stop(record.id, timeout, signal)
        try:
            self.start(record.id)
        except NotModified:
            pass  # somebody else started it meanwhile

    def pause(self, name: str) -> None:
        from pyd.engine import lifecycle

        lifecycle.pause(self._engine, name)

    def unpause(self, name: str) -> None:
        from pyd.engine import lifecycle

        lifecycle.unpause(self._engine, name)

    def wait(self, name: str) -> int:
        """Blocks until it does not run; its exit code."""
        from pyd.engine import lifecycle

        return lifecycle.wait(self._engine, name)

    def remove(self, name: str, *, force: bool = False, volumes: bool = False) -> None:
        """`force`: kill it first. `volumes`: its anonymous volumes too."""
        from pyd.engine import lifecycle

        lifecycle.remove(self._engine, name, force=force, volumes=volumes)

    def rename(self, name: str, new_name: str) -> None:
        from pyd.engine import lifecycle

        lifecycle.rename(self._engine, name, new_name)

    def update(self, name: str, changes: dict[str, Any]) -> Sequence[str]:
        """Change limits; keys of Docker's HostConfig. Gives back warnings."""
        from pyd.engine import lifecycle

        return lifecycle.update(self._engine, name, changes)

    def commit(
        self,
        name: str,
        reference: str = "",
        *,
        author: str = "",
        message: str = "",
        changes: Sequence[str] = (),
        pause: bool = True,
    ) -> Digest:
        """A new image of what the container has written; its id. `changes` are Dockerfile instructions.

        `pause`: freeze the container while its files are read.
        """
        from pyd.engine.commit import commit

        return commit(
            self._engine,
            name,
            reference,
            author=author,
            message=message,
            changes=changes,
            pause=pause,
        )

    def export(self, name: str, fd: int) -> None:
        """Write the container's file system, without volumes, to the descriptor `fd` as a tar archive."""
        from pyd.engine.export import export

        export(self._engine, name, fd)

    def diff(self, name: str) -> Sequence[tuple[str, str]]:
        """What differs from the image, by path: ("A" added | "C" changed | "D" deleted, path)."""
        from pyd.engine.export import diff

        return diff(self._engine, name)

    def prune(self, filters: Mapping[str, list[str]] | None = None) -> tuple[Sequence[str], int]:
        """Remove all that do not run: (ids, bytes of the disk that are freed)."""
        from pyd.engine import prune

        done = prune.carry_out(self._engine, prune.containers(self._engine, filters or {}))
        return [item.id for item in done.items], done.bytes

    def list(
        self, *, all: bool = False, last: int = 0, filters: Mapping[str, list[str]] | None = None
    ) -> list[dict[str, Any]]:
        from pyd.engine.listing import list_containers

        return list_containers(self._engine, all=all, last=last, filters=filters)

    def inspect(self, name: str, *, size: bool = False) -> dict[str, Any]:
        """Docker's JSON of the container."""
        from pyd.engine.inspect import inspect

        return inspect(self._engine, self._engine.settled(name), size=size)

    def sizes(self, container_id: str) -> tuple[int, int]:
        """(bytes written by the container, those and its image's)."""
        from pyd.engine.inspect import image_size
        from pyd.runtime import host

        record = self._engine.store.containers.get(container_id)
        own = host.usage(f"{self._engine.config.paths.container(record.id)}/diff")
        return own, own + image_size(self._engine, record)

    def ports(self, name: str) -> dict[str, Any]:
        """Published ports of the container: {"80/tcp": [{"HostIp", "HostPort"}]}."""
        from pyd.engine.inspect import ports

        return {key: bindings for key, bindings in ports(self._engine.settled(name)).items() if bindings}

    def logs(self, name: str, options: LogOptions | None = None) -> Iterator[LogLine]:
        """Lines of the log; with `follow` until the container ends."""
        from pyd.runtime import logs, task

        options = options or LogOptions()
        record = self._engine.settled(name)
        if record.host["LogConfig"]["Type"] != "json-file":
            raise NotSupported(
                "configured logging driver does not support reading",
                "the container was created with --log-driver none",
            )
        directory = self._engine.config.paths.bundle(record.id)
        return logs.read(
            self._engine.config.paths.log(record.id),
            stdout=options.stdout,
            stderr=options.stderr,
            tail=options.tail,
            since=options.since,
            until=options.until,
            follow=options.follow,
            running=lambda: task.is_alive(directory),
        )

    def exec(self, name: str, command: Sequence[str], **options: Any) -> RunResult:
        """Run one more process in the container to its end."""
        from pyd.engine import execs

        return execs.run(self._engine, name, ExecOptions(command=tuple(command), **options))

    def exec_attached(self, name: str, options: ExecOptions, session: Session) -> int:
        from pyd.engine import session as _session

        return _session.exec_attached(self._engine, name, options, session)

    def exec_detached(self, name: str, options: ExecOptions) -> str:
        """Start it and leave: the exec's id."""
        from pyd.engine import execs

        _, exec_id, stream = execs.open_exec(self._engine, name, options)
        stream.close()
        return exec_id

    def top(self, name: str, arguments: Sequence[str] = ()) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        """(titles, rows) as of ps(1), read from the host's /proc: no ps is needed anywhere."""
        from pyd.runtime import host, stats

        record = self._engine.running(name, "list processes of")
        return stats.top(host.cgroup_pids(self._engine.cgroup(record)), arguments)

    def stats(self, name: str) -> dict[str, Any]:
        """One reading of the container's counters; empty values when it does not run."""
        from pyd.runtime import stats

        record = self._engine.settled(name)
        if record.state not in ("running", "paused"):
            return {"Id": record.id, "Name": record.name}
        reading = stats.sample(self._engine.cgroup(record), record.pid)
        return {"Id": record.id, "Name": record.name, "time": time.monotonic(), **reading}
