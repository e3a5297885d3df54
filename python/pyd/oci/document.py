"""JSON from strangers: bounded, without duplicate keys, and of the types that were asked for.

A document that two readers understand differently is an attack (CVE-2021-41190): so duplicate keys, NaN,
nesting bombs and wrong types are errors here, not surprises later.
"""

from __future__ import annotations

import json

from pyd.errors import CorruptData

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_MANIFEST = 4 * 1024 * 1024  # the distribution spec's limit for manifests; configs get the same


def parse(data: bytes, what: str, limit: int = MAX_MANIFEST) -> dict[str, Any]:
    """The JSON object in `data`; `what` names it in errors. At most `limit` bytes."""
    if len(data) > limit:
        raise CorruptData(f"{what} is larger than {limit} bytes")
    try:
        document = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
        if b"\\u" in data:
            # half of a surrogate pair is in no text that could be stored, shown or sent
            json.dumps(document, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise CorruptData(f"{what} is nested too deeply") from None
    except ValueError as error:  # JSONDecodeError, UnicodeDecodeError and our own below are all ValueErrors
        raise CorruptData(f"{what} is not valid JSON: {error}") from None
    if not isinstance(document, dict):
        raise CorruptData(f"{what} is not a JSON object")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an object has the same key twice")
    return result


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not allowed")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError("a number is too large")
    return value


def shown(text: str) -> str:
    """A value from a document in a message: quoted, without what would steer a terminal, not too long."""
    return repr(text if len(text) <= 100 else text[:97] + "...")


class Fields:
    """Typed access to one JSON object. JSON null counts as absent, as it does in Go.

    Go takes `Layers` and `LAYERS` for `layers`, others do not: an object with a known key in another
    spelling, or in two, is refused.
    """

    __slots__ = ("_document", "_spellings", "_what")

    def __init__(self, document: Any, what: str) -> None:
        if not isinstance(document, dict):
            raise CorruptData(f"{what} is not a JSON object")
        self._document = document
        self._what = what
        self._spellings = {name.casefold(): name for name in document}
        if len(self._spellings) != len(document):
            raise CorruptData(f"{what}: two keys differ only in case")

    def __contains__(self, key: str) -> bool:
        return self._find(key) is not None

    def _find(self, key: str) -> Any:
        value = self._document.get(key)
        if value is None:
            spelling = self._spellings.get(key.casefold(), key)
            if spelling != key:
                raise CorruptData(f"{self._what}: {key} is written as {shown(spelling)}")
        return value

    def _take(self, key: str, kind: type, name: str) -> Any:
        value = self._find(key)
        if value is None:
            return None
        # bool is an int in Python, and a size of `true` is not a size
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise CorruptData(f"{self._what}: {key} is not {name}")
        return value

    def text(self, key: str, default: str = "") -> str:
        value = self._take(key, str, "a string")
        return default if value is None else str(value)

    def need_text(self, key: str) -> str:
        value = self.text(key)
        if not value:
            raise CorruptData(f"{self._what}: {key} is missing")
        return value

    def number(self, key: str, default: int = 0) -> int:
        value = self._take(key, int, "an integer")
        return default if value is None else int(value)

    def flag(self, key: str) -> bool:
        return bool(self._take(key, bool, "true or false"))

    def fields(self, key: str) -> Fields:
        """The object under `key`; an empty one when it is absent."""
        return Fields(self._take(key, dict, "an object") or {}, f"{self._what}: {key}")

    def items(self, key: str) -> list[Any]:
        return list(self._take(key, list, "a list") or ())

    def texts(self, key: str) -> tuple[str, ...]:
        values = self.items(key)
        if not all(isinstance(value, str) for value in values):
            raise CorruptData(f"{self._what}: {key} is not a list of strings")
        return tuple(values)

    def text_map(self, key: str) -> dict[str, str]:
        values = self._take(key, dict, "an object") or {}
        if not all(isinstance(value, str) for value in values.values()):
            raise CorruptData(f"{self._what}: {key} is not an object of strings")
        return dict(values)

    def names(self, key: str) -> tuple[str, ...]:
        """The keys of a Go `map[string]struct{}` (ExposedPorts, Volumes)."""
        return tuple(self._take(key, dict, "an object") or ())


def encode(document: dict[str, Any]) -> bytes:
    """As documents are stored and sent: its digest depends on it."""
    # a name of a file may be no UTF-8; JSON is
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "backslashreplace")
