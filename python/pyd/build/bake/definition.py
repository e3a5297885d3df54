"""What HCL and JSON bake files define: variables, functions, and the targets and groups made with them.

Everything is computed when it is asked for, so that the order in the files does not matter; what needs itself
is an error. Variables may be set by the environment, attributes at the top of a file may not.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pyd.build.bake import hcl_functions, hcl_types
from pyd.build.bake.hcl_evaluate import Lazy, Scope
from pyd.build.bake.hcl_parser import parse_expression
from pyd.build.bake.hcl_syntax import (
    Attribute,
    Block,
    Body,
    Expression,
    ListOf,
    Literal,
    Name,
    Place,
    Value,
)
from pyd.build.bake.hcl_values import to_bool, to_text
from pyd.errors import InvalidArgument

_NAME = re.compile("[a-zA-Z0-9_-]+")
_MATRIX = 10_000  # targets that one block may stand for
_IN_VARIABLE = ("default", "type", "description")
_DEPTH = 60  # functions that call each other


@dataclass(frozen=True, slots=True)
class Variable:
    """For `bake --list=variables`."""

    name: str
    value: Value
    description: str


@dataclass(frozen=True, slots=True)
class Found:
    """A target or a group as one block has it: values by the names of its attributes."""

    name: str
    fields: Mapping[str, Value]
    place: Place


class Definition:
    def __init__(
        self,
        bodies: Sequence[Body],
        *,
        environ: Mapping[str, str],
        given: Mapping[str, str],
        constants: Mapping[str, Value],
    ) -> None:
        """given: values of --var, before the environment. constants: BAKE_… names."""
        self._environ = environ
        self._given = given
        self._values: dict[str, Value] = dict(constants)
        self._busy: list[str] = []
        self._variables: dict[str, Block] = {}
        self._attributes: dict[str, Attribute] = {}
        self._functions: dict[str, Block] = {}
        self._blocks: dict[str, list[Block]] = {"target": [], "group": []}
        self._expanded: dict[int, list[tuple[str, Scope]]] = {}
        self._depth = 0
        self._scope = Scope(self._find, self._call)
        for body in bodies:
            self._take(body, constants)

    def _take(self, body: Body, constants: Mapping[str, Value]) -> None:
        for name, attribute in body.attributes.items():
            if name not in constants:
                self._attributes[name] = attribute
        for block in body.blocks:
            if block.type not in ("variable", "function", "target", "group"):
                raise block.place.error(
                    f'unsupported block type "{block.type}"', "known are group, target, variable and function"
                )
            if len(block.labels) != 1:
                raise block.place.error(f"a {block.type} has one name, not {len(block.labels)}")
            name = block.labels[0]
            if block.type == "variable":
                if name not in constants:
                    self._variables[name] = block
            elif block.type == "function":
                self._functions[name] = block
            else:
                self._blocks[block.type].append(block)

    def check(self) -> None:
        """Compute what nothing may need: an error in it is an error all the same."""
        for name in (*self._attributes, *self._variables):
            self._find(name)

    def variables(self) -> list[Variable]:
        return [
            Variable(name, self._find(name), self._text(block.body.attributes.get("description")))
            for name, block in sorted(self._variables.items())
        ]

    def targets(self) -> list[Found]:
        """In the order of the files; a name may come several times."""
        return [
            Found(name, self._fields(block, scope), block.place)
            for block in self._blocks["target"]
            for name, scope in self._expand(block)
        ]

    def groups(self) -> list[Found]:
        """Those of matrices too: the name of the block stands for all that it makes."""
        found = []
        for block in self._blocks["group"]:
            for name in ("matrix", "name"):
                if name in block.body.attributes:
                    raise block.body.attributes[name].place.error(f"{name} is not supported for groups")
            found.append(Found(_checked(block), self._fields(block, self._scope), block.place))
        for block in self._blocks["target"]:
            names = list(dict.fromkeys(name for name, _ in self._expand(block)))
            if names != [block.labels[0]]:
                found.append(Found(block.labels[0], {"targets": names}, block.place))
        return found

    def _fields(self, block: Block, scope: Scope) -> dict[str, Value]:
        if block.body.blocks:
            inner = block.body.blocks[0]
            raise inner.place.error(f'unsupported block type "{inner.type}" in a {block.type}')
        return {
            name: scope.value(attribute.value)
            for name, attribute in block.body.attributes.items()
            if name not in ("matrix", "name")
        }

    def _expand(self, block: Block) -> list[tuple[str, Scope]]:
        """(name, scope with the values of the matrix) of each target that the block stands for."""
        known = self._expanded.get(id(block))
        if known is not None:
            return known
        attributes = block.body.attributes
        matrix, naming = attributes.get("matrix"), attributes.get("name")
        if matrix is None:
            if naming is not None:
                raise naming.place.error("name requires matrix")
            found = [(_checked(block), self._scope)]
        else:
            with self._working(f"matrix of {block.labels[0]}", matrix.place):
                table = self._scope.value(matrix.value)
            if not isinstance(table, dict):
                raise matrix.place.error("matrix must be a map")
            lists = [self._row(matrix, each) for each in table.values()]
            found = []
            for values in itertools.islice(itertools.product(*lists), _MATRIX + 1):
                scope = self._scope.with_names(dict(zip(table, values, strict=True)))
                name = _named(naming, scope) if naming else _checked(block)
                found.append((name, scope))
            if len(found) > _MATRIX:
                raise matrix.place.error(f"a matrix of more than {_MATRIX} targets")
        self._expanded[id(block)] = found
        return found

    def _row(self, matrix: Attribute, values: Value) -> list[Value]:
        if not isinstance(values, list):
            raise matrix.place.error("matrix values must be a list")
        return values

    def _find(self, name: str) -> Value:
        if name in self._values:
            return self._values[name]
        if name in self._attributes:
            attribute = self._attributes[name]
            with self._working(name, attribute.place):
                self._values[name] = self._scope.value(attribute.value)
        elif name in self._variables:
            block = self._variables[name]
            with self._working(name, block.place):
                self._values[name] = self._variable(name, block)
            self._validate(name, block)
        elif name in self._blocks:
            return Lazy(lambda label: Lazy(lambda field: self._field(name, label, field)))
        else:
            raise KeyError(name)
        return self._values[name]

    def _field(self, type: str, label: str, field: str) -> Value:
        """`target.label.field`: null where no block of that name has it."""
        found = []
        for block in self._blocks[type]:
            if block.labels[0] == label and "matrix" not in block.body.attributes:
                found.append((block, self._scope))
            elif "matrix" in block.body.attributes:
                found += [(block, scope) for name, scope in self._expand(block) if name == label]
        if not found:
            raise KeyError(label)
        if field == "name":
            return label
        for block, scope in reversed(found):
            if field in block.body.attributes:
                attribute = block.body.attributes[field]
                with self._working(f"{type}.{label}.{field}", attribute.place):
                    return scope.value(attribute.value)
        return None

    @contextmanager
    def _working(self, name: str, place: Place) -> Iterator[None]:
        if name in self._busy:
            raise place.error(f"variable cycle not allowed for {name}")
        self._busy.append(name)
        try:
            yield
        finally:
            self._busy.pop()

    def _variable(self, name: str, block: Block) -> Value:
        attributes = block.body.attributes
        for attribute in attributes.values():
            if attribute.name not in _IN_VARIABLE:
                raise attribute.place.error(f'unsupported argument "{attribute.name}" of a variable')
        default, type = attributes.get("default"), _type(attributes.get("type"))
        value = self._scope.value(default.value) if default else None
        try:
            value = hcl_types.convert(value, type) if type else value
            set_value, is_set = self._from_outside(name, type, value)
        except ValueError as error:
            raise block.place.error(f"{name}: {error}" if name not in str(error) else str(error)) from None
        if is_set:
            return set_value
        return "" if default is None and type is None else value

    def _from_outside(self, name: str, type: Expression | None, default: Value) -> tuple[Value, bool]:
        for source in (self._given, self._environ):
            if name in source:
                return hcl_types.from_text(source[name], type, default, name), True
            if f"{name}_JSON" in source and f"{name}_JSON" not in self._variables:
                try:
                    value = json.loads(source[f"{name}_JSON"])
                except (ValueError, RecursionError):
                    raise ValueError(f"failed to parse {name}_JSON as JSON") from None
                return (hcl_types.convert(value, type) if type else value), True
        return None, False

    def _validate(self, name: str, block: Block) -> None:
        for inner in block.body.blocks:
            if inner.type != "validation":
                raise inner.place.error(f'unsupported block type "{inner.type}" in a variable')
            condition = inner.body.attributes.get("condition")
            if condition is None:
                raise inner.place.error("a validation needs a condition")
            try:
                right = to_bool(self._scope.value(condition.value))
            except ValueError as error:
                raise condition.place.error(str(error)) from None
            if not right:
                message = self._text(inner.body.attributes.get("error_message"))
                raise condition.place.error(message or f"the value of {name} is not valid")

    def _call(self, name: str, arguments: list[Value]) -> Value:
        block = self._functions.get(name)
        if block is None:
            return hcl_functions.call(name, arguments)
        attributes = block.body.attributes
        if "params" not in attributes or "result" not in attributes:
            raise block.place.error(f"function {name} needs params and result")
        names = _parameters(attributes["params"].value)
        variadic = attributes.get("variadic_params") or attributes.get("variadic_param")
        if len(arguments) < len(names) or (variadic is None and len(arguments) > len(names)):
            raise ValueError(f"function {name} takes {len(names)} arguments, not {len(arguments)}")
        values = dict(zip(names, arguments, strict=False))
        if variadic is not None:
            (rest,) = _parameters(ListOf(variadic.place, (variadic.value,)))
            values[rest] = arguments[len(names) :]
        if self._depth > _DEPTH:
            raise block.place.error(f"function cycle not allowed for {name}")
        self._depth += 1
        try:
            return self._scope.with_names(values).value(attributes["result"].value)
        finally:
            self._depth -= 1

    def _text(self, attribute: Attribute | None) -> str:
        if attribute is None:
            return ""
        try:
            return to_text(self._scope.value(attribute.value))
        except ValueError as error:
            raise attribute.place.error(str(error)) from None


def _type(attribute: Attribute | None) -> Expression | None:
    if attribute is None:
        return None
    value = attribute.value
    if isinstance(value, Literal) and isinstance(value.value, str):
        return parse_expression(value.value, attribute.place)  # JSON has it as a string
    return value


def _parameters(expression: Expression) -> list[str]:
    names = []
    for each in expression.items if isinstance(expression, ListOf) else ():
        if isinstance(each, Name):
            names.append(each.name)
        elif isinstance(each, Literal) and isinstance(each.value, str):
            names.append(each.value)
        else:
            raise each.place.error("each parameter name must be an identifier")
    return names


def _named(naming: Attribute, scope: Scope) -> str:
    try:
        name = to_text(scope.value(naming.value))
    except ValueError as error:
        raise naming.place.error(str(error)) from None
    return check_name(name, naming.place)


def _checked(block: Block) -> str:
    return check_name(block.labels[0], block.place)


def check_name(name: str, place: Place | None = None) -> str:
    """Raises InvalidArgument unless it can be the name of a target."""
    if _NAME.fullmatch(name):
        return name
    message = f'invalid name {name!r}: only "[a-zA-Z0-9_-]+" are allowed'
    raise place.error(message) if place else InvalidArgument(message)


__all__ = ["Definition", "Found", "Variable", "check_name"]
