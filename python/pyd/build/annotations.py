"""Annotations of what a build exports: `--annotation` and the `annotation` keys of `--output`.

    [TYPE[,TYPE…]:]KEY=VALUE            --annotation (docker/buildx, util/buildflags/export.go)
    annotation[-TYPE][[PLATFORM]].KEY   --output (moby/buildkit, exporter/containerimage/exptypes)

A TYPE is manifest (the default), index, manifest-descriptor or index-descriptor, and may have a platform in
brackets: manifest[linux/amd64].
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pyd.errors import InvalidArgument
from pyd.oci.platform import Platform
from pyd.record import Record

TYPES = ("manifest", "index", "manifest-descriptor", "index-descriptor")
_TYPE = r"([a-z-]+)(?:\[([A-Za-z0-9_/-]+)\])?"
_ATTRIBUTE = r"annotation(?:-([a-z-]+))?(?:\[([A-Za-z0-9_/-]+)\])?\.(\S+)"


class Annotation(Record):
    type: str
    platform: Platform | None  # None: of all
    key: str
    value: str


class Annotations(Record):
    entries: tuple[Annotation, ...] = ()

    def of(self, kind: str, platform: Platform | None = None) -> dict[str, str]:
        """Those of one type, sorted; those for this platform win over those for all."""
        found = {
            entry.key: entry.value
            for entry in sorted(self.entries, key=lambda entry: entry.platform is not None)
            if entry.type == kind and entry.platform in (None, platform)
        }
        return dict(sorted(found.items()))

    def has(self, kind: str) -> bool:
        return any(entry.type == kind for entry in self.entries)

    def __add__(self, other: Annotations) -> Annotations:
        return Annotations((*self.entries, *other.entries))


NONE = Annotations()


def parse(texts: Iterable[str]) -> Annotations:
    """The values of `--annotation`. Raises InvalidArgument."""
    entries: list[Annotation] = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InvalidArgument(f"invalid annotation {text!r}, expected key=value")
        types, colon, key = name.partition(":")
        if not colon:
            entries.append(_annotation("manifest", "", name, value))
            continue
        for one in types.split(","):
            match = re.fullmatch(_TYPE, one, re.ASCII)
            if not match:
                raise InvalidArgument(
                    f"invalid annotation type {one!r}, expected type and optional platform in square brackets"
                )
            entries.append(_annotation(match[1], match[2] or "", key, value))
    return Annotations(tuple(entries))


def of_attribute(name: str, value: str) -> Annotation | None:
    """The annotation that a key of `--output` gives; None for another key."""
    match = re.fullmatch(_ATTRIBUTE, name, re.ASCII)
    return _annotation(match[1] or "manifest", match[2] or "", match[3], value) if match else None


def _annotation(kind: str, platform: str, key: str, value: str) -> Annotation:
    if kind not in TYPES:
        raise InvalidArgument(f"unknown annotation type {kind!r}", f"known are {', '.join(TYPES)}")
    if not key:
        raise InvalidArgument("an annotation has no key")
    if platform and kind.startswith("index"):
        raise InvalidArgument(f"an annotation of type {kind} has no platform")
    return Annotation(kind, Platform.parse(platform) if platform else None, key, value)
