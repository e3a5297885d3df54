"""WWW-Authenticate headers (RFC 9110, section 11.6.1): `Bearer realm="https://..",service="..",scope=".."`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - a token of the grammar, not a secret
_PARAMETER = re.compile(rf'\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))\s*(?:,|$)', re.ASCII)
_SCHEME = re.compile(rf"\s*,*\s*({_TOKEN})(?:\s+|\s*$)", re.ASCII)
_MAX = 8192


@dataclass(frozen=True, slots=True)
class Challenge:
    scheme: str  # lower case
    parameters: dict[str, str] = field(default_factory=dict)  # names in lower case


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """All challenges of the header; what cannot be understood ends the list."""
    text, position, found = header[:_MAX], 0, []
    while match := _SCHEME.match(text, position):
        position = match.end()
        parameters: dict[str, str] = {}
        while part := _PARAMETER.match(text, position):
            position = part.end()
            value = part[3] if part[2] is None else re.sub(r"\\(.)", r"\1", part[2])
            parameters.setdefault(part[1].lower(), value)
        found.append(Challenge(match[1].lower(), parameters))
    return tuple(found)
