"""WWW-Authenticate headers: `Bearer realm="https://..",service=".."` (RFC 7235, sections 2.1 and 4.1).

One header may hold several challenges, and a comma separates challenges as well as parameters: what has a
`=` after its first word belongs to the challenge before, what has none begins the next. Several headers are
joined by commas, which RFC 7230 calls the same thing.
"""

from __future__ import annotations

import re

from pyd.record import Record, field

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - a token of the grammar, not a secret
_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_SCHEME = re.compile(rf"[\s,]*({_TOKEN})(?=\s|,|$)", re.ASCII)
_PARAMETER = re.compile(rf"[\s,]*({_TOKEN})\s*=\s*(?:{_QUOTED}|({_TOKEN}))\s*(?=,|$)", re.ASCII | re.DOTALL)
_TOKEN68 = re.compile(r"\s+[0-9A-Za-z._~+/-]+=*\s*(?=,|$)", re.ASCII)  # of Negotiate and NTLM
_MAX = 8192


class Challenge(Record):
    scheme: str  # lower case
    parameters: dict[str, str] = field(default_factory=dict)  # names in lower case; the first of each counts


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """All challenges of the header; what cannot be understood ends the list."""
    text, position, found = header[:_MAX], 0, []
    while match := _SCHEME.match(text, position):
        position = match.end()
        parameters: dict[str, str] = {}
        while part := _PARAMETER.match(text, position):
            position = part.end()
            value = part[3] if part[2] is None else re.sub(r"\\(.)", r"\1", part[2], flags=re.DOTALL)
            parameters.setdefault(part[1].lower(), value)
        if not parameters and (blob := _TOKEN68.match(text, position)):
            position = blob.end()
        found.append(Challenge(match[1].lower(), parameters))
    return tuple(found)
