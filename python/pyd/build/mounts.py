"""`RUN --mount=...` and `RUN --device=...`: fields in CSV, with BuildKit's defaults and rules."""

from __future__ import annotations

import re
from collections.abc import Callable

from pyd.build.flags import parse_bool
from pyd.build.kinds import Device, Mount
from pyd.build.suggest import did_you_mean
from pyd.sizes import parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
SHARINGS = ("shared", "private", "locked")
_KEYS = (
    "type", "from", "source", "target", "readonly", "id", "sharing", "required", "size", "mode", "uid", "gid",
    "src", "dst", "destination", "ro", "rw", "readwrite", "env",
)  # fmt: skip
_MOST = 0xFFFFFFFF
_QUOTED = r'"((?:[^"]|"")*)"(?=,|$)'


class MountError(ValueError):
    """`token` is the part of the text that is meant."""

    def __init__(self, message: str, token: str = "") -> None:
        super().__init__(message)
        self.token = token


def outline(text: str) -> Mount:
    """What is needed before variables are known: `from`, and the values without variables. Raises MountError.

    The graph of stages is made of it; what is wrong in the other fields is said by `parse_mount`.
    """
    known: dict[str, Any] = {}
    for field in fields(text):
        key, _, value = field.partition("=")
        key = key.lower()
        if key == "from":
            if re.search(r"\$.", value):
                message = "'from' doesn't support variable expansion, define alias stage instead"
                raise MountError(message, field)
            known["from_"] = value
        elif "$" not in value:
            if key == "type" and value.lower() in TYPES:
                known["type"] = value.lower()
            elif key in ("source", "src"):
                known["source"] = value
            elif key in ("target", "dst", "destination"):
                known["target"] = value
            elif key in ("id", "env"):
                known[key] = value
    return Mount(text, **known)


def parse_mount(text: str, expand: Callable[[str], str]) -> Mount:
    """Raises MountError, and what `expand` raises."""
    known: dict[str, Any] = {"type": "bind"}
    readonly: bool | None = None
    for field in fields(text):
        key, equals, value = field.partition("=")
        key = key.lower()
        if equals:
            value = expand(value)
        elif key in ("readonly", "ro", "readwrite", "rw", "required"):
            value = "true"
        else:
            raise MountError(f"invalid field '{field}' must be a key=value pair", field)
        try:
            match key:
                case "type":
                    known["type"] = _one_of("mount type", value, TYPES)
                case "from":
                    known["from_"] = value
                case "source" | "src":
                    known["source"] = value
                case "target" | "dst" | "destination":
                    known["target"] = value
                case "readonly" | "ro":
                    readonly = _bool(key, value)
                case "readwrite" | "rw":
                    readonly = not _bool(key, value)
                case "required":
                    _only(key, known["type"], "secret", "ssh")
                    known["required"] = _bool(key, value)
                case "size":
                    _only(key, known["type"], "tmpfs")
                    known["size"] = _size(value)
                case "env":
                    _only(key, known["type"], "secret")
                    known["env"] = value
                case "id":
                    known["id"] = value
                case "sharing":
                    known["sharing"] = _one_of("sharing value", value, SHARINGS)
                case "mode" | "uid" | "gid":
                    known[key] = _number(key, value)
                case _:
                    raise MountError(f"unexpected key '{key}' in '{field}'{did_you_mean(key, _KEYS)}")
        except MountError as error:
            raise MountError(str(error), field) from None
    if readonly is None:
        readonly = known["type"] not in ("cache", "tmpfs")
    mount = Mount(text, readonly=readonly, **known)
    _check(mount)
    return mount


def _check(mount: Mount) -> None:
    if mount.type not in ("secret", "ssh", "cache"):
        for key in ("mode", "uid", "gid"):
            if getattr(mount, key) is not None:
                raise MountError(f'{key} not allowed for "{mount.type}" type mounts')
    if mount.type == "secret":
        if mount.from_:
            raise MountError("secret mount should not have a from")
        if mount.sharing:
            raise MountError("secret mount should not define sharing")
        if not (mount.source or mount.target or mount.id):
            raise MountError("invalid secret mount. one of source, target required")
        if mount.source and mount.id:
            raise MountError("both source and id can't be set")
    if mount.sharing and mount.type != "cache":
        raise MountError(f"invalid cache sharing set for {mount.type} mount")


def parse_device(text: str) -> Device:
    """`vendor/class=name,required`, or name=...,required=true. Raises MountError."""
    name, required = "", False
    for field in fields(text):
        key, equals, value = field.partition("=")
        key = key.lower()
        if key == "required":
            required = _bool(key, value) if equals else True
        elif key == "name" and equals:
            if name:
                raise MountError(f"device name already set to {name}", field)
            name = value
        elif not name:
            name = field
        elif equals:
            suggestion = did_you_mean(key, ("name", "required"))
            raise MountError(f"unexpected key '{key}' in '{field}'{suggestion}", field)
        else:
            raise MountError(f"invalid field '{field}' must be a key=value pair", field)
    return Device(name, required)


def fields(text: str) -> list[str]:
    """One record of CSV as Go's encoding/csv reads it: quotes only around a field. Raises MountError."""
    if not text:
        raise MountError("failed to parse csv: it is empty")
    found, at = [], 0
    while True:
        if text.startswith('"', at):
            match = re.compile(_QUOTED).match(text, at)
            if match is None:
                raise MountError('failed to parse csv: extraneous or missing " in quoted-field', text[at:])
            found.append(match[1].replace('""', '"'))
            at = match.end()
        else:
            end = text.find(",", at)
            field = text[at:] if end < 0 else text[at:end]
            if '"' in field:
                raise MountError('failed to parse csv: bare " in non-quoted-field', field)
            found.append(field)
            at += len(field)
        if at >= len(text):
            return found
        at += 1  # the comma


def _one_of(what: str, value: str, known: tuple[str, ...]) -> str:
    if value.lower() not in known:
        raise MountError(f'unsupported {what} "{value}"{did_you_mean(value, known)}')
    return value.lower()


def _only(key: str, kind: str, *kinds: str) -> None:
    if kind not in kinds:
        raise MountError(f"unexpected key '{key}' for mount type '{kind}'")


def _bool(key: str, value: str) -> bool:
    try:
        return parse_bool(value)
    except ValueError:
        raise MountError(f"invalid value for {key}: {value}") from None


def _size(value: str) -> int:
    try:
        size = parse_size(value)
    except ValueError:
        size = -1
    if size < 0:
        raise MountError(f"invalid value for size: {value}")
    return size


def _number(key: str, value: str) -> int:
    digits = "01234567" if key == "mode" else "0123456789"
    if not value or len(value) > 20 or value.strip(digits):
        raise MountError(f"invalid value {value} for {key}")
    number = int(value, 8 if key == "mode" else 10)
    if number > _MOST:
        raise MountError(f"invalid value {value} for {key}")
    return number
