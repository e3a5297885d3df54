"""A package, and its Package URL (github.com/package-url/purl-spec)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

_MOST = 300  # characters of a name or a version
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Package:
    """kind: as in the purl. license: as the package says it. place: the file that says that it is here."""

    kind: str
    name: str
    version: str
    purl: str
    place: str
    license: str = ""
    supplier: str = ""


def package(
    kind: str,
    name: str,
    version: str,
    place: str,
    *,
    namespace: str = "",
    qualifiers: Mapping[str, str] | None = None,
    license: str = "",
    supplier: str = "",
) -> Package | None:
    """None without a name."""
    name, version = clean(name), clean(version)
    if not name:
        return None
    space = "".join(f"{quote(part, safe='')}/" for part in clean(namespace).split("/") if part)
    made = f"pkg:{kind}/{space}{quote(name, safe='')}"
    if version:
        made += f"@{quote(version, safe=':')}"
    given = {key: clean(value) for key, value in sorted((qualifiers or {}).items())}
    if query := "&".join(f"{key}={quote(value, safe='')}" for key, value in given.items() if value):
        made += f"?{query}"
    shown = f"{clean(namespace)}/{name}" if kind == "npm" and namespace else name
    return Package(kind, shown, version, made, place, clean(license), clean(supplier))


def clean(text: str) -> str:
    """One line of bounded length, without what would steer a terminal."""
    return _CONTROL.sub("", text.strip())[:_MOST]
