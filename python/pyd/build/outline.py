"""`build --call=outline|targets`: what a Dockerfile can be asked to build, and what that takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pyd.build import arguments, words
from pyd.build.instructions import describe
from pyd.build.kinds import Arg, Mount, Run, Script, Stage, Transfer
from pyd.build.location import DockerfileError
from pyd.build.mounts import MountError, parse_mount
from pyd.build.words import ExpansionError
from pyd.errors import NotFound
from pyd.oci.platform import Platform
from pyd.record import Record


class Target(Record):
    name: str  # "" without AS
    description: str
    base: str
    platform: str
    line: int
    is_default: bool


class Argument(Record):
    name: str
    value: str
    description: str
    line: int


class Need(Record):
    """A secret, an ssh agent (its id) or a cache mount (its id) that a RUN asks for."""

    name: str
    is_required: bool
    line: int


class Outline(Record):
    name: str
    description: str
    args: tuple[Argument, ...]
    secrets: tuple[Need, ...]
    ssh: tuple[Need, ...]
    caches: tuple[Need, ...]


def targets(script: Script) -> tuple[Target, ...]:
    last = script.stages[-1]
    return tuple(
        Target(
            name=stage.name,
            description=stage.comment,
            base=stage.base,
            platform=stage.platform,
            line=stage.location.line,
            is_default=stage is last,
        )
        for stage in script.stages
    )


def outline(script: Script, target: str = "", build_args: Mapping[str, str] = {}) -> Outline:
    """Of the stage `target` (name or number; the last one by default) and of those that it needs.

    Raises NotFound for an unknown one.
    """
    wanted = stage_of(script, target)
    stages = needed(script, wanted)
    mounts = [
        (_read(mount), each.location.line)
        for stage in stages
        for each in stage.instructions
        if isinstance(each, Run)
        for mount in each.mounts
    ]
    return Outline(
        name=wanted.name,
        description=wanted.comment,
        args=_arguments(script, wanted, stages, build_args),
        secrets=_needs(mounts, "secret"),
        ssh=_needs(mounts, "ssh"),
        caches=_needs(mounts, "cache"),
    )


def stage_of(script: Script, target: str) -> Stage:
    """Raises NotFound."""
    if not target:
        return script.stages[-1]
    for stage in reversed(script.stages):
        if target.lower() in (stage.name, str(stage.index)):
            return stage
    raise NotFound(f'target stage "{target}" could not be found')


def needed(script: Script, target: Stage) -> list[Stage]:
    """`target` and the stages that it is built on or takes files from, in the order of the file."""
    found: dict[int, Stage] = {}
    waiting = [target]
    while waiting:
        stage = waiting.pop()
        if stage.index in found:
            continue
        found[stage.index] = stage
        before = script.stages[: stage.index]
        for name in _sources(stage):
            waiting += [one for one in before if name.lower() in (one.name or None, str(one.index))][-1:]
    return [found[index] for index in sorted(found)]


def _sources(stage: Stage) -> Iterable[str]:
    yield stage.base
    for each in stage.instructions:
        if isinstance(each, Transfer) and each.from_:
            yield each.from_
        elif isinstance(each, Run):
            yield from (mount.from_ for mount in each.mounts if mount.from_)


def _arguments(
    script: Script, target: Stage, stages: list[Stage], build_args: Mapping[str, str]
) -> tuple[Argument, ...]:
    host = Platform.host()
    given = arguments.predefined(host, host, target.name, build_args)
    found: dict[str, Argument] = {}
    try:
        scope = arguments.global_scope(script, build_args, given)
    except DockerfileError:
        scope = arguments.Scope(dict(given), frozenset(given))
    used = {name for stage in stages for name in _used(stage, scope)}
    inside = [each for stage in stages for each in stage.instructions if isinstance(each, Arg)]
    used |= {name for each in inside for name, _ in each.args}
    for arg in script.global_args:
        for name, _ in arg.args:
            if name in used:
                _add(found, arg, name, scope.values.get(name))
    for stage in stages:
        env: dict[str, str] = {}
        for each in stage.instructions:
            if isinstance(each, Arg):
                try:
                    pairs = arguments.resolve(each, env, build_args, scope.values)
                except DockerfileError:
                    pairs = each.args
                for name, value in pairs:
                    env.update({name: value} if value is not None else {})
                    if name not in given or name in build_args:
                        _add(found, each, name, value)
    return tuple(found.values())


def _used(stage: Stage, scope: arguments.Scope) -> set[str]:
    """The arguments in its FROM."""
    found: set[str] = set()
    for text in (stage.base, stage.platform):
        try:
            found |= words.expand(text, scope.values, stage.node.escape).used
        except ExpansionError:
            continue
    return found


def _add(found: dict[str, Argument], arg: Arg, name: str, value: str | None) -> None:
    before = found.get(name)
    description = describe(arg.node.comments, name) or (before.description if before else "")
    shown = value if value is not None else before.value if before else ""
    line = before.line if before else arg.location.line
    found[name] = Argument(name, shown or "", description, line)


def _read(mount: Mount) -> Mount:
    """With its values; variables in them stay as they are written."""
    try:
        return parse_mount(mount.raw, lambda text: text)
    except MountError:
        return mount


def _needs(mounts: list[tuple[Mount, int]], kind: str) -> tuple[Need, ...]:
    found: dict[str, Need] = {}
    for mount, line in mounts:
        if mount.type == kind:
            default = {"secret": mount.target.rpartition("/")[2], "ssh": "default", "cache": mount.target}[
                kind
            ]
            name = mount.id or default
            before = found.get(name)
            required = mount.required or (before is not None and before.is_required)
            found[name] = Need(name, required, before.line if before else line)
    return tuple(found.values())


def argument_names(script: Script) -> list[str]:
    """Of all ARGs, each once."""
    args = [*script.global_args]
    args += [each for stage in script.stages for each in stage.instructions if isinstance(each, Arg)]
    return list(dict.fromkeys(name for each in args for name, _ in each.args))
