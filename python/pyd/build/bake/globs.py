"""Names of targets by patterns: Go's path.Match for names without slashes."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from pyd.errors import InvalidArgument


def is_pattern(text: str) -> bool:
    return any(letter in text for letter in "*?[]")


def matching(pattern: str, names: Sequence[str], what: str) -> list[str]:
    """Raises InvalidArgument when there is none."""
    if pattern in names:
        return [pattern]
    # Go writes [^a] where fnmatch writes [!a]
    found = fnmatch.filter(names, pattern.replace("[^", "[!")) if is_pattern(pattern) else []
    if not found:
        raise InvalidArgument(f"could not find any {what} matching '{pattern}'")
    return found
