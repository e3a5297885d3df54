"""The engine: one object through which every front door works. It keeps nothing that is not on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property

from pyd.config import Config
from pyd.engine import settle as _settle
from pyd.engine.options import ContainerOptions, RunResult
from pyd.errors import Conflict, ContainerNotFound, ImageNotFound, NotModified, PydError
from pyd.runtime import bundle, task
from pyd.store import ContainerRecord, Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.build.events import Watcher as BuildWatcher
    from pyd.build.request import BuildRequest
    from pyd.build.result import BuildResult
    from pyd.engine.containers import Containers
    from pyd.engine.image_pull import Watcher
    from pyd.engine.images import Images
    from pyd.engine.manifests import Manifests
    from pyd.engine.volumes import Volumes
    from pyd.store.images import Image


class Engine:
    """Containers, images and volumes of one data-root. Any number of engines may use it at once.

        engine = Engine()
        engine.run("busybox", ["echo", "hi"], network="none")   -> RunResult(exit_code, stdout, stderr)
        engine.containers  .create .start .stop .kill .list .inspect .logs .exec …
        engine.images      .pull .list .remove …
        engine.volumes     .create .list .remove …

    Threads may share an engine.
    """

    def __init__(
        self, config: Config | None = None, *, data_root: str | None = None, run_root: str | None = None
    ) -> None:
        self.config = config or Config(data_root=data_root, run_root=run_root)
        self.store = Store(self.config.paths)
        self.children = Children()
        # asked for a Watcher when a run or create has to pull its image
        self.on_pull: Callable[[], Watcher] | None = None
        # told what a container was asked to have and runs without
        self.on_warning: Callable[[str], None] | None = None

    @cached_property
    def containers(self) -> Containers:
        from pyd.engine.containers import Containers

        return Containers(self)

    @cached_property
    def images(self) -> Images:
        from pyd.engine.images import Images

        images = Images(self.store)
        images.on_pull = self.on_pull
        return images

    @cached_property
    def manifests(self) -> Manifests:
        from pyd.engine.manifests import Manifests

        return Manifests(self.store)

    @cached_property
    def volumes(self) -> Volumes:
        from pyd.engine.volumes import Volumes

        return Volumes(self)

    def run(
        self,
        image: str = "",
        command: Sequence[str] = (),
        *,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        remove: bool = True,
        **options: Any,
    ) -> RunResult:
        """Run a container to its end and give back what it wrote. `options` are those of ContainerOptions.

        A command that fails is no error: look at `exit_code`. Raises StartError when it could not be started.
        """
        from pyd.engine.run import run

        if env is not None:
            options["env"] = tuple(f"{name}={value}" for name, value in env.items())
        for name, value in options.items():
            if isinstance(value, list):
                options[name] = tuple(value)
        wanted = ContainerOptions(
            image=image, command=tuple(command), remove=remove, interactive=stdin is not None, **options
        )
        return run(self, wanted, stdin)

    def build(self, request: BuildRequest | None = None, watcher: BuildWatcher | None = None) -> BuildResult:
        """Build an image: of the directory "." and its Dockerfile unless `request` says otherwise.

        Raises BuildFailed for a step that failed, DockerfileError for a wrong Dockerfile.
        """
        from pyd.build.request import BuildRequest
        from pyd.engine.build import build

        return build(self, request or BuildRequest(), watcher)

    def close(self) -> None:
        """Close the database of this thread and collect shims that have ended."""
        self.children.reap()
        self.store.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What the parts of the engine share

    def warn(self, text: str) -> None:
        if self.on_warning is not None:
            self.on_warning(text)

    def image(self, reference: str, pull: str = "missing", platform: str = "") -> Image:
        """The image, pulled if `pull` (missing, always, never) says so."""
        if pull == "missing" and not platform:
            try:
                return self.store.images.resolve(reference)  # the usual case, without importing more
            except ImageNotFound:
                pass
        return self.images.ensure(reference, pull=pull, platform=platform or None)

    def image_names(self) -> list[str]:
        """Familiar names of all images: "busybox:latest"."""
        from pyd.oci.reference import Reference

        names = (name for image in self.store.images.list() for name in image.references)
        return [Reference.parse(name).familiar for name in names]

    def cgroup(self, record: ContainerRecord) -> str:
        """Path of the container's cgroup below the root of each hierarchy."""
        parent = record.host.get("CgroupParent")
        return f"/{parent.strip('/')}/{record.id}" if parent else self.config.cgroup(record.id)

    def settled(self, name: str, *, locked: bool = False) -> ContainerRecord:
        """The container as it is now. Raises ContainerNotFound."""
        record = _settle.settle(self, self.store.containers.get(name), locked=locked)
        if record is None:
            raise ContainerNotFound(f"No such container: {name}")
        return record

    def all_settled(self, records: Iterable[ContainerRecord] | None = None) -> Iterator[ContainerRecord]:
        for record in self.store.containers.list() if records is None else records:
            now = _settle.settle(self, record)
            if now is not None:
                yield now

    def running(self, name: str, doing: str) -> ContainerRecord:
        """The container, if it runs. `doing`: "pause", "exec in", for the message "Cannot … container"."""
        record = self.settled(name)
        if record.state not in ("running", "paused"):
            raise Conflict(f"Cannot {doing} container: {name}: Container {record.id} is not running")
        return record

    def task(self, record: ContainerRecord) -> task.Task:
        return task.Task(self.config.paths.bundle(record.id))

    def discard(self, record: ContainerRecord, *, volumes: bool | None = None) -> None:
        """Remove row, files and lock of a container that does not run.

        `volumes`: its anonymous ones too (default: with --rm). The row goes first: what is left after a
        kill in between are files that no row knows, which `sweep` finds.
        """
        paths = self.config.paths
        self.store.containers.delete(record.id, durable=not record.auto_remove)
        bundle.remove(paths.bundle(record.id))
        self.store.trash.take(paths.container(record.id))
        self.store.trash.sweep()
        try:
            os.unlink(f"{paths.run_root}/locks/{record.id}")
        except OSError:
            pass
        if record.volumes and (record.auto_remove if volumes is None else volumes):
            self._remove_anonymous(record.volumes)

    def _remove_anonymous(self, names: Iterable[str]) -> None:
        for name in names:
            try:
                if self.store.volumes.get(name).anonymous:
                    self.store.volumes.delete(name)
            except PydError:
                continue  # another container uses it
        self.store.trash.sweep()

    def sweep(self) -> None:
        """Tidy up after everything that was killed: dead shims, directories that no row knows."""
        self.sweep_unknown({record.id for record in self.all_settled()})
        self.store.trash.sweep()

    def sweep_unknown(self, known: set[str]) -> None:
        """Remove directories of containers that have no row: a row comes first and goes first."""
        for root in (self.config.paths.containers, self.config.paths.bundles):
            try:
                found = os.listdir(root)
            except FileNotFoundError:
                continue
            for name in found:
                if name not in known and not self._exists(name):
                    self._sweep_one(name)

    def _exists(self, container_id: str) -> bool:
        try:
            self.store.containers.get(container_id)
        except PydError:
            return False
        return True

    def _sweep_one(self, container_id: str) -> None:
        from pyd.runtime import host

        directory = self.config.paths.bundle(container_id)
        if task.is_alive(directory):
            try:
                task.Task(directory).call("kill", signal=9, all=True)
            except (Conflict, NotModified):
                pass
            return
        host.clean_up(container_id, self.config.cgroup(container_id))
        bundle.remove(directory)
        self.store.trash.take(self.config.paths.container(container_id))


class Children:
    """Shims that this process has spawned: in a process that lives long they must be collected when they
    end.
    """

    __slots__ = ("_pids",)

    def __init__(self) -> None:
        self._pids: set[int] = set()

    def add(self, pid: int) -> None:
        self.reap()
        self._pids.add(pid)

    def reap(self) -> None:
        for pid in list(self._pids):
            if task.reap(pid, wait=False):
                self._pids.discard(pid)
