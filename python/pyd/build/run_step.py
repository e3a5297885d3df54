"""RUN: a command in a container on the files so far; what it leaves in the upper directory is the layer."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from pyd.build import arguments, layers
from pyd.build.command import execution
from pyd.build.events import Step
from pyd.build.failure import BuildFailed
from pyd.build.files import Tree
from pyd.build.kinds import Mount, Run
from pyd.build.result import State
from pyd.build.steps import Outcome
from pyd.errors import Forbidden, NotSupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.build.run_job import SecretFile
    from pyd.build.stage import StageJob


def do(job: StageJob, state: State, instruction: Run, step: Step) -> tuple[Outcome, str]:
    build = job.build
    _check(job, instruction)
    found = execution(instruction, state.config)
    args = list(found.args)
    script = None
    if found.script is not None:
        from pyd.build.run_job import SecretFile

        path, text = found.script
        script = SecretFile(path, text.encode("utf-8", "surrogateescape"), 0o755, 0, 0)
    mounts = _mounts(job, state, instruction)
    network = instruction.network if instruction.network != "default" else build.request.network
    base: dict[str, Any] = {
        "kind": "RUN",
        "parent": state.chain_id,
        "args": args,
        "heredocs": [script.data.decode("utf-8", "surrogateescape")] if script else [],
        "env": settings(state),
        "build_args": declared(state),
        "user": state.config.get("User") or "",
        "cwd": state.config.get("WorkingDir") or "/",
        "network": network,
        "security": instruction.security,
        "platform": str(state.platform),
        "hosts": list(build.request.add_hosts),
        "host": {key: value for key, value in job.solver.host.items() if key == "ShmSize"},
        # what lies in them is not looked at, as with any mount of the host
        **({"volumes": list(map(dict, job.solver.volumes))} if job.solver.volumes else {}),
        "epoch": build.epoch,
    }

    def structure(by_name: bool = False) -> dict[str, Any]:
        parts = []
        if mounts:
            from pyd.build import listings, run_mounts
        for mount, target, tree in mounts:
            digest = ""
            if tree is not None:
                if by_name:
                    digest = tree.identity
                else:
                    selection = tree.select([mount.source or "/"])
                    digest = selection.digest
                    listings.keep(build.store.paths, digest, selection.listing())
            parts.append(run_mounts.structure(mount, target, digest))
        return {**base, "mounts": parts}

    known = all(tree is None or tree.identity for _, _, tree in mounts)
    has_trees = any(tree is not None for _, _, tree in mounts)
    return build.steps.do(
        step,
        job.place("RUN"),
        state,
        structure,
        lambda: _execute(job, state, instruction, step, args, script, mounts, network),
        fast={**structure(by_name=True), "by": "name"} if known and has_trees else None,
        fresh=job.fresh,
        below_reason=job.reason,
    )


def _mounts(job: StageJob, state: State, instruction: Run) -> list[tuple[Mount, str, Tree | None]]:
    """Each with its target, and with what it shows."""
    if not instruction.mounts:
        return []
    from pyd.build import run_mounts

    workdir = state.config.get("WorkingDir") or "/"
    return [
        (mount, run_mounts.target_of(mount, workdir, number), _tree(job, mount))
        for number, mount in enumerate(instruction.mounts)
    ]


def settings(state: State) -> dict[str, str]:
    """The environment that comes from ENV."""
    return {name: value for name, value in state.env.items() if name not in state.args}


def declared(state: State) -> dict[str, str]:
    """The environment that comes from ARG."""
    return {name: state.env[name] for name in state.args if name in state.env}


def environment(job: StageJob, state: State) -> tuple[str, ...]:
    """Proxies of the build are in it and in no key and no image; SOURCE_DATE_EPOCH lets tools write no times
    of today (Python, for one, then makes .pyc files that do not depend on the times of the sources).
    """
    values = {
        **arguments.proxies({**job.build.request.proxies, **job.build.request.build_args}),
        "SOURCE_DATE_EPOCH": str(job.build.epoch),
        **state.env,
    }
    return tuple(f"{name}={value}" for name, value in values.items())


def _check(job: StageJob, instruction: Run) -> None:
    allowed = job.build.allowed
    if instruction.devices:
        raise NotSupported("RUN --device is not supported", "remove --device; pyd has no CDI devices")
    if instruction.network == "host" and "network.host" not in allowed:
        raise Forbidden(
            "granting entitlement network.host is not allowed by build daemon configuration",
            "allow it with --allow network.host",
        )
    if instruction.security == "insecure" and "security.insecure" not in allowed:
        raise Forbidden(
            "granting entitlement security.insecure is not allowed by build daemon configuration",
            "allow it with --allow security.insecure",
        )


def _tree(job: StageJob, mount: Mount) -> Tree | None:
    if mount.type == "bind" and not mount.from_:
        return job.build.context
    if mount.type in ("bind", "cache") and mount.from_:
        return job.solver.tree(mount.from_)
    return None


def _execute(
    job: StageJob,
    state: State,
    instruction: Run,
    step: Step,
    args: list[str],
    script: SecretFile | None,
    mounts: list[tuple[Mount, str, Tree | None]],
    network: str,
) -> Outcome:
    from pyd.build import run_mounts
    from pyd.build.run_job import RunJob
    from pyd.runtime.defaults import MOUNT_POINTS

    build = job.build
    job.solver.check_platform(state.platform)
    with ExitStack() as stack:
        made = stack.enter_context(layers.upper(build.store))
        mounted = run_mounts.Mounted()
        if script is not None:
            mounted.secrets.append(script)
        for mount, target, tree in mounts:
            run_mounts.add(
                mounted, mount, target, tree, build.store, build.secrets, build.ssh, build.steps, stack
            )
        request = RunJob(
            lowers=layers.lowers(build.store, state),
            upper=made.fs,
            work=made.work,
            args=tuple(args),
            env=(*environment(job, state), *mounted.env),
            cwd=state.config.get("WorkingDir") or "/",
            user=state.config.get("User") or "",
            mounts=run_mounts.ordered([*mounted.entries, *job.solver.volumes]),
            secrets=tuple(mounted.secrets),
            network=network,
            insecure=instruction.security == "insecure",
            host=job.solver.host,
        )
        with job.solver.running():
            end = build.runner.run(request, lambda stream, data: build.watcher.writes(step, stream, data))
        if end.exit_code:
            if build.request.debug:
                job.solver.debug(request, state, step)
            raise _failed(job, instruction, step, args, end.exit_code, end.oom_killed)
        ignored = [*MOUNT_POINTS, *mounted.points, *job.solver.volume_points]
        return Outcome(layers.publish(build.store, made, state, epoch=build.epoch, ignored=ignored), {})


def _failed(
    job: StageJob, instruction: Run, step: Step, args: list[str], code: int, oom: bool
) -> BuildFailed:
    shown = " ".join(args)
    message = f'process "{shown}" did not complete successfully: exit code: {code}'
    return BuildFailed(
        message,
        "it was killed because it used more memory than it may: raise --memory" if oom else None,
        step=step,
        dockerfile=job.build.dockerfile.name,
        line=instruction.location.line,
        end_line=instruction.location.end_line,
        code=code,
    )


def host_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """What of a HostConfig a job takes over."""
    return {key: value for key, value in options.items() if value not in (None, "", 0, [], {})}
