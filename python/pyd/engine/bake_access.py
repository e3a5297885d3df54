"""What a bake file may reach. It may come from somebody else, and names files of this host as contexts,
secrets and outputs; so what lies outside of the working directory has to be allowed (--allow), as in buildx.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pyd.errors import InvalidArgument
from pyd.record import Record

if TYPE_CHECKING:
    from pyd.build.request import BuildRequest

READ, WRITE = "fs.read", "fs.write"
_ENTITLEMENTS = ("network.host", "security.insecure")
_REMOTE = ("docker-image://", "target:", "http://", "https://", "git://", "ssh://", "git@")


class Access(Record):
    """What a target wants. `path` is absolute, or "" for what is no path."""

    kind: str  # fs.read, fs.write, ssh, or an entitlement
    path: str = ""

    @property
    def flag(self) -> str:
        return f"{self.kind}={self.path}" if self.path else self.kind

    @property
    def words(self) -> str:
        if self.path:
            return f"{'Read' if self.kind == READ else 'Write'} access to path {self.path}"
        return {"ssh": "Forwarding default SSH agent socket"}.get(self.kind, f"Entitlement {self.kind}")


def missing(
    requests: Mapping[str, BuildRequest], allowed: Sequence[str], environ: Mapping[str, str]
) -> list[Access]:
    """What is wanted and not allowed, each once. BUILDX_BAKE_ENTITLEMENTS_FS=0 allows all paths.

    Raises InvalidArgument for an --allow that is not known.
    """
    given = _given(allowed)
    found: dict[Access, None] = {}
    for request in requests.values():
        for one in wanted(request):
            if not _is_allowed(one, given, environ):
                found[one] = None
    return list(found)


def wanted(request: BuildRequest) -> Iterator[Access]:
    """Each path with its links resolved: a link in the working directory leads anywhere."""
    for name in request.allow:
        yield Access(name)
    if request.network == "host":
        yield Access("network.host")
    if request.context != "-" and not request.context.startswith(_REMOTE):
        yield _read(request.context)
        if request.dockerfile not in ("", "-"):
            yield _read(os.path.join(request.context, request.dockerfile))
    elif os.path.isabs(request.dockerfile):
        yield _read(request.dockerfile)
    for value in request.build_contexts.values():
        path = value.removeprefix("oci-layout://")
        if not path.startswith(_REMOTE):
            yield _read(path if os.path.exists(path) else path.partition("@")[0])
    for text in request.secrets:
        fields = _fields(text)
        path = fields.get("src") or fields.get("source") or ("" if "env" in fields else fields.get("id", ""))
        if (
            fields.get("type") != "env"
            and path
            and ("src" in fields or "source" in fields or os.path.exists(path))
        ):
            yield _read(path)
    for text in request.ssh:
        _, _, paths = text.partition("=")
        if not paths:
            yield Access("ssh")
        yield from map(_read, filter(None, paths.split(",")))
    for text in request.volumes:
        yield Access(WRITE, os.path.realpath(text.partition(":")[0]))
    for text in (*request.cache_from, *request.cache_to, *request.outputs):
        fields = _fields(text)
        if text in request.outputs and "=" not in text and text != "-":
            fields = {"dest": text}
        if fields.get("src"):
            yield _read(fields["src"])
        if fields.get("dest", "-") != "-":
            yield Access(WRITE, os.path.realpath(fields["dest"]))


def _read(path: str) -> Access:
    return Access(READ, os.path.realpath(path))


def _fields(text: str) -> dict[str, str]:
    return dict(field.strip().split("=", 1) for field in text.split(",") if "=" in field)


def _given(allowed: Sequence[str]) -> list[tuple[str, str]]:
    """(kind, path) with "*" for any path."""
    found = []
    for text in allowed:
        kind, _, path = text.partition("=")
        kinds = {"fs": (READ, WRITE), READ: (READ,), WRITE: (WRITE,)}.get(kind, ())
        if kinds and path:
            found += [(one, path if path == "*" else os.path.realpath(path)) for one in kinds]
        elif not kinds and kind in (*_ENTITLEMENTS, "ssh") and not path:
            found.append((kind, ""))
        else:
            known = f"{', '.join(_ENTITLEMENTS)}, ssh, fs=DIR, fs.read=DIR and fs.write=DIR"
            raise InvalidArgument(f"invalid entitlement {text!r}", f"known are {known}")
    return found


def _is_allowed(one: Access, given: Sequence[tuple[str, str]], environ: Mapping[str, str]) -> bool:
    if not one.path:
        return (one.kind, "") in given
    if environ.get("BUILDX_BAKE_ENTITLEMENTS_FS", "").lower() in ("0", "f", "false"):
        return True
    tops = [os.getcwd(), *(path for kind, path in given if kind == one.kind)]
    return any(top in ("*", one.path) or one.path.startswith(f"{top.rstrip('/')}/") for top in tops)
