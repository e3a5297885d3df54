"""The documents as Go's encoding/json reads them into the structs of the image spec: Docker, skopeo.

Keys match without regard to case (with Unicode's simple folding: the Kelvin sign is a k), the last one
wins, null leaves what was there, unknown keys are passed over.
"""

from __future__ import annotations

import json
from typing import Any

from tests.hostile.manifests.text import Pairs


class Unreadable(Exception):
    pass


def read(data: bytes) -> Any:
    """Objects as Pairs. Raises Unreadable for what is no JSON for Go either."""
    try:
        text = data.decode("utf-8", "replace")
        return json.loads(text, object_pairs_hook=Pairs, parse_constant=_no)
    except (ValueError, RecursionError) as error:
        raise Unreadable(str(error)) from None


def _no(name: str) -> Any:
    raise ValueError(name)


def field(document: Any, name: str) -> Any:
    """The value of a struct's field; None when absent."""
    if not isinstance(document, Pairs):
        raise Unreadable(f"no object around {name}")
    found = None
    for key, value in document:
        if key.casefold() == name.casefold() and value is not None:
            found = value
    return found


def text(document: Any, name: str) -> str:
    value = field(document, name)
    if value is not None and not isinstance(value, str):
        raise Unreadable(f"{name} is no string")
    # what is no Unicode becomes U+FFFD
    return "" if value is None else "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in value)


def texts(document: Any, name: str) -> list[str]:
    value = field(document, name)
    if value is None:
        return []
    if (
        not isinstance(value, list)
        or isinstance(value, Pairs)
        or not all(isinstance(item, str) for item in value)
    ):
        raise Unreadable(f"{name} is no list of strings")
    return list(value)


def text_map(document: Any, name: str) -> dict[str, str]:
    value = field(document, name)
    if value is None:
        return {}
    if not isinstance(value, Pairs):
        raise Unreadable(f"{name} is no object")
    return dict(value)


def number(document: Any, name: str) -> int:
    value = field(document, name)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int):
        raise Unreadable(f"{name} is no integer")
    return value


def items(document: Any, name: str) -> list[Any]:
    value = field(document, name)
    if value is None:
        return []
    if isinstance(value, Pairs) or not isinstance(value, list):
        raise Unreadable(f"{name} is no list")
    return value


def descriptor(document: Any) -> tuple[str, str, int]:
    return text(document, "mediaType"), text(document, "digest"), number(document, "size")
