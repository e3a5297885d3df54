"""What the instructions without files do to the `config` object of an image config."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from pyd.build.kinds import (
    Cmd,
    Entrypoint,
    Env,
    Expose,
    HealthCheck,
    Instruction,
    Label,
    OnBuild,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from pyd.build.words import check_total
from pyd.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_SHELL = ("/bin/sh", "-c")

Config = dict[str, "Any"]


def apply(config: Mapping[str, Any], instruction: Instruction, *, cmd_is_set: bool = False) -> Config:
    """A new config after an expanded instruction; the old one stays as it is. Raises DockerfileError.

    `cmd_is_set` says that the same stage has had a CMD: ENTRYPOINT then leaves it, while a CMD of the base
    image was meant for another entrypoint and goes. MAINTAINER sets the author of the image, which stands
    beside the config; RUN, COPY, ADD and ARG change nothing here.
    """
    new = dict(config)
    try:
        _apply(new, instruction, cmd_is_set)
    except InvalidArgument as error:
        raise instruction.node.error(error.message, hint=error.hint) from None
    return new


def _apply(config: Config, instruction: Instruction, cmd_is_set: bool) -> None:
    match instruction:
        case Env():
            config["Env"] = with_env(config.get("Env") or (), instruction.pairs)
        case Label():
            labels = {**(config.get("Labels") or {}), **dict(instruction.pairs)}
            check_total(labels.values(), "the labels")
            config["Labels"] = labels
        case Expose():
            from pyd.build.ports import parse_exposed

            exposed: Config = dict(config.get("ExposedPorts") or {})
            for text in instruction.ports:
                exposed |= {port: {} for port in parse_exposed(text).ports}
            config["ExposedPorts"] = exposed
        case Volume():
            volumes: Config = {path: {} for path in instruction.paths}
            config["Volumes"] = {**(config.get("Volumes") or {}), **volumes}
        case User():
            config["User"] = instruction.user
        case Workdir():
            config["WorkingDir"] = working_directory(config.get("WorkingDir") or "", instruction.path)
        case Shell():
            config["Shell"] = list(instruction.shell)
        case StopSignal():
            from pyd.runtime.signals import signal_number

            signal_number(instruction.signal)
            config["StopSignal"] = instruction.signal
        case HealthCheck():
            config["Healthcheck"] = _health(instruction)
        case Cmd():
            config["Cmd"] = command(instruction, config)
        case Entrypoint():
            config["Entrypoint"] = command(instruction, config)
            if not config["Entrypoint"]:
                del config["Entrypoint"]  # ENTRYPOINT [] takes that of the base image away
            if not cmd_is_set:
                config.pop("Cmd", None)
        case OnBuild():
            config["OnBuild"] = [*(config.get("OnBuild") or ()), instruction.expression]


def command(instruction: Cmd | Entrypoint, config: Mapping[str, Any]) -> list[str]:
    """The shell form behind the shell of the image."""
    if not instruction.shell_form:
        return list(instruction.command)
    return [*shell(config), " ".join(instruction.command)]


def shell(config: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(config.get("Shell") or DEFAULT_SHELL)


def with_env(env: Any, pairs: tuple[tuple[str, str], ...]) -> list[str]:
    """A name that is there keeps its place. Raises InvalidArgument when there is too much of it."""
    entries = list(env)
    places = {entry.partition("=")[0]: index for index, entry in reversed(list(enumerate(entries)))}
    for name, value in pairs:
        entry = f"{name}={value}"
        if name in places:
            entries[places[name]] = entry
        else:
            places[name] = len(entries)
            entries.append(entry)
    check_total(entries, "the variables")
    return entries


def working_directory(current: str, path: str) -> str:
    """Absolute and clean; a relative path is below the current one."""
    return posixpath.normpath("/" + posixpath.join(current or "/", path)).replace("//", "/", 1)


def _health(check: HealthCheck) -> Config:
    times = {
        "Interval": check.interval,
        "Timeout": check.timeout,
        "StartPeriod": check.start_period,
        "StartInterval": check.start_interval,
        "Retries": check.retries,
    }
    return {"Test": list(check.test), **{key: value for key, value in times.items() if value}}
