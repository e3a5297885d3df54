"""Functions of bake files for lists, sets and maps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

from pyd.build.bake.hcl_evaluate import calculate
from pyd.build.bake.hcl_syntax import Value
from pyd.build.bake.hcl_values import (
    equal,
    kind,
    to_int,
    to_list,
    to_map,
    to_number,
    to_text,
)

_MOST = 1024  # elements of a list that a function makes, as in go-cty


def _coalesce(first: Value, *rest: Value) -> Value:
    for value in (first, *rest):
        if value is not None and value != "":
            return value
    raise ValueError("no non-null arguments")


def _coalescelist(first: Value, *rest: Value) -> Value:
    for value in (first, *rest):
        if to_list(value):
            return value
    raise ValueError("no non-empty arguments")


def _concat(*lists: Value) -> Value:
    return [each for value in lists for each in to_list(value)]


def _contains(values: Value, wanted: Value) -> Value:
    return any(equal(each, wanted) for each in to_list(values))


def _distinct(values: Value) -> list[Value]:
    found: list[Value] = []
    for each in to_list(values):
        if not any(equal(each, known) for known in found):
            found.append(each)
    return found


def _element(values: Value, index: Value) -> Value:
    found = to_list(values)
    if not found:
        raise ValueError("the list is empty")
    return found[to_int(index) % len(found)]


def _flatten(values: Value) -> list[Value]:
    return [
        inner for each in to_list(values) for inner in (_flatten(each) if isinstance(each, list) else [each])
    ]


def _hasindex(values: Value, key: Value) -> Value:
    if isinstance(values, dict):
        return isinstance(key, str) and key in values
    return isinstance(key, int) and not isinstance(key, bool) and 0 <= key < len(to_list(values))


def _index(values: Value, key: Value) -> Value:
    if not _hasindex(values, key):
        raise ValueError("there is no such element")
    return values[key]


def _indexof(values: Value, wanted: Value) -> Value:
    for index, each in enumerate(to_list(values)):
        if equal(each, wanted):
            return index
    raise ValueError("item not found")


def _length(value: Value) -> Value:
    if isinstance(value, list | dict):
        return len(value)
    raise ValueError(f"a list or a map is needed, not {kind(value)}")


def _lookup(table: Value, key: Value, *default: Value) -> Value:
    found = to_map(table)
    if to_text(key) in found:
        return found[to_text(key)]
    if not default:
        raise ValueError(f'there is no key "{to_text(key)}"')
    return default[0]


def _merge(*tables: Value) -> Value:
    return {key: value for table in tables if table is not None for key, value in to_map(table).items()}


def _chunklist(values: Value, size: Value) -> Value:
    found, count = to_list(values), to_int(size)
    if count < 0:
        raise ValueError("the size must not be negative")
    return [found[at : at + count] for at in range(0, len(found), count)] if count else [found]


def _range(first: Value, *rest: Value) -> Value:
    numbers = [to_number(each) for each in (first, *rest)]
    start, end = (0, numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])
    step = numbers[2] if len(numbers) > 2 else 1 if end >= start else -1
    if not step or (end - start) * step < 0:
        raise ValueError("the step leads nowhere")
    found: list[Value] = []
    while (start < end) if step > 0 else (start > end):
        found.append(start)
        start = calculate("+", start, step)
        if len(found) > _MOST:
            raise ValueError(f"more than {_MOST} elements")
    return found


def _slice(values: Value, start: Value, end: Value) -> Value:
    found, first, last = to_list(values), to_int(start), to_int(end)
    if not 0 <= first <= last <= len(found):
        raise ValueError(f"{first} to {last} is not within a list of {len(found)}")
    return found[first:last]


def _setproduct(*sets: Value) -> Value:
    lists = [to_list(each) for each in sets]
    if math.prod(map(len, lists)) > _MOST:
        raise ValueError(f"more than {_MOST} elements")
    return [list(each) for each in itertools.product(*lists)]


def _sets(keep: Callable[[Value, list[list[Value]]], bool]) -> Callable[..., Value]:
    def called(first: Value, *rest: Value) -> Value:
        sets = [to_list(each) for each in (first, *rest)]
        return _ordered(_distinct([each for values in sets for each in values if keep(each, sets)]))

    return called


def _ordered(values: list[Value]) -> list[Value]:
    """Sets have the order of their strings."""
    return sorted(values) if all(isinstance(each, str) for each in values) else values


def _in(value: Value, values: list[Value]) -> bool:
    return any(equal(value, each) for each in values)


def _zipmap(keys: Value, values: Value) -> Value:
    names, found = to_list(keys), to_list(values)
    if len(names) != len(found):
        raise ValueError("there are not as many values as keys")
    return dict(zip(map(to_text, names), found, strict=True))


def _list(function: Callable[[list[Value]], Value]) -> Callable[..., Value]:
    def called(values: Value) -> Value:
        return function(to_list(values))

    return called


def _map(function: Callable[[dict[str, Value]], Value]) -> Callable[..., Value]:
    def called(table: Value) -> Value:
        return function(to_map(table))

    return called


FUNCTIONS: dict[str, Callable[..., Value]] = {
    "chunklist": _chunklist,
    "coalesce": _coalesce,
    "coalescelist": _coalescelist,
    "compact": _list(lambda values: [each for each in values if each not in (None, "")]),
    "concat": _concat,
    "contains": _contains,
    "distinct": _distinct,
    "element": _element,
    "flatten": _flatten,
    "hasindex": _hasindex,
    "index": _index,
    "indexof": _indexof,
    "keys": _map(sorted),
    "length": _length,
    "lookup": _lookup,
    "merge": _merge,
    "range": _range,
    "reverselist": _list(lambda values: values[::-1]),
    "sethaselement": _contains,
    "setintersection": _sets(lambda value, sets: all(_in(value, each) for each in sets)),
    "setproduct": _setproduct,
    "setsubtract": _sets(
        lambda value, sets: _in(value, sets[0]) and not any(_in(value, each) for each in sets[1:])
    ),
    "setsymmetricdifference": _sets(lambda value, sets: sum(_in(value, each) for each in sets) % 2 == 1),
    "setunion": _sets(lambda value, sets: True),
    "slice": _slice,
    "sort": _list(lambda values: sorted(map(to_text, values))),
    "values": _map(lambda table: [table[key] for key in sorted(table)]),
    "zipmap": _zipmap,
}
