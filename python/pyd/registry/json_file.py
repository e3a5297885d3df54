"""A JSON file that others write too: every key is kept, in its order, and what is damaged is left alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pyd.errors import InvalidArgument
from pyd.registry import private_file


def read(path: str) -> dict[str, Any]:
    """The object in the file, empty when there is none. Raises InvalidArgument when it is damaged."""
    data = private_file.read(path)
    return {} if data is None or not data.strip() else _parse(path, data)


def change(path: str, edit: Callable[[dict[str, Any]], None], *, mode: int | None = 0o600) -> None:
    """Let `edit` change the object, and replace the file if it did. Nothing is written when it raises.

    `mode`: of the file from then on; None keeps what it has.
    """
    with private_file.changing(path) as target:
        data = private_file.read(target)
        document = {} if data is None or not data.strip() else _parse(path, data)
        before = json.dumps(document)
        edit(document)
        if data is None or json.dumps(document) != before:
            private_file.replace(target, _written(path, document), mode)


def _parse(path: str, data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        cause = "nested too deeply" if isinstance(error, RecursionError) else error
        raise InvalidArgument(f"{path} is not valid JSON: {cause}", f"correct or remove {path}") from None
    if not isinstance(document, dict):
        raise InvalidArgument(f"{path} must hold a JSON object", f"correct or remove {path}")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        # writing it back would lose one of them
        twice = next(key for index, (key, _) in enumerate(pairs) if key in dict(pairs[:index]))
        raise ValueError(f"the key {twice!r} is there twice")
    return made


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def _written(path: str, document: dict[str, Any]) -> bytes:
    """As Docker writes it: tabs, no line break at the end."""
    try:
        text = json.dumps(document, indent="\t", ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise InvalidArgument(f"{path} holds a number that is too large to be kept") from None
    try:
        return text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can name and UTF-8 cannot
        return json.dumps(document, indent="\t", allow_nan=False).encode()
