"""Go's durations, as HEALTHCHECK has them: "1m30s", "1.5h", "500ms"."""

from __future__ import annotations

import re

_UNITS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_PART = r"([0-9]{0,20})(?:\.([0-9]{0,20}))?(ns|us|µs|μs|ms|s|m|h)?"
_MOST = (1 << 63) - 1


def nanoseconds(text: str) -> int:
    """Raises ValueError with Go's words."""
    sign = -1 if text.startswith("-") else 1
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0
    total, at = 0, 0
    while at < len(rest) or not rest:
        match = re.compile(_PART).match(rest, at)
        if match is None or not (match[1] or match[2]):
            raise ValueError(f'time: invalid duration "{text[:60]}"')
        if not match[3]:
            raise ValueError(f'time: missing unit in duration "{text[:60]}"')
        unit = _UNITS[match[3]]
        fraction = match[2] or ""
        total += int(match[1] or 0) * unit + int(fraction or 0) * unit // 10 ** len(fraction)
        if total > _MOST:
            raise ValueError(f'time: invalid duration "{text[:60]}"')
        at = match.end()
    return sign * total


def written(nanoseconds: int) -> str:
    """As Go writes a duration: "1m30s", "0s", "1.5ms"."""
    if nanoseconds < 0:
        return f"-{written(-nanoseconds)}"
    for unit, size in (("ns", 1), ("µs", 10**3), ("ms", 10**6)):
        if 0 < nanoseconds < size * 1000:
            return f"{_decimal(nanoseconds, size)}{unit}"
    minutes, rest = divmod(nanoseconds, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    before = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{before}{_decimal(rest, 10**9)}s"


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    digits = f"{rest:0{len(str(unit)) - 1}d}".rstrip("0") if rest else ""
    return f"{whole}.{digits}" if digits else str(whole)
