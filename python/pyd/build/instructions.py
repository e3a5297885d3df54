"""Nodes to typed instructions in stages, as BuildKit's frontend/dockerfile/instructions."""

from __future__ import annotations

import re
from collections.abc import Callable

from pyd.build.expansion import expand
from pyd.build.flags import Flags
from pyd.build.forms import FORMS
from pyd.build.heredocs import is_file_name, is_heredoc
from pyd.build.kinds import (
    Add,
    Arg,
    Cmd,
    Content,
    Copy,
    Device,
    Entrypoint,
    Env,
    Expose,
    HealthCheck,
    Instruction,
    Label,
    Maintainer,
    Mount,
    OnBuild,
    Run,
    Script,
    Shell,
    Stage,
    StopSignal,
    Transfer,
    User,
    Volume,
    Workdir,
)
from pyd.build.mounts import MountError, outline, parse_device
from pyd.build.parser import Dockerfile, Node, parse
from pyd.build.suggest import did_you_mean
from pyd.build.words import SPACES

__all__ = [
    "Add", "Arg", "Cmd", "Content", "Copy", "Device", "Entrypoint", "Env", "Expose", "HealthCheck",
    "Instruction", "Label", "Maintainer", "Mount", "OnBuild", "Run", "Script", "Shell", "Stage", "StopSignal",
    "Transfer", "User", "Volume", "Workdir", "expand", "instruction", "interpret", "trigger",
]  # fmt: skip

_STAGE_NAME = r"[a-z][a-z0-9_.-]*"
_ONBUILD = rf"[{SPACES}]*ONBUILD[{SPACES}]*"
_NOT_BEHIND_ONBUILD = ("MAINTAINER", "FROM")
_MILLISECOND = 10**6
_TRANSFER = {"chown": "text", "chmod": "text", "link": "bool", "exclude": "texts"}


def interpret(dockerfile: Dockerfile) -> Script:
    """Raises DockerfileError, with the place of what is wrong."""
    global_args: list[Arg] = []
    stages: list[tuple[Node, list[Instruction]]] = []
    for node in dockerfile.nodes:
        if node.keyword == "FROM":
            stages.append((node, []))
            continue
        made = instruction(node)
        if stages:
            stages[-1][1].append(made)
        elif isinstance(made, Arg):
            global_args.append(made)
        else:
            raise node.error(
                "no build stage in current context", hint="the first instruction after ARG must be FROM"
            )
    if not stages:
        raise dockerfile.nodes[-1].error(
            "dockerfile contains no stages to build", hint="add a FROM instruction"
        )
    warnings = [f"{dockerfile.name}:{line}: empty continuation line" for line in dockerfile.empty_lines]
    return Script(
        tuple(global_args),
        tuple(_stage(node, index, tuple(inside)) for index, (node, inside) in enumerate(stages)),
        tuple(warnings),
    )


def instruction(node: Node) -> Instruction:
    """Any but FROM. Raises DockerfileError."""
    read = _READERS.get(node.keyword)
    if read is None:
        suggestion = did_you_mean(node.written, FORMS, any_case=True)
        raise node.error(f"unknown instruction: {node.written}{suggestion}")
    if any("\0" in word for word in (*node.words, *node.flags)):
        raise node.error(f"{node.keyword} has a null byte, which neither a path nor an argument can have")
    return read(node)


def trigger(text: str, base: str) -> Instruction:
    """The instruction of an ONBUILD of the image `base`; its errors name that. Raises DockerfileError."""
    dockerfile = parse(text.encode("utf-8", "surrogatepass"), f"ONBUILD of {base}")
    node = dockerfile.nodes[0]
    if len(dockerfile.nodes) != 1:
        raise dockerfile.nodes[1].error("onbuild trigger should be a single expression")
    _check_trigger(node, node)
    return instruction(node)


def describe(comments: tuple[str, ...], name: str) -> str:
    """The description of a stage or an argument: the comment above it that begins with its name."""
    if not name:
        return ""
    return next((line[len(name) + 1 :] for line in comments if line.startswith(f"{name} ")), "")


def _stage(node: Node, index: int, inside: tuple[Instruction, ...]) -> Stage:
    words = node.words
    name = ""
    if len(words) == 3 and words[1].lower() == "as":
        name = words[2].lower()
        if not re.fullmatch(_STAGE_NAME, name):
            reason = "name can't start with a number or contain symbols"
            raise node.error(f'invalid name for build stage: "{words[2]}", {reason}', words[2])
    elif len(words) != 1:
        raise node.error("FROM requires either one or three arguments", hint="FROM image [AS name]")
    platform = Flags.of(node, {"platform": "text"}).text("platform")
    return Stage(name, index, words[0], platform, inside, node, describe(node.comments, name))


