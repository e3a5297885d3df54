"""`build`: from a context and a Dockerfile to what was asked for.

In order: the context, the Dockerfile, a solver for each platform. Then, whether that succeeded or not, the
files of all steps are synced once and their rows made durable: what was done is not done again. At last the
outputs.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from pyd.build import assemble, contexts, epochs, late
from pyd.build.build import Build
from pyd.build.events import Watcher
from pyd.build.files import HostTree, Tree
from pyd.build.instructions import interpret
from pyd.build.kinds import Script
from pyd.build.parser import Dockerfile, parse
from pyd.build.request import BuildRequest
from pyd.build.result import BuildResult, Built
from pyd.build.scratch import Scratch
from pyd.build.secrets import Secrets
from pyd.build.solver import MAX_RUNS, Solver
from pyd.build.sources import Sources
from pyd.build.ssh import Ssh
from pyd.build.steps import Steps
from pyd.engine import build_checks, build_end
from pyd.engine.build_images import BuildImages
from pyd.engine.build_limits import job_limits
from pyd.engine.build_run import BuildRunner, sweep
from pyd.errors import Cancelled, InvalidArgument
from pyd.oci.platform import Platform
from pyd.store.fetching import fetching
from pyd.store.snapshots import sync

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyd.engine.engine import Engine

ENTITLEMENTS = ("network.host", "security.insecure")


def build(engine: Engine, request: BuildRequest, watcher: Watcher | None = None) -> BuildResult:
    """Raises BuildFailed for a step that failed, DockerfileError for what is wrong in the Dockerfile, and
    what the context, registries and outputs raise.
    """
    watcher = watcher or Watcher()
    platforms = [Platform.parse(text) for text in request.platforms] or [_default_platform()]
    plan = build_end.Plan.of(request, several=len(platforms) > 1)
    store = engine.store
    sweep(engine)
    try:
        with fetching(store), late.looked_at(store), _scratch(engine) as scratch, ExitStack() as stack:
            made = _prepare(engine, request, watcher, scratch, stack)
            watcher.starts(made.stop)
            try:
                with build_end.caches(store, plan, made):
                    builts = _solve(made, request, platforms)
            finally:
                _sync(engine, made)
            return build_end.finish(made, builts, plan)
    finally:
        watcher.finishes()


def _prepare(
    engine: Engine, request: BuildRequest, watcher: Watcher, scratch: Scratch, stack: ExitStack
) -> Build:
    store = engine.store
    secrets = Secrets(request.secrets)
    ssh = stack.enter_context(Ssh(request.ssh, f"{store.paths.run_root}/ssh-{os.urandom(8).hex()}"))
    sources = Sources(secrets=secrets, ssh=ssh)
    context = stack.enter_context(contexts.opened(request, scratch, sources))
    dockerfile, script = _read(context)
    watcher.reads(dockerfile.name, dockerfile.lines)
    build_checks.warn(dockerfile, script, request, watcher)
    named: dict[str, Tree | str] = {}
    for name, value in request.build_contexts.items():
        from pyd.build.named_contexts import normal_name, opened_named

        found = stack.enter_context(opened_named(name, value, scratch.directory(), sources))
        key = normal_name(found.name.lower())
        if found.kind == "directory":
            named[key] = HostTree(store, found.root, found.ignore)
        elif found.kind == "layout":
            named[key] = f"oci-layout://{found.root}{found.reference}"
        else:
            named[key] = f"docker-image://{found.reference}"
    made = Build(
        store=store,
        request=request,
        dockerfile=dockerfile,
        script=script,
        identity=context.identity,
        context=HostTree(store, context.root, context.ignore),
        named=named,
        images=BuildImages(engine),
        runner=BuildRunner(engine),
        watcher=watcher,
        steps=Steps(store, watcher),
        secrets=secrets,
        ssh=ssh,
        epoch=epochs.of(request),
        scratch=scratch,
        remote=context.remote,
        allowed=_allowed(request),
    )
    if context.remote is not None:
        made.uses(*context.remote)
    return made


def _read(context: contexts.Context) -> tuple[Dockerfile, Script]:
    dockerfile = parse(context.dockerfile, context.dockerfile_name)
    return dockerfile, interpret(dockerfile)


def _allowed(request: BuildRequest) -> frozenset[str]:
    for name in request.allow:
        if name not in ENTITLEMENTS:
            raise InvalidArgument(f"unknown entitlement {name!r}", f"known are {' and '.join(ENTITLEMENTS)}")
    # who gives every RUN the host's network has allowed it to each
    implied = ["network.host"] if request.network == "host" else []
    return frozenset([*request.allow, *implied])


def _solve(made: Build, request: BuildRequest, platforms: Sequence[Platform]) -> list[Built]:
    host, volumes = job_limits(request)
    slots = threading.Semaphore(MAX_RUNS)
    builts = []
    for platform in platforms:
        solver = Solver(made, platform, several=len(platforms) > 1, host=host, volumes=volumes, slots=slots)
        try:
            state = solver.solve()
        except Cancelled:
            cause = solver.first_error()
            if cause is None:
                raise
            raise cause from None
        builts.append(
            assemble.built(state, epoch=made.epoch, labels=request.labels, materials=made.materials)
        )
    return builts


def _default_platform() -> Platform:
    from pyd.engine.image_pull import wanted_platform

    return wanted_platform("")


def _sync(engine: Engine, made: Build) -> None:
    """One syncfs for the layers of all steps; only then rows that outlive a power cut."""
    if made.steps.has_new:
        sync(engine.store)
    if made.steps.used:
        engine.store.build_cache.touch(made.steps.used, made.steps.places)


@contextmanager
def _scratch(engine: Engine) -> Iterator[Scratch]:
    """On the disk of the layers, where the collector finds what a killed build has left."""
    path = f"{engine.config.paths.snapshots}/build-{os.urandom(8).hex()}.tmp"
    scratch = Scratch(path)
    try:
        yield scratch
    finally:
        if scratch.is_made:
            engine.store.trash.take(path)
