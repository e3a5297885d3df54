"""`--cache-to` and `--cache-from`: caches of builds that travel (docker/buildx, util/buildflags/cache.go).

type=registry,ref=NAME[,mode=max][,mounts=true]   a name alone is the same
type=local,dest=DIR                               src=DIR to read it; an OCI image layout
type=inline                                       in the image itself, for what leads to its layers
"""

from __future__ import annotations

from collections.abc import Sequence

from pyd.build.outputs import COMPRESSIONS, fields_of, flag, pairs
from pyd.errors import InvalidArgument, NotSupported
from pyd.oci.reference import Reference
from pyd.record import Record

_OTHERS = ("gha", "s3", "azblob")
_EXPORT = frozenset(("mode", "mounts", "compression", "compression-level", "ignore-error")) | {
    *("oci-mediatypes", "image-manifest", "force-compression"),
}
_TO = {
    "registry": _EXPORT | {"ref", "registry.insecure"},
    "local": _EXPORT | {"dest", "tag"},
    "inline": frozenset[str](),
}
_FROM = {
    "registry": frozenset(("ref", "registry.insecure")),
    "local": frozenset(("src", "tag", "digest")),
}


class CacheTarget(Record, kw_only=True):
    """mode: min, the steps that lead to the result's layers, or max, all. mounts: what `--mount=type=cache`
    has kept, too.
    """

    type: str
    place: str = ""  # a canonical reference, or a directory
    tag: str = "latest"  # in a directory
    mode: str = "min"
    mounts: bool = False
    compression: str = "gzip"
    level: int | None = None
    ignore_error: bool = False
    insecure: bool = False


class CacheSource(Record, kw_only=True):
    type: str
    place: str
    name: str = ""  # tag or digest in a directory; "" for the only one
    insecure: bool = False

    def __str__(self) -> str:
        return self.place


def targets(texts: Sequence[str]) -> tuple[CacheTarget, ...]:
    """Raises InvalidArgument, or NotSupported for caches of services."""
    return tuple(_target(text) for text in texts if text)


def sources(texts: Sequence[str]) -> tuple[CacheSource, ...]:
    return tuple(_source(text) for text in texts if text)


def _target(text: str) -> CacheTarget:
    kind, values = _split(text, _TO, "cache export")
    if kind == "inline":
        return CacheTarget(type=kind)
    place = _reference(values) if kind == "registry" else values.get("dest", "")
    if not place:
        raise InvalidArgument("a local cache export needs a directory", "type=local,dest=DIR")
    mode = values.get("mode", "min").lower()
    if mode not in ("min", "max"):
        raise InvalidArgument(f"invalid mode {mode!r} of a cache export", "mode=min or mode=max")
    compression = values.get("compression", "gzip")
    if compression not in COMPRESSIONS:
        raise InvalidArgument(
            f"unsupported compression type {compression!r}", f"known are {', '.join(COMPRESSIONS)}"
        )
    for key in ("oci-mediatypes", "image-manifest"):
        if not flag(values, key, True):
            raise NotSupported(f"{key}=false: a cache is an OCI manifest", f"leave {key} out")
    if flag(values, "force-compression", False) and "compression" not in values:
        raise InvalidArgument("force-compression needs a compression")
    text = values.get("compression-level", "")
    if text and not (text.isascii() and text.isdigit() and 0 < int(text[:3]) < 23):
        raise InvalidArgument(f"invalid compression-level {text!r}")
    return CacheTarget(
        type=kind,
        place=place,
        tag=values.get("tag", "latest"),
        mode=mode,
        mounts=flag(values, "mounts", mode == "max"),
        compression=compression,
        level=int(text) if text else None,
        ignore_error=flag(values, "ignore-error", False),
        insecure=flag(values, "registry.insecure", False),
    )


def _source(text: str) -> CacheSource:
    kind, values = _split(text, _FROM, "cache import")
    if kind == "registry":
        return CacheSource(
            type=kind, place=_reference(values), insecure=flag(values, "registry.insecure", False)
        )
    if not values.get("src"):
        raise InvalidArgument("a local cache import needs a directory", "type=local,src=DIR")
    return CacheSource(type=kind, place=values["src"], name=values.get("digest", values.get("tag", "")))


def _split(text: str, known: dict[str, frozenset[str]], what: str) -> tuple[str, dict[str, str]]:
    fields = fields_of(text)
    if all("=" not in field for field in fields):
        return "registry", {"ref": text}
    values = pairs(fields)
    kind = values.pop("type", "")
    if not kind:
        raise InvalidArgument(f"type required for {text!r}", "type=registry,ref=NAME")
    if kind in _OTHERS:
        raise NotSupported(f"{what} of type {kind} is not supported", f"use one of type {' or '.join(known)}")
    if kind not in known:
        raise InvalidArgument(f"unknown {what} type {kind!r}", f"known are {', '.join(known)}")
    if unknown := sorted(values.keys() - known[kind]):
        keys = ", ".join(sorted(known[kind])) or "none"
        raise InvalidArgument(f"unknown key {unknown[0]!r} of {what} type {kind}", f"known are {keys}")
    return kind, values


def _reference(values: dict[str, str]) -> str:
    if not values.get("ref"):
        raise InvalidArgument("a registry cache needs a name", "type=registry,ref=NAME")
    return Reference.parse(values["ref"]).with_default_tag().canonical
