"""Mounts of a RUN, for `Image.run(mounts=[...])`: each gives the value of one `--mount`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyd.errors import InvalidArgument

if TYPE_CHECKING:
    from pyd.build.image import Image


@dataclass(frozen=True, slots=True)
class Mount:
    """fields: key and value as in the Dockerfile. source: whose files a bind or cache mount shows."""

    fields: tuple[tuple[str, str], ...]
    source: Image | str | None = None

    def text(self, name: str) -> str:
        """`name`: how the Dockerfile calls `source`."""
        fields = [*self.fields, *((("from", name),) if name else ())]
        return ",".join(_quoted(f"{key}={value}") for key, value in fields)


def bind(source: str, target: str, *, from_: Image | str | None = None, readwrite: bool = False) -> Mount:
    """Files of the build context, or of another image, read-only; writes are thrown away with `readwrite`."""
    fields = [("type", "bind"), ("source", source), ("target", target)]
    return Mount((*fields, ("rw", "true")) if readwrite else tuple(fields), from_)


def cache(
    target: str,
    *,
    id: str = "",
    sharing: str = "shared",
    uid: int | None = None,
    gid: int | None = None,
    mode: int | None = None,
    from_: Image | str | None = None,
    source: str = "",
) -> Mount:
    """A directory that is kept between builds. sharing: shared, private or locked."""
    found = {
        "type": "cache",
        "target": target,
        "id": id,
        "sharing": sharing,
        "uid": "" if uid is None else str(uid),
        "gid": "" if gid is None else str(gid),
        "mode": "" if mode is None else f"{mode:04o}",
        "source": source,
    }
    return Mount(tuple((key, value) for key, value in found.items() if value), from_)


def tmpfs(target: str, *, size: int = 0) -> Mount:
    """`size`: bytes, 0 for no limit."""
    limit = (("size", str(size)),) if size else ()
    return Mount((("type", "tmpfs"), ("target", target), *limit))


def secret(
    id: str,
    target: str = "",
    *,
    env: str = "",
    required: bool = True,
    mode: int = 0o400,
    uid: int = 0,
    gid: int = 0,
) -> Mount:
    """A secret of the build as a file (default /run/secrets/ID), or as the variable `env`."""
    where = [("target", target)] if target else []
    where += [("env", env)] if env else []
    owner = (("mode", f"{mode:04o}"), ("uid", str(uid)), ("gid", str(gid)))
    return Mount((("type", "secret"), ("id", id), *where, ("required", str(required).lower()), *owner))


def agent(id: str = "default", *, required: bool = True) -> Mount:
    """The socket of an ssh agent."""
    return Mount((("type", "ssh"), ("id", id), ("required", str(required).lower())))


def _quoted(field: str) -> str:
    """CSV, in one word of a Dockerfile, in which variables are expanded."""
    if any(char in field for char in "\n\r\0 \t"):
        raise InvalidArgument(f"a mount cannot have blanks or line breaks in it: {field!r}")
    field = field.replace("\\", "\\\\").replace("$", "\\$")
    return f'"{field}"'.replace('""', '"') if "," in field else field
