"""--filter: the same key twice means either, different keys mean both."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from pyd.errors import InvalidArgument
from pyd.sizes import parse_seconds


def parse(texts: Iterable[str]) -> dict[str, list[str]]:
    """["status=exited", "label=a=b"] to {"status": ["exited"], "label": ["a=b"]}."""
    result: dict[str, list[str]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InvalidArgument(f"bad format of filter (expected name=value): {text!r}")
        key = name.strip().lower()
        if key.endswith("!"):
            key = f"{key[:-1]}!"
        result.setdefault(key, []).append(value.strip())
    return result


def check_names(filters: Mapping[str, object], known: Sequence[str]) -> None:
    for name in filters:
        if name not in known:
            raise InvalidArgument(f"invalid filter '{name}'", f"known filters: {', '.join(known)}")


def label_matches(wanted: Iterable[str], labels: Mapping[str, str]) -> bool:
    """Every "key" or "key=value" is there. Labels are the one filter whose repetition means both, as in
    Docker.
    """
    for text in wanted:
        name, equals, value = text.partition("=")
        if name not in labels or (equals and labels[name] != value):
            return False
    return True


def moment(text: str) -> float:
    """Seconds since the epoch of a time stamp, a Unix time, or a duration before now ("10m")."""
    from pyd.runtime.logs import seconds

    try:
        return seconds(text)
    except ValueError:
        pass
    try:
        value = float(text) if text.replace(".", "", 1).isdigit() else None
    except ValueError:
        value = None
    if value is not None:
        return value
    try:
        return time.time() - parse_seconds(text)
    except ValueError:
        raise InvalidArgument(
            f"invalid time {text!r}: give a time stamp (RFC 3339 or Unix) or a duration like 10m"
        ) from None
