"""`created_by` in the history of an image: what `docker history` shows, with BuildKit's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyd.build.kinds import (
    Add,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    HealthCheck,
    Instruction,
    Label,
    Maintainer,
    OnBuild,
    Shell,
    StopSignal,
    Transfer,
    User,
    Volume,
    Workdir,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MOST_PORTS = 1000  # BuildKit names all of 0-65535 one by one
COMMENT = "buildkit.dockerfile.v0"  # what tools look for to know that a Dockerfile made the image


def created_by(instruction: Instruction, config: Mapping[str, Any]) -> str:
    """Of an expanded instruction; `config` is the one that it led to. For RUN see `of_run`, for ARG `of_arg`.

    "" for ONBUILD, which has no entry.
    """
    match instruction:
        case Env() | Label():
            return " ".join((instruction.keyword, *(f"{name}={value}" for name, value in instruction.pairs)))
        case Copy() | Add():
            return _transfer(instruction)
        case Workdir():
            return f"WORKDIR {config['WorkingDir']}"
        case Cmd():
            return f"CMD {_list(config['Cmd'])}"
        case Entrypoint():
            return f"ENTRYPOINT {_list(config.get('Entrypoint') or ())}"
        case Expose():
            return _ports(instruction)
        case Volume():
            return f"VOLUME [{' '.join(instruction.paths)}]"
        case Shell():
            return f"SHELL [{' '.join(instruction.shell)}]"
        case User():
            return f"USER {instruction.user}"
        case StopSignal():
            return f"STOPSIGNAL {instruction.signal}"
        case Maintainer():
            return f"MAINTAINER {instruction.maintainer}"
        case HealthCheck():
            return f"HEALTHCHECK {_health(instruction)}"
        case OnBuild():
            return ""
    return instruction.text


def of_run(args: Sequence[str], build_args: Mapping[str, str]) -> str:
    """`RUN |2 A=1 B=2 /bin/sh -c make # buildkit`, with the build arguments that are in scope."""
    scope = [f"|{len(build_args)}", *(f"{name}={value}" for name, value in build_args.items())]
    return " ".join(("RUN", *(scope if build_args else ()), *args, "# buildkit"))


def of_arg(values: Sequence[tuple[str, str | None]]) -> str:
    """Of an ARG with the values that its names have got."""
    return " ".join(("ARG", *(name if value is None else f"{name}={value}" for name, value in values)))


def _transfer(copy: Transfer) -> str:
    words = [copy.keyword]
    if copy.parents:
        words.append("--parents")
    if copy.chown:
        words.append(f"--chown={copy.chown}")
    if copy.chmod:
        words.append(f"--chmod={copy.chmod}")
    words += copy.sources
    words += (f"<<{content.name}" for content in copy.contents)
    return " ".join((*words, copy.dest, "# buildkit"))


def _ports(expose: Expose) -> str:
    from pyd.build.ports import parse_exposed

    found = [parse_exposed(text).ports for text in expose.ports]
    if sum(map(len, found)) > _MOST_PORTS:
        return expose.text
    return f"EXPOSE [{' '.join(port for ports in found for port in ports)}]"


def _health(check: HealthCheck) -> str:
    """As Go writes the struct."""
    from pyd.build.durations import written

    times = (check.interval, check.timeout, check.start_period, check.start_interval)
    texts = " ".join(f'"{written(time)}"' for time in times)
    retries = repr(chr(check.retries)) if check.retries < 0xD800 else r"'\ufffd'"  # %q of a number
    return f"&{{{_list(check.test)} {texts} {retries}}}"


def _list(words: Sequence[str]) -> str:
    return f"[{' '.join(_quoted(word) for word in words)}]"


def _quoted(word: str) -> str:
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return '"' + "".join(char if char.isprintable() else repr(char)[1:-1] for char in text) + '"'
