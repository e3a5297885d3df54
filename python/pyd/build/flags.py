"""The flags of an instruction (`COPY --from=x`), by what the instruction takes."""

from __future__ import annotations

from collections.abc import Mapping

from pyd.build.parser import Node
from pyd.build.suggest import did_you_mean

_TRUTHS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


class Flags:
    """Values of flags that were given."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._switches: dict[str, bool] = {}

    @classmethod
    def of(cls, node: Node, known: Mapping[str, str]) -> Flags:
        """`known` has "bool", "text" or "texts" (may come again) for each name. Raises DockerfileError."""
        flags = cls()
        for flag in node.flags:
            name, equals, value = flag[2:].partition("=")
            kind = known.get(name)
            token = f"--{name}"
            if kind is None:
                raise node.error(
                    f"unknown flag: {token}{did_you_mean(token, (f'--{each}' for each in known))}", token
                )
            if kind == "bool":
                if name in flags._switches:
                    raise node.error(f"duplicate flag specified: {name}", token)
                flags._switches[name] = _truth(node, name, equals, value)
                continue
            if not equals:
                raise node.error(f"missing a value on flag: {name}", token)
            if kind == "text" and name in flags._texts:
                raise node.error(f"duplicate flag specified: {name}", token)
            flags._texts.setdefault(name, []).append(value)
        return flags

    def text(self, name: str, default: str = "") -> str:
        return self._texts.get(name, [default])[0]

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(self._texts.get(name, ()))

    def switch(self, name: str) -> bool | None:
        """None when not given."""
        return self._switches.get(name)


def _truth(node: Node, name: str, equals: str, value: str) -> bool:
    if not equals:
        return True
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not value:
        raise node.error(f"missing a value on flag: {name}", f"--{name}")
    raise node.error(f"expecting boolean value for flag {name}, not: {value}", f"--{name}")


def parse_bool(text: str) -> bool:
    """As Go's strconv.ParseBool. Raises ValueError."""
    if text.lower() not in _TRUTHS or text not in (text.lower(), text.upper(), text.title()):
        raise ValueError(f"{text!r} is neither true nor false")
    return _TRUTHS[text.lower()]
