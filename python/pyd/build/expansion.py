"""Variables in the fields of an instruction: in those that BuildKit expands and in no others.

RUN, CMD and ENTRYPOINT are left to their shell; of RUN only the values of --mount are expanded. ARG is
expanded where its value is needed (`arguments.resolve`): a default that is not used may be wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pyd.build import words
from pyd.build.kinds import (
    Content,
    Env,
    Expose,
    Instruction,
    Label,
    Run,
    StopSignal,
    Transfer,
    User,
    Volume,
    Workdir,
)
from pyd.build.mounts import MountError, parse_mount
from pyd.build.words import Expansion, ExpansionError
from pyd.record import replace

_LABEL_LIMIT = 1 << 20  # characters of one value; some tools keep whole documents there
_CONTENT_LIMIT = 1 << 23  # characters of a here-document after its expansion

Watch = Callable[[Expansion], object]


def expand(instruction: Instruction, env: Mapping[str, str], watch: Watch | None = None) -> Instruction:
    """The instruction with the variables of `env` in its fields, and checked. Raises DockerfileError.

    `watch` is told of each expansion: which names it used and which it did not find.
    """
    try:
        return _expand(instruction, _Expander(env, instruction.node.escape, watch))
    except ExpansionError as error:
        raise instruction.node.error(error.message) from None
    except MountError as error:
        raise instruction.node.error(str(error), error.token) from None


class _Expander:
    def __init__(self, env: Mapping[str, str], escape: str, watch: Watch | None) -> None:
        self._env, self._escape, self._watch = env, escape, watch

    def __call__(self, text: str, limit: int = words.LONGEST) -> str:
        return self._told(words.expand(text, self._env, self._escape, limit=limit)).text

    def all(self, texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(self(text) for text in texts)

    def split(self, text: str) -> tuple[str, ...]:
        return self._told(words.expand(text, self._env, self._escape, split=True)).words

    def content(self, content: Content) -> Content:
        r"""Quotes are text there, and the escape is always `\`."""
        if not content.expands:
            return content
        found = words.expand(content.text, self._env, ignore_quotes=True, limit=_CONTENT_LIMIT)
        return replace(content, text=self._told(found).text)

    def _told(self, expansion: Expansion) -> Expansion:
        if self._watch is not None:
            self._watch(expansion)
        return expansion


def _expand(instruction: Instruction, expander: _Expander) -> Instruction:
    match instruction:
        case Env() | Label():
            limit = words.LONGEST if isinstance(instruction, Env) else _LABEL_LIMIT
            pairs = tuple((expander(name), expander(value, limit)) for name, value in instruction.pairs)
            if any(not name or (isinstance(instruction, Env) and "=" in name) for name, _ in pairs):
                raise instruction.node.error(f"{instruction.keyword} names can not be blank or have a =")
            return replace(instruction, pairs=pairs)
        case Transfer():
            return replace(
                instruction,
                chown=expander(instruction.chown),
                chmod=expander(instruction.chmod),
                checksum=expander(instruction.checksum),
                excludes=expander.all(instruction.excludes),
                sources=expander.all(instruction.sources),
                dest=expander(instruction.dest),
                contents=tuple(expander.content(content) for content in instruction.contents),
            )
        case Run():
            return replace(
                instruction, mounts=tuple(parse_mount(mount.raw, expander) for mount in instruction.mounts)
            )
        case Workdir():
            return replace(instruction, path=expander(instruction.path))
        case User():
            return replace(instruction, user=expander(instruction.user))
        case StopSignal():
            return replace(instruction, signal=expander(instruction.signal))
        case Volume():
            paths = expander.all(instruction.paths)
            if "" in paths:
                raise instruction.node.error("VOLUME specified can not be an empty string")
            return replace(instruction, paths=paths)
        case Expose():
            ports = tuple(port for text in instruction.ports for port in expander.split(text))
            return replace(instruction, ports=ports)
    return instruction
