"""From stages to one state: what the target needs is done, stages beside each other, the rest never.

A stage gets a thread when it is first wanted. Stages that the target's instructions name are wanted at the
start, so that none waits for the step before it that uses it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from pyd.build import arguments, words
from pyd.build.events import Step
from pyd.build.files import StageTree, Tree
from pyd.build.kinds import Run, Stage, Transfer
from pyd.build.promise import Promise
from pyd.build.result import State
from pyd.build.stage import StageJob
from pyd.errors import Cancelled, InvalidArgument, NotSupported
from pyd.oci.platform import Platform
from pyd.record import replace
from pyd.runtime import defaults

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.build.build import Build
    from pyd.build.run_job import RunJob

MAX_RUNS = 16
"""Commands that run at once; the rest waits."""
# what an image without a base has (BuildKit, dockerfile2llb, emptyImage)
_SCRATCH: Mapping[str, Any] = {"Env": [defaults.PATH], "WorkingDir": "/"}


class Solver:
    """One platform of a build.

    host: what of a HostConfig its RUNs get. volumes: entries of config.json that each RUN gets (`-v`).
    """

    def __init__(
        self,
        build: Build,
        platform: Platform,
        *,
        several: bool = False,
        host: Mapping[str, Any],
        volumes: Sequence[Mapping[str, Any]] = (),
        slots: threading.Semaphore | None = None,
    ) -> None:
        self.build = build
        self.platform = platform
        self.several = several
        self.host = host
        self.volumes = list(volumes)
        self.volume_points = [part for entry in volumes for part in _points(entry["destination"])]
        given = arguments.predefined(Platform.host(), platform, self._target_name(), build.request.build_args)
        self.scope = arguments.global_scope(build.script, build.request.build_args, given)
        self._slots = slots or threading.Semaphore(MAX_RUNS)
        self._stages: dict[int, Promise] = {}
        self._waits: dict[int, int] = {}  # stage -> the stage that it waits for
        self._images: dict[tuple[str, str], Promise] = {}
        self._lock = threading.Lock()
        self._local = threading.local()
        self._threads: list[threading.Thread] = []
        self.keeps_times = False

    def solve(self) -> State:
        """The state of the target stage. Raises the first error of any stage, after all have ended."""
        target = self._target()
        needed = self._needed(target)
        # what a cache mount has kept from the last build is compared with the times of the sources (make,
        # cargo)
        self.keeps_times = any(
            mount.type == "cache"
            for index in needed
            for instruction in self.build.script.stages[index].instructions
            if isinstance(instruction, Run)
            for mount in instruction.mounts
        )
        try:
            for index in sorted(needed):
                self._start(index)
            return self._stages[target].state()
        except BaseException:
            self.build.stop()
            raise
        finally:
            for thread in self._threads:
                thread.join()

    def first_error(self) -> BaseException | None:
        """The error that stopped the others, when `solve` has raised Cancelled."""
        for promise in self._stages.values():
            if promise.error is not None and not isinstance(promise.error, Cancelled):
                return promise.error
        return None

    # What stages ask

    def base(self, stage: Stage, step: Step) -> State:
        text = self.base_text(stage)
        platform = self._platform_of(stage)
        named = self._context(text)
        if named is None:
            if text == "scratch":
                return self._prepared(State(platform, config=dict(_SCRATCH)))
            index = self._index(text, before=stage.index)
            if index is not None:
                return self._prepared(self.state(index), same=True)
        state = self._named(named, text, platform, step) if named is not None else None
        if state is None:
            state = self._image(text, platform, step)
        return self._prepared(state)

    def base_text(self, stage: Stage) -> str:
        """The name after FROM, with the global arguments."""
        found = words.expand(stage.base, self.scope.values, stage.node.escape)
        if not found.text:
            raise stage.node.error(f"base name ({stage.base}) should not be blank")
        return found.text

    def tree(self, name: str) -> Tree:
        """The files of `--from`: a stage, a named context or an image."""
        named = self._context(name)
        if named is not None and not isinstance(named, str):
            return named
        if named is None:
            index = self._index(name)
            if index is not None:
                return StageTree(self.build.store, self.state(index))
        text = named or name
        step = self.build.step(f"FROM {text}", instruction=f"FROM {text}")
        self.build.watcher.begins(step)
        try:
            state = self._named(named, text, self.platform, step) if named else None
            if state is None:
                state = self._image(text, self.platform, step)
        except BaseException as error:
            self.build.watcher.ends(step, error)
            raise
        self.build.watcher.ends(step)
        return StageTree(self.build.store, state)

    def state(self, index: int) -> State:
        """The result of a stage; waits for it."""
        waiting: int | None = getattr(self._local, "stage", None)
        self._start(index)
        if waiting is not None:
            with self._lock:
                self._waits[waiting] = index
                self._check_cycle(waiting)
        try:
            return self._stages[index].state()
        finally:
            if waiting is not None:
                with self._lock:
                    self._waits.pop(waiting, None)

    def check_platform(self, platform: Platform) -> None:
        """Raises NotSupported where a RUN could not execute a program of this platform."""
        host = Platform.host()
        same = platform.os == host.os and platform.architecture == host.architecture
        if same or (host.architecture, platform.architecture) in (("amd64", "386"), ("arm64", "arm")):
            return
        from pyd.build.emulation import is_there

        if not is_there(platform.architecture):
            raise NotSupported(
                f"a RUN for {platform} cannot be executed on {host}",
                "register an emulator with binfmt_misc (package qemu-user-static), or compile in a stage "
                "FROM --platform=$BUILDPLATFORM",
            )

    @contextmanager
    def running(self) -> Iterator[None]:
        """A place among the commands that run at once."""
        while not self._slots.acquire(timeout=0.2):
            self.build.check()
        try:
            yield
        finally:
            self._slots.release()

    def debug(self, job: RunJob, state: State, step: Step) -> None:
        from pyd.build.debug import shell

        shell(self.build, job, state, step)

    # Which stages

    def _target_name(self) -> str:
        stages = self.build.script.stages
        return stages[self._target()].name

    def _target(self) -> int:
        wanted = self.build.request.target
        stages = self.build.script.stages
        if not wanted:
            return len(stages) - 1
        index = self._index(wanted)
        if index is None:
            raise InvalidArgument(
                f"target stage {wanted!r} could not be found",
                "stages are " + ", ".join(stage.name or str(stage.index) for stage in stages),
            )
        return index

    def _index(self, name: str, before: int | None = None) -> int | None:
        """The stage of this name (the last of several) or number."""
        stages = self.build.script.stages[:before]
        for stage in reversed(stages):
            if stage.name and stage.name == name.lower():
                return stage.index
        if name.isascii() and name.isdigit() and len(name) < 9 and int(name) < len(stages) and before is None:
            return int(name)
        return None

    def _needed(self, target: int) -> set[int]:
        """The target and the stages that it is known to need. A stage whose name is in a variable starts when
        it is reached.
        """
        needed: set[int] = set()
        left = [target]
        while left:
            index = left.pop()
            if index in needed:
                continue
            needed.add(index)
            stage = self.build.script.stages[index]
            names = [self.base_text(stage)]
            for instruction in stage.instructions:
                if isinstance(instruction, Transfer) and instruction.from_:
                    names.append(instruction.from_)
                if isinstance(instruction, Run):
                    names += [mount.from_ for mount in instruction.mounts if mount.from_]
            for place, name in enumerate(names):
                if self._context(name) is not None:
                    continue
                found = self._index(name, before=index if place == 0 else None)
                if found is not None:
                    left.append(found)
        return needed

    def _start(self, index: int) -> None:
        with self._lock:
            if index in self._stages:
                return
            self.build.check()
            promise = Promise()
            self._stages[index] = promise
            thread = threading.Thread(target=self._run, args=(index, promise), name=f"stage-{index}")
            self._threads.append(thread)
        thread.start()

    def _run(self, index: int, promise: Promise) -> None:
        self._local.stage = index
        try:
            promise.keep(StageJob(self, self.build.script.stages[index]).run())
        except BaseException as error:
            promise.fail(error)
            # the first to fail ends the others; what they say then is not the cause
            self.build.stop()
        finally:
            self.build.store.close()

    def _check_cycle(self, start: int) -> None:
        seen = [start]
        while (following := self._waits.get(seen[-1])) is not None:
            if following in seen:
                stages = self.build.script.stages
                names = " -> ".join(stages[i].name or str(i) for i in (*seen, following))
                raise InvalidArgument(f"circular dependency detected on stage: {names}")
            seen.append(following)

    # Bases

    def _context(self, name: str) -> Tree | str | None:
        """What --build-context gave under this name: "a" is also "docker.io/library/a:latest"."""
        if not self.build.named:
            return None
        from pyd.build.named_contexts import normal_name

        try:
            return self.build.named.get(normal_name(name.lower()))
        except InvalidArgument:
            return None

    def _platform_of(self, stage: Stage) -> Platform:
        if not stage.platform:
            return self.platform
        text = words.expand(stage.platform, self.scope.values, stage.node.escape).text
        if not text:
            raise stage.node.error(f"empty platform value from expression {stage.platform}")
        try:
            return Platform.parse(text)
        except InvalidArgument as error:
            raise stage.node.error(f"failed to parse platform {text}: {error.message}") from None

    def _named(self, named: Tree | str | None, text: str, platform: Platform, step: Step) -> State | None:
        """A named context as a base; None when it is the name of another image."""
        if isinstance(named, str):
            if named.startswith("oci-layout://"):
                state, digest = self.build.images.layout(named.removeprefix("oci-layout://"), platform)
                self.build.uses(named, digest)
                return state
            return self._image(named.removeprefix("docker-image://"), platform, step)
        assert named is not None
        from pyd.build.directory_base import state_of

        return state_of(self.build, named, platform)

    def _image(self, reference: str, platform: Platform, step: Step) -> State:
        """Each image is looked for once in a build."""
        key = (reference, str(platform))
        with self._lock:
            promise = self._images.get(key)
            first = promise is None
            if promise is None:
                promise = self._images[key] = Promise()
        if first:
            try:
                state, digest = self.build.images.state(
                    reference, platform, pull=self.build.request.pull, watcher=self.build.watcher, step=step
                )
                self.build.uses(f"docker-image://{reference}", digest)
                promise.keep(state)
            except BaseException as error:
                promise.fail(error)
        return promise.state()

    def _prepared(self, state: State, *, same: bool = False) -> State:
        """As the start of a stage. `same`: it is an earlier stage, whose arguments are inherited."""
        if same:
            return replace(state, cmd_given=False)
        env = dict(entry.partition("=")[::2] for entry in state.config.get("Env") or ())
        return replace(state, env=env, args={}, cmd_given=False)


def _points(path: str) -> list[str]:
    parts = path.strip("/").split("/")
    return ["/".join(parts[: end + 1]) for end in range(len(parts))]
