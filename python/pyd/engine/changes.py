"""`--change`: Dockerfile instructions that set an image's defaults, applied to its config."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

from pyd.errors import InvalidArgument

_KNOWN = "CMD ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL ONBUILD STOPSIGNAL USER VOLUME WORKDIR".split()
_UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def apply(config: dict[str, Any], changes: Sequence[str]) -> None:
    """Change the `config` object of an image config in place. Raises InvalidArgument."""
    has_cmd = False
    for change in changes:
        word, _, rest = change.strip().partition(" ")
        name, rest = word.upper(), rest.strip()
        if name not in _KNOWN:
            raise InvalidArgument(f"{word} is not a valid change command", f"known are {', '.join(_KNOWN)}")
        if not rest:
            raise InvalidArgument(f"{name} requires at least one argument")
        if name == "ENTRYPOINT" and not has_cmd:
            config.pop("Cmd", None)  # it was meant for another entrypoint
        has_cmd = has_cmd or name == "CMD"
        try:
            _apply(config, name, rest)
        except ValueError as error:
            raise InvalidArgument(f"--change {change!r}: {error}") from None


def _apply(config: dict[str, Any], name: str, rest: str) -> None:
    if name in ("CMD", "ENTRYPOINT"):
        config["Cmd" if name == "CMD" else "Entrypoint"] = _command(rest)
    elif name == "ENV":
        old = list(config.get("Env", ()))
        for key, value in _pairs(rest):
            old = [entry for entry in old if not entry.startswith(f"{key}=")] + [f"{key}={value}"]
        config["Env"] = old
    elif name == "LABEL":
        config.setdefault("Labels", {}).update(_pairs(rest))
    elif name == "EXPOSE":
        ports = config.setdefault("ExposedPorts", {})
        ports.update({_port(word): {} for word in rest.split()})
    elif name == "VOLUME":
        paths = _json_list(rest) if rest.startswith("[") else shlex.split(rest)
        config.setdefault("Volumes", {}).update({path: {} for path in paths})
    elif name == "WORKDIR":
        base = config.get("WorkingDir") or "/"
        config["WorkingDir"] = rest if rest.startswith("/") else f"{base.rstrip('/')}/{rest}"
    elif name == "ONBUILD":
        config.setdefault("OnBuild", []).append(rest)
    elif name == "HEALTHCHECK":
        config["Healthcheck"] = _health(rest)
    else:
        config["User" if name == "USER" else "StopSignal"] = rest


def _command(text: str) -> list[str]:
    return _json_list(text) if text.startswith("[") else ["/bin/sh", "-c", text]


def _json_list(text: str) -> list[str]:
    value = json.loads(text)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("not a list of strings")
    return value


def _pairs(text: str) -> list[tuple[str, str]]:
    """`a=b c="d e"`, or the old form `a b c` with one pair."""
    words = shlex.split(text)
    if "=" not in words[0]:
        key, space, value = text.partition(" ")
        if not space:
            raise ValueError(f"{key} needs a value: write {key}=value")
        return [(key, value.strip())]
    found = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ValueError(f"{word!r} is not of the form name=value")
        found.append((key, value))
    return found


def _port(word: str) -> str:
    number, _, protocol = word.partition("/")
    protocol = protocol.lower() or "tcp"
    first, _, last = number.partition("-")
    for part in (first, last or first):
        if not (part.isascii() and part.isdigit() and 0 < int(part) < 65536):
            raise ValueError(f"invalid port {word!r}")
    if protocol not in ("tcp", "udp", "sctp"):
        raise ValueError(f"invalid protocol in {word!r}")
    return f"{number}/{protocol}"


def _health(text: str) -> dict[str, Any]:
    if text.upper() == "NONE":
        return {"Test": ["NONE"]}
    made: dict[str, Any] = {}
    names = {
        "interval": "Interval",
        "timeout": "Timeout",
        "start-period": "StartPeriod",
        "retries": "Retries",
    }
    while text.startswith("--"):
        option, _, text = text.partition(" ")
        name, _, value = option[2:].partition("=")
        if name not in names:
            raise ValueError(f"unknown option --{name}")
        made[names[name]] = int(value) if name == "retries" else _duration(value)
        text = text.lstrip()
    kind, _, rest = text.partition(" ")
    if kind.upper() != "CMD" or not rest.strip():
        raise ValueError("HEALTHCHECK takes CMD or NONE")
    rest = rest.strip()
    made["Test"] = ["CMD", *_json_list(rest)] if rest.startswith("[") else ["CMD-SHELL", rest]
    return made


def _duration(text: str) -> int:
    """Nanoseconds of 30s, 1m30s, 500ms."""
    import re

    if not re.fullmatch(r"(\d+(ns|us|ms|s|m|h))+", text):
        raise ValueError(f"invalid duration {text!r}")
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)(ns|us|ms|s|m|h)", text))
