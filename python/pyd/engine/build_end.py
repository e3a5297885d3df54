"""What a build is asked for besides its steps, read before the first of them, and done after the last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from pyd.build import outputs
from pyd.build.annotations import NONE, Annotations
from pyd.build.build import Build
from pyd.build.outputs import Output
from pyd.build.request import BuildRequest
from pyd.build.result import BuildResult, Built
from pyd.engine import build_outputs
from pyd.oci.platform import Platform
from pyd.record import Record
from pyd.store.records import now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyd.build.attestations import Predicate
    from pyd.build.attests import Attests
    from pyd.build.cache_options import CacheSource, CacheTarget
    from pyd.engine.build_image import Tell
    from pyd.store import Store


class Plan(Record):
    """started: RFC 3339. attests: None for none."""

    started: str
    outputs: tuple[Output, ...]
    attests: Attests | None
    annotations: Annotations
    cache_from: tuple[CacheSource, ...]
    cache_to: tuple[CacheTarget, ...]

    @classmethod
    def of(cls, request: BuildRequest, *, several: bool) -> Plan:
        """Raises InvalidArgument and NotSupported, before anything is built. `several`: platforms."""
        wanted = outputs.parse(request.outputs, request.tags)
        attests = _attests(request)
        outputs.check(wanted, indexed=several or attests is not None)
        return cls(now(), wanted, attests, _annotations(request), *_caches(request))


# what a usual build does not ask for is not imported


def _attests(request: BuildRequest) -> Attests | None:
    if not request.attests:
        return None
    from pyd.build import attests

    return attests.parse(request.attests) or None


def _annotations(request: BuildRequest) -> Annotations:
    if not request.annotations:
        return NONE
    from pyd.build import annotations

    return annotations.parse(request.annotations)


def _caches(request: BuildRequest) -> tuple[tuple[CacheSource, ...], tuple[CacheTarget, ...]]:
    inline = outputs.flag(dict(request.build_args), "BUILDKIT_INLINE_CACHE", False)
    if not request.cache_from and not request.cache_to and not inline:
        return (), ()
    from pyd.build import cache_options

    targets = cache_options.targets(request.cache_to)
    if inline:
        targets = (*targets, cache_options.CacheTarget(type="inline"))
    return cache_options.sources(request.cache_from), targets


@contextmanager
def caches(store: Store, plan: Plan, made: Build) -> Iterator[None]:
    """The steps of the build may come from elsewhere meanwhile."""
    opened = []
    if plan.cache_from:
        from pyd.engine import build_caches

        opened = build_caches.opened(store, plan.cache_from, made.watcher.warns)
    made.steps.remotes += opened
    try:
        yield
    finally:
        for one in opened:
            one.close()


def finish(made: Build, builts: Sequence[Built], plan: Plan) -> BuildResult:
    """Outputs, then caches. The caller holds `intake.fetching`."""
    if any(target.type == "inline" for target in plan.cache_to):
        from pyd.engine import build_caches

        builts = build_caches.with_inline(builts, made.steps.used)
    predicates = _predicates(made, builts, plan)
    with _step(made, f"exporting to {plan.outputs[0].type if plan.outputs else 'nothing'}") as tell:
        exported = build_outputs.export(
            build_outputs.Job(
                store=made.store,
                builts=builts,
                annotations=plan.annotations,
                predicates=predicates,
                hidden=_hidden(plan),
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
        from pyd.engine import build_caches

        with _step(made, f"exporting cache to {target.type}") as tell:
            build_caches.export(
                build_caches.CacheJob(
                    store=made.store,
                    steps=made.steps.used,
                    builts=builts,
                    warn=made.watcher.warns,
                    tell=tell,
                ),
                target,
            )
    return BuildResult(exported.image_id, exported.digest, builts, exported.metadata)


def _predicates(made: Build, builts: Sequence[Built], plan: Plan) -> dict[Platform, Sequence[Predicate]]:
    """What is said of each platform's result."""
    if plan.attests is None:
        return {}
    found: dict[Platform, list[Predicate]] = {built.platform: [] for built in builts}
    if plan.attests.sbom:
        from pyd.build.sbom import spdx
        from pyd.engine import build_files
        from pyd.oci.reference import Reference

        names = [name for output in plan.outputs for name in output.names]
        for built in builts:
            with _step(made, f"[{built.platform}] generating sbom"):
                layers = build_files.directories(made.store, built)
                name = Reference.parse(names[0]).familiar if names else "image"
                found[built.platform].append(spdx.predicate(layers, name=name, epoch=made.epoch))
    if plan.attests.provenance is not None:
        from pyd.build import provenance

        facts = provenance.Facts(
            request=made.request,
            dockerfile="\n".join(made.dockerfile.lines),
            dockerfile_name=made.dockerfile.name,
            remote=made.remote,
            materials=made.materials,
            steps=list(made.steps.used.values()),
            invocation=build_outputs.build_ref(),
            started=plan.started,
            finished=now(),
        )
        for built in builts:
            found[built.platform].append(provenance.predicate(facts, plan.attests.provenance, built.platform))
    return {platform: said for platform, said in found.items() if said}


def _hidden(plan: Plan) -> frozenset[str]:
    """Files of predicates that are only in images."""
    provenance = plan.attests.provenance if plan.attests is not None else None
    return frozenset(["provenance.json"] if provenance is not None and provenance.inline_only else [])


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
