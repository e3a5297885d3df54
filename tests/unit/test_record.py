"""Frozen values without dataclasses: what they promise to their users."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from pyd.record import Record, field, fields, replace


class Point(Record):
    x: int
    y: int = 2
    names: dict[str, int] = field(default_factory=dict)


class Point3(Point):
    z: int = 3


class Named(Record, kw_only=True):
    name: str
    size: int = 0


def test_fields_and_defaults() -> None:
    assert fields(Point) == ("x", "y", "names")
    assert fields(Point3) == ("x", "y", "names", "z")
    point = Point(1)
    assert (point.x, point.y, point.names) == (1, 2, {})
    assert Point(1).names is not point.names
    assert Point3(1, 5, z=7).z == 7


@pytest.mark.parametrize(
    ("kind", "positional", "named", "said"),
    [
        (Point, (), {}, "Point needs x"),
        (Point, (1,), {"x": 2}, "two values for x"),
        (Point, (1, 2, {}, 4), {}, "4 positional arguments are too many"),
        (Point, (1,), {"w": 2}, "Point has no field w"),
        (Named, ("a",), {}, "1 positional arguments are too many"),
        (Named, (), {"size": 1}, "Named needs name"),
    ],
)
def test_wrong_arguments(
    kind: type[Record], positional: tuple[Any, ...], named: dict[str, Any], said: str
) -> None:
    with pytest.raises(TypeError, match=said):
        kind(*positional, **named)


def test_frozen() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match=r"Point\.x cannot be changed"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match=r"Point\.x cannot be deleted"):
        del point.x
    assert point.x == 1


def test_values_compare_by_their_fields() -> None:
    assert Named(name="a") == Named(name="a", size=0)
    assert Named(name="a") != Named(name="b")
    assert Point(1) != Point3(1)
    assert hash(Named(name="a")) == hash(Named(name="a"))
    assert repr(Named(name="a")) == "Named(name='a', size=0)"


def test_copies() -> None:
    point = Point(1, names={"a": 1})
    assert replace(point, y=5) == Point(1, 5, {"a": 1})
    assert copy.deepcopy(point) == point
    assert pickle.loads(pickle.dumps(point)) == point
    with pytest.raises(TypeError, match="no field w"):
        replace(point, w=1)
