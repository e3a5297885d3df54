"""Values of HCL and how they become one another (zclconf/go-cty, package convert)."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation

from pyd.build.bake.hcl_scanner import whole
from pyd.build.bake.hcl_syntax import Value

_MAX_TEXT = 16 << 20  # characters; templates in loops must not fill the memory


def to_text(value: Value) -> str:
    """Raises ValueError for what is no text, number or bool."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    raise ValueError(f"a string is needed, not {kind(value)}")


def to_number(value: Value) -> int | Decimal:
    if isinstance(value, str):
        try:
            return whole(Decimal(value.strip()))
        except InvalidOperation:
            raise ValueError("a number is needed") from None
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return value
    raise ValueError(f"a number is needed, not {kind(value)}")


def to_bool(value: Value) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "1") and isinstance(value, str):
        return True
    if value in ("false", "0") and isinstance(value, str):
        return False
    raise ValueError(f"a bool is needed, not {kind(value)}")


def to_int(value: Value) -> int:
    number = to_number(value)
    if not isinstance(number, int):
        raise ValueError("a whole number is needed")
    return number


def to_list(value: Value) -> list[Value]:
    """Of an object its values, by key."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        return [value[key] for key in sorted(value)]
    raise ValueError(f"a list is needed, not {kind(value)}")


def to_map(value: Value) -> dict[str, Value]:
    if isinstance(value, dict):
        return value
    raise ValueError(f"a map is needed, not {kind(value)}")


def items(value: Value) -> Iterator[tuple[Value, Value]]:
    """(index or key, element) in HCL's order: objects by key."""
    if isinstance(value, list):
        return iter(list(enumerate(value)))
    if isinstance(value, dict):
        return iter([(key, value[key]) for key in sorted(value)])
    raise ValueError(f"a list or a map is needed, not {kind(value)}")


def equal(one: Value, other: Value) -> bool:
    """Values of different kinds are never equal: 1 is not true, and "1" is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return isinstance(one, bool) and isinstance(other, bool) and one == other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return bool(one == other)


def kind(value: Value) -> str:
    """For messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a bool"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, int | Decimal):
        return "a number"
    return "a list" if isinstance(value, list) else "a map"


def bounded(text: str) -> str:
    if len(text) > _MAX_TEXT:
        raise ValueError(f"a string of more than {_MAX_TEXT} characters")
    return text
