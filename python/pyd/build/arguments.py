"""Build arguments: the predefined ones, those before the first FROM, and what an ARG in a stage gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyd.build import words
from pyd.build.expansion import Watch
from pyd.build.kinds import Arg, Script
from pyd.build.words import ExpansionError
from pyd.oci.platform import Platform
from pyd.record import Record

# of --build-arg, any case: they are in the environment of RUN, not in the image, its history or cache keys
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
PLATFORM_ARGS = (
    "BUILDPLATFORM", "BUILDOS", "BUILDARCH", "BUILDVARIANT",
    "TARGETPLATFORM", "TARGETOS", "TARGETARCH", "TARGETVARIANT", "TARGETSTAGE",
)  # fmt: skip
# settings of the build that are given as arguments; no ARG is needed for them
SETTINGS = (
    "SOURCE_DATE_EPOCH", "BUILDKIT_SYNTAX", "BUILDKIT_DOCKERFILE_CHECK", "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
    "BUILDKIT_INLINE_CACHE", "BUILDKIT_MULTI_PLATFORM", "BUILDKIT_SANDBOX_HOSTNAME",
    "BUILDKIT_CACHE_MOUNT_NS", "BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE",
    "BUILDKIT_BUILD_NAME",
)  # fmt: skip
# these say what a scanner looks at: an ARG of the name is not in the environment of RUN
NOT_IN_ENVIRONMENT = ("BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE")


class Scope(Record):
    """What `$name` can mean in a FROM: predefined arguments, and the ARGs before the first FROM.

    `declared` are all names that are known there, those without a value too.
    """

    values: dict[str, str]
    declared: frozenset[str]


def predefined(
    build: Platform, target: Platform, stage: str, build_args: Mapping[str, str] = {}
) -> dict[str, str]:
    """PLATFORM_ARGS that have a value (an empty variant has none); `build_args` override them.

    `stage` is the name of the target stage, "" for the last one without a name.
    """
    values = (
        str(build), build.os, build.architecture, build.variant,
        str(target), target.os, target.architecture, target.variant, stage or "default",
    )  # fmt: skip
    found = {name: build_args.get(name, value) for name, value in zip(PLATFORM_ARGS, values, strict=True)}
    return {name: value for name, value in found.items() if value}


def global_scope(
    script: Script, build_args: Mapping[str, str], given: Mapping[str, str], watch: Watch | None = None
) -> Scope:
    """The ARGs before the first FROM on top of `given` (see `predefined`). Raises DockerfileError."""
    values, declared = dict(given), set(given)
    for arg in script.global_args:
        for name, default in arg.args:
            declared.add(name)
            value = build_args.get(name)
            if value is None and default is not None:
                value = _expanded(arg, default, values, watch)
            if value is not None:
                values[name] = value
    return Scope(values, frozenset(declared))


def resolve(
    arg: Arg,
    env: Mapping[str, str],
    build_args: Mapping[str, str],
    scope: Mapping[str, str],
    watch: Watch | None = None,
) -> tuple[tuple[str, str | None], ...]:
    """The values that the names of an ARG in a stage get: --build-arg, its default, the global one; or None.

    `env` is the environment of the stage with its earlier ARGs, for variables in the default; the names of
    the same ARG see each other. Raises DockerfileError.
    """
    env = dict(env)
    found: list[tuple[str, str | None]] = []
    for name, default in arg.args:
        if name in build_args:
            value: str | None = build_args[name]
        elif default is not None:
            value = _expanded(arg, default, env, watch)
        else:
            value = scope.get(name)
        if value is not None and name not in NOT_IN_ENVIRONMENT:
            env[name] = value
        found.append((name, value))
    return tuple(found)


def proxies(build_args: Mapping[str, str]) -> dict[str, str]:
    """For the environment of RUN, in upper and lower case, as programs look for either."""
    found = {}
    for name, value in build_args.items():
        if name.upper() in PROXIES:
            found[name.upper()] = found[name.lower()] = value
    return found


def unconsumed(script: Script, build_args: Mapping[str, str]) -> Sequence[str]:
    """Arguments that no ARG asks for: a warning, most often of a typing error."""
    declared = {name for arg in script.global_args for name, _ in arg.args}
    for stage in script.stages:
        declared |= {name for each in stage.instructions if isinstance(each, Arg) for name, _ in each.args}
    known = declared | {*PLATFORM_ARGS, *SETTINGS}
    return sorted(name for name in build_args if name not in known and name.upper() not in PROXIES)


def _expanded(arg: Arg, text: str, env: Mapping[str, str], watch: Watch | None) -> str:
    try:
        expansion = words.expand(text, env, arg.node.escape)
        words.check_total(env.values(), "the variables")
    except ExpansionError as error:
        raise arg.node.error(error.message, text) from None
    if watch is not None:
        watch(expansion)
    return expansion.text