def _at_least_one(node: Node) -> None:
    if not node.words:
        raise node.error(f"{node.keyword} requires at least one argument")


def _one(node: Node) -> str:
    if len(node.words) != 1:
        raise node.error(f"{node.keyword} requires exactly one argument")
    Flags.of(node, {})
    return node.words[0]


def _pairs(node: Node) -> tuple[tuple[str, str], ...]:
    Flags.of(node, {})
    _at_least_one(node)
    names, values = node.words[::3], node.words[1::3]
    if "" in names:
        raise node.error(f"{node.keyword} names can not be blank", "=")
    return tuple(zip(names, values, strict=True))


def _arg(node: Node) -> Arg:
    _at_least_one(node)
    Flags.of(node, {})
    found: list[tuple[str, str | None]] = []
    for word in node.words:
        name, equals, value = word.partition("=")
        if not name:
            raise node.error("ARG names can not be blank", word)
        found.append((name, value if equals else None))
    return Arg(node, tuple(found))


def _run(node: Node) -> Run:
    flags = Flags.of(node, {"mount": "texts", "network": "text", "security": "text", "device": "texts"})
    network = flags.text("network", "default")
    if network not in ("default", "none", "host"):
        raise node.error(f'invalid network mode "{network}"', f"--network={network}")
    security = flags.text("security", "sandbox")
    if security not in ("sandbox", "insecure"):
        raise node.error(f'security "{security}" is not valid', f"--security={security}")
    command, shell_form = _command(node)
    if node.heredocs and len(command) != 1:
        raise node.error("a here-document needs a command")
    try:
        mounts = tuple(outline(text) for text in flags.texts("mount"))
        devices = tuple(parse_device(text) for text in flags.texts("device"))
    except MountError as error:
        raise node.error(str(error), error.token) from None
    return Run(node, command, shell_form, node.heredocs, mounts, network, security, devices)


def _command(node: Node) -> tuple[tuple[str, ...], bool]:
    """(command, whether it is the shell form)"""
    return (node.words, False) if node.json else ((" ".join(node.words),) if node.words else (), True)


def _cmd(node: Node) -> Cmd:
    Flags.of(node, {})
    return Cmd(node, *_command(node))


def _entrypoint(node: Node) -> Entrypoint:
    Flags.of(node, {})
    return Entrypoint(node, *_command(node))


def _copy(node: Node) -> Copy:
    _needs_two(node)
    flags = Flags.of(node, {**_TRANSFER, "from": "text", "parents": "bool"})
    from_ = flags.text("from")
    if "$" in from_:
        raise node.error(
            "'from' doesn't support variable expansion, define alias stage instead",
            "--from",
            f"write FROM {from_} AS name further up, and COPY --from=name",
        )
    sources, dest, contents = _sources(node)
    return Copy(
        node, sources, dest, contents, from_, flags.text("chown"), flags.text("chmod"),
        link=bool(flags.switch("link")), parents=bool(flags.switch("parents")),
        excludes=flags.texts("exclude"),
    )  # fmt: skip


def _add(node: Node) -> Add:
    _needs_two(node)
    known = {**_TRANSFER, "keep-git-dir": "bool", "checksum": "text", "unpack": "bool"}
    flags = Flags.of(node, known)
    sources, dest, contents = _sources(node)
    return Add(
        node, sources, dest, contents, "", flags.text("chown"), flags.text("chmod"),
        link=bool(flags.switch("link")), excludes=flags.texts("exclude"), checksum=flags.text("checksum"),
        keep_git_dir=flags.switch("keep-git-dir"), unpack=flags.switch("unpack"),
    )  # fmt: skip


def _needs_two(node: Node) -> None:
    if len(node.words) < 2:
        raise node.error(
            f"{node.keyword} requires at least two arguments, but only one was provided. "
            "Destination could not be determined"
        )


def _sources(node: Node) -> tuple[tuple[str, ...], str, tuple[Content, ...]]:
    """(paths, destination, here-documents); in the JSON form every word is a path."""
    *words, dest = node.words
    if node.json:
        return tuple(words), dest, ()
    if is_heredoc(dest):
        raise node.error(f"{node.keyword} cannot accept a heredoc as a destination", dest)
    read = {heredoc.name: heredoc for heredoc in node.heredocs}
    paths: list[str] = []
    contents: list[Content] = []
    for word in words:
        heredoc = is_heredoc(word)
        if heredoc is None:
            paths.append(word)
            continue
        if heredoc.name not in read:
            raise node.error(f"the here-document {heredoc.name} has no contents", word)
        if not is_file_name(heredoc.name):
            raise node.error(
                f"a here-document that becomes a file cannot have the name {heredoc.name!r}", word
            )
        contents.append(Content(heredoc.name, read[heredoc.name].text, heredoc.expands))
    if len(contents) != len(node.heredocs):
        hint = "write <<NAME without a space before the name"
        raise node.error(f"{node.keyword} uses only {len(contents)} of its here-documents", "<<", hint)
    return tuple(paths), dest, tuple(contents)


