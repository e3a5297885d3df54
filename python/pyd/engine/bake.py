"""`bake`: several builds at once, each a target of a plan; some take the result of another as a context."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, BinaryIO

from pyd.build.events import Watcher
from pyd.errors import Cancelled, InvalidArgument, PydError
from pyd.record import replace
from pyd.store.fetching import fetching

if TYPE_CHECKING:
    from pyd.build.request import BuildRequest
    from pyd.build.result import BuildResult
    from pyd.engine.engine import Engine

_TARGET = "target:"  # of a named context


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be built. `wanted`: targets whose outputs are; the others are contexts of those.

    document: what --print shows.
    """

    requests: Mapping[str, BuildRequest]
    wanted: tuple[str, ...]
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Listed:
    """What files define: rows with name and description; of variables with their value."""

    targets: Sequence[Mapping[str, Any]]
    variables: Sequence[Mapping[str, Any]]


class TargetFailed(PydError):
    """The first target that has failed, and its error."""

    def __init__(self, target: str, cause: PydError) -> None:
        super().__init__(f"target {target}: {cause.message}", cause.hint)
        self.target = target
        self.cause = cause


class Relay(Watcher):
    """Passes on what a target tells, and keeps what stops it."""

    def __init__(self, to: Watcher) -> None:
        self._to = to
        self._stop: Callable[[], None] | None = None
        self._is_stopped = False
        self._lock = threading.Lock()
        for name in (
            "reads",
            "begins",
            "cached",
            "explains",
            "writes",
            "counts",
            "interrupts",
            "warns",
            "ends",
        ):
            setattr(self, name, getattr(to, name))

    def starts(self, stop: Callable[[], None]) -> None:
        with self._lock:
            self._stop = stop
            if self._is_stopped:
                stop()
        self._to.starts(stop)

    def finishes(self) -> None:
        self._to.finishes()

    def stop(self) -> None:
        with self._lock:
            self._is_stopped = True
            if self._stop is not None:
                self._stop()

    def check(self) -> None:
        if self._is_stopped:
            raise Cancelled("the build was cancelled")


def read(
    files: Sequence[str],
    sets: Sequence[str],
    targets: Sequence[str],
    environ: Mapping[str, str],
    *,
    variables: Mapping[str, str] | None = None,
    stdin: BinaryIO | None = None,
) -> Plan:
    """The targets of bake files (those of the usual names in the working directory by default), with --set
    and --var applied. Raises InvalidArgument, NotFound, NotSupported.
    """
    from pyd.build.bake import load

    plan = load(files, environ, variables=variables, stdin=stdin).plan(targets, sets)
    links = {name: f"{_TARGET}{name}" for name in plan.targets}
    return Plan(
        # whether the user grants what a target wants is asked for all targets together
        requests={
            name: target.request(allow=target.entitlements or (), links=links)
            for name, target in plan.targets.items()
        },
        wanted=tuple(name for name, target in plan.targets.items() if not target.linked),
        document=plan.document(),
    )


def listed(
    files: Sequence[str],
    environ: Mapping[str, str],
    *,
    variables: Mapping[str, str] | None = None,
    stdin: BinaryIO | None = None,
) -> Listed:
    """What bake files define."""
    from pyd.build.bake import load

    found = load(files, environ, variables=variables, stdin=stdin)
    rows: list[dict[str, Any]] = [
        {"name": target.name, "description": target.description or ""} for target in found.targets.values()
    ]
    rows += [
        {"name": name, "description": group.description or ", ".join(group.targets), "group": True}
        for name, group in found.groups.items()
    ]
    return Listed(
        targets=sorted(rows, key=lambda row: str(row["name"])),
        variables=[
            {"name": one.name, "value": one.value, "description": one.description} for one in found.variables
        ],
    )


