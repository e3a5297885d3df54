"""Frozen values with named fields, as of `dataclass(frozen=True)`, for what the hot commands import.

`dataclasses` imports `inspect` and with it ast, dis and tokenize, and compiles four methods for every class:
10 of the 47 ms of `pyd ps`. Here one set of methods serves all classes; type checkers see no difference.

`typing` is two milliseconds more. What the hot commands import therefore has `TYPE_CHECKING = False`, which
type checkers take for true as they do typing's own, and imports typing below it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar, TypeVar, dataclass_transform

    T = TypeVar("T")
    R = TypeVar("R", bound="Record")
else:

    def dataclass_transform(**_):
        return lambda cls: cls


class _Made:
    """The default of a field whose value is made anew for every record."""

    __slots__ = ("factory",)

    def __init__(self, factory: Callable[[], Any]) -> None:
        self.factory = factory


def field(*, default_factory: Callable[[], T]) -> T:
    """The default of a field that is a dict or another value that must not be shared."""
    made: Any = _Made(default_factory)
    return made  # type: ignore[no-any-return]


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Record:
    """Base of frozen values: annotations are the fields, class attributes their defaults.

    `class X(Record, kw_only=True)` takes its fields by name only.
    """

    _fields: ClassVar[tuple[str, ...]] = ()
    _defaults: ClassVar[dict[str, Any]] = {}
    _made: ClassVar[dict[str, Callable[[], Any]]] = {}
    _positional: ClassVar[bool] = True

    def __init_subclass__(cls, *, kw_only: bool = False) -> None:
        own = tuple(
            name
            for name, kind in cls.__annotations__.items()
            if name not in cls._fields and not kind.startswith("ClassVar")
        )
        cls._fields = (*cls._fields, *own)
        cls._positional = not kw_only
        cls._defaults, cls._made = dict(cls._defaults), dict(cls._made)
        for name in own:
            if name in cls.__dict__:
                value = cls.__dict__[name]
                if isinstance(value, _Made):
                    cls._made[name] = value.factory
                    delattr(cls, name)
                else:
                    cls._defaults[name] = value

    if not TYPE_CHECKING:  # the checker makes one of its own from the fields

        def __init__(self, *values: Any, **named: Any) -> None:
            cls, own = type(self), self.__dict__
            own.update(cls._defaults)
            if values:
                if not cls._positional or len(values) > len(cls._fields):
                    raise TypeError(f"{cls.__name__}: {len(values)} positional arguments are too many")
                given = dict(zip(cls._fields, values, strict=False))
                if twice := given.keys() & named.keys():
                    raise TypeError(f"{cls.__name__}: two values for {', '.join(sorted(twice))}")
                own.update(given)
            own.update(named)
            for name, factory in cls._made.items():
                if name not in own:
                    own[name] = factory()
            if len(own) != len(cls._fields) or not named.keys() <= set(cls._fields):
                if unknown := own.keys() - set(cls._fields):
                    raise TypeError(f"{cls.__name__} has no field {', '.join(sorted(unknown))}")
                missing = [name for name in cls._fields if name not in own]
                raise TypeError(f"{cls.__name__} needs {', '.join(missing)}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed: the record is frozen")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be deleted: the record is frozen")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__[name] for name in self._fields))

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={self.__dict__[name]!r}" for name in self._fields)
        return f"{type(self).__name__}({values})"

    def __replace__(self: R, **changes: Any) -> R:
        """For copy.replace of Python 3.13."""
        return type(self)(**{**self.__dict__, **changes})


def fields(cls: type[Record]) -> tuple[str, ...]:
    """The names of the fields, in their order."""
    return cls._fields


def replace(record: R, **changes: Any) -> R:
    """The same record with other values in these fields."""
    return record.__replace__(**changes)