def _expose(node: Node) -> Expose:
    _at_least_one(node)
    Flags.of(node, {})
    return Expose(node, tuple(sorted(node.words)))


def _volume(node: Node) -> Volume:
    _at_least_one(node)
    Flags.of(node, {})
    paths = tuple(word.strip(SPACES) for word in node.words)
    if "" in paths:
        raise node.error("VOLUME specified can not be an empty string")
    return Volume(node, paths)


def _shell(node: Node) -> Shell:
    Flags.of(node, {})
    _at_least_one(node)
    if not node.json:
        raise node.error("SHELL requires the arguments to be in JSON form", hint='SHELL ["/bin/sh", "-c"]')
    return Shell(node, node.words)


def _health_check(node: Node) -> HealthCheck:
    _at_least_one(node)
    kind, command = node.words[0].upper(), node.words[1:]
    names = ("interval", "timeout", "start-period", "start-interval", "retries")
    flags = Flags.of(node, dict.fromkeys(names, "text"))
    if kind == "NONE":
        if command or node.flags:
            raise node.error("HEALTHCHECK NONE takes no arguments")
        return HealthCheck(node, ("NONE",))
    if kind != "CMD":
        raise node.error(f'Unknown type "{kind}" in HEALTHCHECK (try CMD)', node.words[0])
    if not command:
        raise node.error("Missing command after HEALTHCHECK CMD")
    test = ("CMD", *command) if node.json else ("CMD-SHELL", " ".join(command))
    interval, timeout, period, start = (_time(node, flags, name) for name in names[:4])
    return HealthCheck(node, test, interval, timeout, period, start, _retries(node, flags))


def _time(node: Node, flags: Flags, name: str) -> int:
    text = flags.text(name)
    if not text:
        return 0
    from pyd.build.durations import nanoseconds

    try:
        value = nanoseconds(text)
    except ValueError as error:
        raise node.error(str(error), f"--{name}") from None
    if value and value < _MILLISECOND:
        raise node.error(f'Interval "{name}" cannot be less than 1ms', f"--{name}")
    return value


def _retries(node: Node, flags: Flags) -> int:
    text = flags.text("retries")
    if not text:
        return 0
    if not re.fullmatch(r"[+-]?[0-9]{1,10}", text) or int(text) >= 1 << 31:
        raise node.error(f"invalid number of retries: {text}", "--retries")
    if int(text) < 0:
        raise node.error(f"--retries cannot be negative ({int(text)})", "--retries")
    return int(text)


def _on_build(node: Node) -> OnBuild:
    if node.child is None:
        raise node.error("ONBUILD requires at least one argument")
    Flags.of(node, {})
    _check_trigger(node, node.child)
    instruction(node.child)
    expression = re.sub(_ONBUILD, "", node.original, count=1, flags=re.IGNORECASE)
    for heredoc in node.heredocs:
        expression += f"\n{heredoc.content}{heredoc.name}"
    return OnBuild(node, expression)


def _check_trigger(node: Node, child: Node) -> None:
    if child.keyword == "ONBUILD":
        raise node.error("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if child.keyword in _NOT_BEHIND_ONBUILD:
        raise node.error(f"{child.keyword} isn't allowed as an ONBUILD trigger")


_READERS: dict[str, Callable[[Node], Instruction]] = {
    "ADD": _add,
    "ARG": _arg,
    "CMD": _cmd,
    "COPY": _copy,
    "ENTRYPOINT": _entrypoint,
    "ENV": lambda node: Env(node, _pairs(node)),
    "EXPOSE": _expose,
    "HEALTHCHECK": _health_check,
    "LABEL": lambda node: Label(node, _pairs(node)),
    "MAINTAINER": lambda node: Maintainer(node, _one(node)),
    "ONBUILD": _on_build,
    "RUN": _run,
    "SHELL": _shell,
    "STOPSIGNAL": lambda node: StopSignal(node, _one(node)),
    "USER": lambda node: User(node, _one(node)),
    "VOLUME": _volume,
    "WORKDIR": lambda node: Workdir(node, _one(node)),
}