def names(files: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """Of targets and groups, for completion: none where the files cannot be read."""
    try:
        return [str(row["name"]) for row in listed(files, environ).targets]
    except PydError:
        return []


def bake(
    engine: Engine,
    requests: Mapping[str, BuildRequest],
    watcher: Callable[[str], Watcher],
    *,
    exported: Iterable[str] | None = None,
) -> dict[str, BuildResult]:
    """Build all, side by side as far as none needs another. `watcher` gives each target the one it tells.

    `exported`: those whose outputs are wanted (all by default); the others are only contexts. Raises
    TargetFailed for the first that fails, when all have ended.
    """
    _check(requests)
    engine.config.paths.make()
    wanted = set(requests if exported is None else exported)
    # on the disk of the layers, as large as they; the lock keeps the collector away between two builds
    with (
        fetching(engine.store),
        TemporaryDirectory(prefix="bake-", suffix=".tmp", dir=engine.config.paths.snapshots) as scratch,
    ):
        return _Baking(engine, requests, watcher, wanted, scratch).run()


class _Baking:
    def __init__(
        self,
        engine: Engine,
        requests: Mapping[str, BuildRequest],
        watcher: Callable[[str], Watcher],
        exported: set[str],
        scratch: str,
    ) -> None:
        self._engine = engine
        self._requests = requests
        self._exported = exported
        self._scratch = scratch
        self._needed = {name for request in requests.values() for name in _contexts(request).values()}
        self._relays = {name: Relay(watcher(name)) for name in requests}
        self._results: dict[str, Future[BuildResult]] = {name: Future() for name in requests}
        self._failed: dict[str, BaseException] = {}  # in the order of failing
        self._lock = threading.Lock()

    def run(self) -> dict[str, BuildResult]:
        threads = [
            threading.Thread(target=self._one, args=(name,), name=f"target-{name}") for name in self._requests
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException:  # Ctrl-C
            self._stop()
            for thread in threads:
                with suppress(RuntimeError):  # it was not started
                    thread.join()
            raise
        errors = sorted(self._failed.items(), key=lambda one: isinstance(one[1], Cancelled))
        for name, error in errors[:1]:
            if isinstance(error, PydError) and not isinstance(error, Cancelled):
                raise TargetFailed(name, error) from error
            raise error
        return {name: future.result() for name, future in self._results.items() if name in self._exported}

    def _one(self, name: str) -> None:
        relay = self._relays[name]
        try:
            request = self._prepared(name)
            relay.check()
            result = self._engine.build(request, relay)
        except BaseException as error:
            with self._lock:
                self._failed.setdefault(name, error)
            # who waits for this one is not the cause
            self._results[name].set_exception(Cancelled(f"target {name} has failed"))
            self._stop()
        else:
            self._results[name].set_result(result)
        finally:
            self._engine.store.close()  # of this thread

    def _prepared(self, name: str) -> BuildRequest:
        """With the results of others as contexts, and with one for them."""
        request = self._requests[name]
        contexts = dict(request.build_contexts)
        for context, target in _contexts(request).items():
            self._results[target].result()
            contexts[context] = f"oci-layout://{self._layout(target)}"
        outputs = request.outputs if name in self._exported else ("type=cacheonly",)
        if name in self._needed:
            # the store is the output of who names none
            outputs = (
                *(outputs or ("type=docker",)),
                f"type=oci,tar=false,compression=uncompressed,dest={self._layout(name)}",
            )
        return replace(request, build_contexts=contexts, outputs=tuple(outputs))

    def _layout(self, name: str) -> str:
        return f"{self._scratch}/{name}"

    def _stop(self) -> None:
        for relay in self._relays.values():
            relay.stop()


def _contexts(request: BuildRequest) -> dict[str, str]:
    """Named contexts that are other targets: name -> target."""
    return {
        name: value.removeprefix(_TARGET)
        for name, value in request.build_contexts.items()
        if value.startswith(_TARGET)
    }


def _check(requests: Mapping[str, BuildRequest]) -> None:
    """Raises InvalidArgument for targets that do not exist, or need each other."""
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise InvalidArgument(f"targets need each other: {' -> '.join((*path, name))}")
        if name in done:
            return
        for target in _contexts(requests[name]).values():
            if target not in requests:
                raise InvalidArgument(f"failed to find target {target}, which is a context of {name}")
            visit(target, (*path, name))
        done.add(name)

    for name in requests:
        visit(name, ())
