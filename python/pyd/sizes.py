"""Sizes and durations as people write and read them."""

from __future__ import annotations

import re

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
# patterns are compiled at their first use: most commands need none
_SIZE = r"(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?"
_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)"


def parse_size(text: str) -> int:
    """Bytes of "64m", "1.5g", "100kb", "1GiB"; "-1" is -1. Units are binary, as in Docker's options.

    Raises ValueError.
    """
    if text == "-1":
        return -1
    match = re.fullmatch(_SIZE, text.strip(), re.IGNORECASE | re.ASCII)
    if match is None:
        raise ValueError(f"invalid size: '{text}'")
    number, unit = match[1], _UNITS[match[2].lower()]
    value = int(float(number) * unit) if "." in number else int(number) * unit
    if value >= 1 << 63:
        raise ValueError(f"invalid size: '{text}' is too large")
    return value


def parse_seconds(text: str) -> float:
    """Seconds of Go's durations ("1h30m", "1.5s", "100ms"); a bare number is seconds. Raises ValueError."""
    if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
        return float(text)
    if not text or re.sub(_DURATION, "", text, flags=re.ASCII):
        raise ValueError(f"invalid duration: '{text}'")
    return sum(float(number) * _SECONDS[unit] for number, unit in re.findall(_DURATION, text, re.ASCII))


def decimal_size(count: float, digits: int = 3) -> str:
    """ "1.45MB", "312B": decimal units, as Docker shows images and disk use."""
    return _human(count, 1000.0, ("B", "kB", "MB", "GB", "TB", "PB"), digits)


def binary_size(count: float) -> str:
    """ "1.387GiB": binary units, as `stats` shows memory."""
    return _human(count, 1024.0, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"), 4)


def _human(count: float, base: float, units: tuple[str, ...], digits: int) -> str:
    index = 0
    while count >= base and index < len(units) - 1:
        count /= base
        index += 1
    return f"{count:.{digits}g}{units[index]}"
