"""JSON that no library writes: the same key twice, numbers beyond all types, broken escapes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass
class Raw:
    """Written as it is."""

    text: str


class Pairs(list[tuple[str, Any]]):
    """An object whose keys may come twice."""


def pairs(document: Any) -> Any:
    """Dicts, all the way down, as Pairs."""
    if isinstance(document, dict):
        return Pairs((key, pairs(value)) for key, value in document.items())
    if isinstance(document, list):
        return [pairs(item) for item in document]
    return document


def written(document: Any) -> str:
    """Not recursive where it counts: nesting that is too deep is Raw."""
    if isinstance(document, Raw):
        return document.text
    if isinstance(document, Pairs):
        return "{" + ",".join(f"{_string(key)}:{written(value)}" for key, value in document) + "}"
    if isinstance(document, list):
        return "[" + ",".join(written(item) for item in document) + "]"
    if isinstance(document, str):
        return _string(document)
    return json.dumps(document)


def _string(text: str) -> str:
    return json.dumps(text)
