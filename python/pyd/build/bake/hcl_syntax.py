"""The parts of an HCL file: bodies with attributes and blocks, and expressions.

The language is HashiCorp's HCL 2 ("HCL Native Syntax Specification"), as bake files use it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from pyd.errors import InvalidArgument

Value = Any  # None, bool, str, int, Decimal, list or dict with str keys


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands, for messages: "docker-bake.hcl:12:3"."""

    file: str
    line: int  # 1-based, as is the column
    column: int

    def error(self, message: str, hint: str | None = None) -> InvalidArgument:
        return InvalidArgument(f"{self}: {message}", hint)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Expression:
    place: Place


@dataclass(frozen=True, slots=True)
class Literal(Expression):
    value: bool | str | int | Decimal | None


@dataclass(frozen=True, slots=True)
class Template(Expression):
    """Text with interpolations; a single interpolation alone gives its value as it is."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Choice(Expression):
    """`%{ if }` of a template."""

    condition: Expression
    then: Template
    otherwise: Template


@dataclass(frozen=True, slots=True)
class Loop(Expression):
    """`%{ for }` of a template."""

    key: str
    value: str
    collection: Expression
    body: Template


@dataclass(frozen=True, slots=True)
class Name(Expression):
    name: str


@dataclass(frozen=True, slots=True)
class Index(Expression):
    """`of.name` and `of[key]`."""

    of: Expression
    key: Expression


@dataclass(frozen=True, slots=True)
class Splat(Expression):
    """`of[*].rest`; `rest` is applied to the name "" for each element."""

    of: Expression
    rest: Expression


@dataclass(frozen=True, slots=True)
class Call(Expression):
    name: str
    arguments: tuple[Expression, ...]
    spread: bool  # the last is a list of arguments: f(a...)


@dataclass(frozen=True, slots=True)
class Unary(Expression):
    operator: str
    operand: Expression


@dataclass(frozen=True, slots=True)
class Binary(Expression):
    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Conditional(Expression):
    condition: Expression
    then: Expression
    otherwise: Expression


@dataclass(frozen=True, slots=True)
class ListOf(Expression):
    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class ObjectOf(Expression):
    items: tuple[tuple[Expression, Expression], ...]


@dataclass(frozen=True, slots=True)
class For(Expression):
    """`[for k, v in c: value if condition]`, with `result_key` `{for …: result_key => value}`."""

    key: str
    value: str
    collection: Expression
    result_key: Expression | None
    result: Expression
    grouped: bool
    condition: Expression | None


@dataclass(frozen=True, slots=True)
class Attribute:
    name: str
    value: Expression
    place: Place


@dataclass(frozen=True, slots=True)
class Block:
    type: str
    labels: tuple[str, ...]
    body: Body
    place: Place


@dataclass(slots=True)
class Body:
    attributes: dict[str, Attribute] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
