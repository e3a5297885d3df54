"""What a build is asked for besides its steps, read before the first of them, and done after the last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyd.build import annotations as image_annotations
from pyd.build import cache_options, outputs
from pyd.build.annotations import Annotations
from pyd.build.build import Build
from pyd.build.cache_options import CacheSource, CacheTarget
from pyd.build.outputs import Output
from pyd.build.request import BuildRequest
from pyd.build.result import BuildResult, Built
from pyd.engine import build_caches, build_outputs

if TYPE_CHECKING:
    from pyd.engine.build_image import Tell
    from pyd.store import Store


@dataclass(frozen=True, slots=True)
class Plan:
    outputs: tuple[Output, ...]
    annotations: Annotations
    cache_from: tuple[CacheSource, ...]
    cache_to: tuple[CacheTarget, ...]

    @classmethod
    def of(cls, request: BuildRequest, *, several: bool) -> Plan:
        """Raises InvalidArgument and NotSupported, before anything is built. `several`: platforms."""
        wanted = outputs.parse(request.outputs, request.tags)
        outputs.check(wanted, indexed=several or bool(request.attests))
        targets = list(cache_options.targets(request.cache_to))
        if outputs.flag(dict(request.build_args), "BUILDKIT_INLINE_CACHE", False):
            targets.append(CacheTarget(type="inline"))
        return cls(
            wanted,
            image_annotations.parse(request.annotations),
            cache_options.sources(request.cache_from),
            tuple(targets),
        )


@contextmanager
def caches(store: Store, plan: Plan, made: Build) -> Iterator[None]:
    """The steps of the build may come from elsewhere meanwhile."""
    opened = build_caches.opened(store, plan.cache_from, made.watcher.warns) if plan.cache_from else []
    made.steps.remotes += opened
    try:
        yield
    finally:
        for one in opened:
            one.close()


def finish(made: Build, builts: Sequence[Built], plan: Plan) -> BuildResult:
    """Outputs, then caches. The caller holds `intake.fetching`."""
    if any(target.type == "inline" for target in plan.cache_to):
        builts = build_caches.with_inline(builts, made.steps.used)
    with _step(made, f"exporting to {plan.outputs[0].type if plan.outputs else 'nothing'}") as tell:
        exported = build_outputs.export(
            build_outputs.Job(
                store=made.store,
                builts=builts,
                annotations=plan.annotations,
                epoch=made.epoch,
                stdout=made.request.stdout,
                tell=tell,
                warn=made.watcher.warns,
            ),
            plan.outputs,
        )
    for target in plan.cache_to:
        if target.type == "inline":
            continue
        with _step(made, f"exporting cache to {target.type}") as tell:
            build_caches.export(
                build_caches.CacheJob(
                    store=made.store,
                    steps=made.steps.used,
                    mounts=made.steps.mounts,
                    builts=builts,
                    warn=made.watcher.warns,
                    tell=tell,
                ),
                target,
            )
    return BuildResult(exported.image_id, exported.digest, builts, exported.metadata)


@contextmanager
def _step(made: Build, name: str) -> Iterator[Tell]:
    step = made.step(name)
    made.watcher.begins(step)
    tell: Callable[[str, int, int], None] = lambda what, done, total: made.watcher.counts(  # noqa: E731
        step, what, done, total
    )
    try:
        yield tell
    except BaseException as error:
        made.watcher.ends(step, error)
        raise
    made.watcher.ends(step)
