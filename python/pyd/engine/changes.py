"""`--change`: Dockerfile instructions that set an image's defaults, applied to its config."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyd.build import config as build
from pyd.build.instructions import expand, instruction
from pyd.build.kinds import Cmd, Entrypoint, Instruction
from pyd.build.parser import Node, parse
from pyd.errors import InvalidArgument

_KNOWN = "CMD ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL ONBUILD STOPSIGNAL USER VOLUME WORKDIR".split()


def apply(config: dict[str, Any], changes: Sequence[str]) -> None:
    """Change the `config` object of an image config in place. Raises InvalidArgument."""
    has_cmd = False
    for change in changes:
        for node in parse(change.encode("utf-8", "surrogatepass"), "--change").nodes:
            if node.keyword not in _KNOWN:
                raise InvalidArgument(
                    f"{node.written} is not a valid change command", f"known are {', '.join(_KNOWN)}"
                )
            made = _read(node, config)
            config.update(_applied(config, made, has_cmd))
            has_cmd = has_cmd or isinstance(made, Cmd)


def _read(node: Node, config: dict[str, Any]) -> Instruction:
    env = dict(entry.partition("=")[::2] for entry in config.get("Env") or ())
    made = expand(instruction(node), env)
    # a build takes these for the shell form; given as an option they are rather a mistake
    if isinstance(made, Cmd | Entrypoint) and made.shell_form:
        if not made.command:
            raise node.error(f"{node.keyword} requires at least one argument")
        if made.command[0].startswith("["):
            raise node.error(f"{made.command[0]} is no list of strings in JSON", made.command[0])
    return made


def _applied(config: dict[str, Any], made: Instruction, has_cmd: bool) -> dict[str, Any]:
    new = build.apply(config, made, cmd_is_set=has_cmd)
    for key in config.keys() - new.keys():
        del config[key]
    if any(port.startswith("0/") for port in new.get("ExposedPorts") or ()):
        raise made.node.error("invalid containerPort: 0", hint="write a port from 1 to 65535")
    return new
