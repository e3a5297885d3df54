"""Go text/template as far as --format needs it (pkg.go.dev/text/template, docs.docker.com/go/formatting).

Fields, variables, pipelines, if/else/with/range, the comparison functions, index, len, slice, print*, and
Docker's json, join, lower, upper, title, split, pad, truncate. Values are what JSON has: mappings, lists,
strings, numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pyd import errors
from pyd.cli.template_parse import Node, Pipe, parse


class _NoValue:
    """What Go prints as <no value>: an entry that the map does not have."""

    def __bool__(self) -> bool:
        return False


NO_VALUE = _NoValue()


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


def render(template: str, obj: Mapping[str, object]) -> str:
    """The text of `template` executed on `obj`. Raises InvalidArgument for a bad template or a missing
    field.
    """
    return Template(template).render(obj)


class Template:
    """A parsed template: parse once, render for every row."""

    def __init__(self, text: str) -> None:
        self.body = parse(text)

    def render(self, obj: object) -> str:
        out: list[str] = []
        _Execution(obj, out).run(self.body, obj)
        return "".join(out)


class _Execution:
    def __init__(self, root: object, out: list[str]) -> None:
        self.scopes: list[dict[str, Any]] = [{"$": root}]
        self.out = out

    def run(self, body: list[Node], dot: Any) -> None:
        self.scopes.append({})
        try:
            for node in body:
                self.node(node, dot)
        finally:
            self.scopes.pop()

    def node(self, node: Node, dot: Any) -> None:
        kind = node[0]
        if kind == "text":
            self.out.append(node[1])
        elif kind == "action":
            value = self.pipe(node[1], dot)
            if not node[1][0]:  # an assignment prints nothing
                self.out.append("<no value>" if value is None else go_string(value))
        elif kind == "range":
            self.range(node, dot)
        elif kind in ("if", "with"):
            self.scopes.append({})
            value = self.pipe(node[1], dot)
            if _truth(value):
                self.run(node[2], value if kind == "with" else dot)
            else:
                self.run(node[3], dot)
            self.scopes.pop()
        else:
            raise _Break if kind == "break" else _Continue

    def range(self, node: Node, dot: Any) -> None:
        _, (variables, _, commands), body, otherwise = node
        value = self.pipe(((), False, commands), dot)
        pairs = list(_pairs(value))
        if not pairs:
            self.run(otherwise, dot)
        for key, item in pairs:
            names = {}
            if len(variables) == 2:
                names = {variables[0]: key, variables[1]: item}
            elif variables:
                names = {variables[0]: item}
            self.scopes.append(names)
            try:
                self.run(body, item)
            except _Break:
                break
            except _Continue:
                continue
            finally:
                self.scopes.pop()

    def pipe(self, pipe: Pipe, dot: Any) -> Any:
        variables, declares, commands = pipe
        value: Any = None
        for index, command in enumerate(commands):
            value = self.command(command, dot, [value] if index else [])
        for name in variables:
            (self.scopes[-1] if declares else self.scope_of(name))[name] = value
        return value

    def scope_of(self, name: str) -> dict[str, Any]:
        for scope in self.scopes[::-1]:
            if name in scope:
                return scope
        raise errors.InvalidArgument(f"template parsing error: template: :1: undefined variable {name!r}")

    def command(self, operands: list[Node], dot: Any, last: list[Any]) -> Any:
        head = operands[0]
        if head[0] == "func":
            name = head[1]
            if name in ("and", "or"):
                return self.junction(name, operands[1:], dot, last)
            if name not in FUNCTIONS:
                raise errors.InvalidArgument(
                    f'template parsing error: template: :1: function "{name}" not defined'
                )
            arguments = [self.operand(operand, dot) for operand in operands[1:]] + last
            try:
                return FUNCTIONS[name](*arguments)
            except errors.PydError:
                raise
            except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
                raise errors.InvalidArgument(
                    f'template parsing error: template: :1: executing "" at <{name}>: '
                    f"error calling {name}: {error}"
                ) from error
        if len(operands) > 1 or last:
            raise errors.InvalidArgument(
                "template parsing error: template: :1: can't give argument to non-function "
                f"{'.' + '.'.join(head[2]) if head[0] == 'field' else head[0]}"
            )
        return self.operand(head, dot)

    def junction(self, name: str, operands: list[Node], dot: Any, last: list[Any]) -> Any:
        """`and`, `or` stop at the first operand that decides."""
        value: Any = NO_VALUE
        for operand in operands:
            value = self.operand(operand, dot)
            if _truth(value) == (name == "or"):
                return value
        return last[0] if last else value

    def operand(self, operand: Node, dot: Any) -> Any:
        kind = operand[0]
        if kind == "dot":
            return dot
        if kind == "const":
            return operand[1]
        if kind == "var":
            return self.scope_of(operand[1])[operand[1]]
        if kind == "pipe":
            return self.pipe(operand[1], dot)
        if kind == "field":
            value = self.operand(operand[1], dot)
            for name in operand[2]:
                value = _field(value, name)
            return value
        if kind == "func":
            return self.command([operand], dot, [])
        return None


def _field(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        if name in value:
            return value[name]
        # An API object has fields in capitals only; missing there is a mistake in the template, while a key
        # that the user's own map (labels, options) lacks is <no value>
        if value and all(str(key)[:1].isupper() for key in value):
            raise errors.InvalidArgument(
                f'template parsing error: template: :1:2: executing "" at <.{name}>: '
                f'map has no entry for key "{name}"'
            )
        return NO_VALUE
    if value is None or value is NO_VALUE:
        raise errors.InvalidArgument(
            f'template parsing error: template: :1:2: executing "" at <.{name}>: '
            f"nil pointer evaluating interface {{}}.{name}"
        )
    raise errors.InvalidArgument(
        f'template parsing error: template: :1:2: executing "" at <.{name}>: '
        f"can't evaluate field {name} in type {_go_type(value)}"
    )


def _pairs(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return iter([(key, value[key]) for key in sorted(value)])
    if isinstance(value, list | tuple):
        return enumerate(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return enumerate(range(value))
    if value is None or value is NO_VALUE:
        return iter(())
    raise errors.InvalidArgument(
        f"template parsing error: template: :1: range can't iterate over {go_string(value)}"
    )


def _truth(value: Any) -> bool:
    return bool(value)


def _go_type(value: Any) -> str:
    return {str: "string", bool: "bool", int: "int", float: "float64", list: "[]interface {}"}.get(
        type(value), "interface {}"
    )


def go_string(value: Any, nested: bool = False) -> str:
    """The value as Go's fmt %v prints it."""
    if value is NO_VALUE:
        return "<no value>"
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}" if value != int(value) or abs(value) >= 1e21 else str(int(value))
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{key}:{go_string(value[key], True)}" for key in sorted(value)) + "]"
    if isinstance(value, list | tuple):
        return "[" + " ".join(go_string(item, True) for item in value) + "]"
    return str(value)


def _json(value: Any) -> str:
    if value is NO_VALUE:
        return "null"
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, Mapping):
            value = value.get(key, "" if value and isinstance(next(iter(value.values())), str) else None)
        elif value is None:
            raise ValueError("index of untyped nil")
        elif isinstance(key, bool) or not isinstance(key, int):
            raise ValueError(f"cannot index slice/array with type {_go_type(key)}")
        elif not 0 <= key < len(value):
            raise ValueError(f"index out of range: {key}")
        else:
            value = ord(value[key]) if isinstance(value, str) else value[key]
    return value


def _length(value: Any) -> int:
    if value is None or value is NO_VALUE:
        return 0
    return len(value.encode()) if isinstance(value, str) else len(value)


def _equal(first: Any, *others: Any) -> bool:
    if not others:
        raise ValueError("missing argument for comparison")
    return any(first == other for other in others)


def _pad(text: str, left: int, right: int) -> str:
    return " " * left + text + " " * right if text else ""


def _split(text: str, separator: str) -> list[str]:
    return text.split(separator) if separator else list(text)


def _print(*values: Any) -> str:
    """Go's Sprint: a space only between two operands of which neither is a string."""
    out = ""
    for index, value in enumerate(values):
        if index and not isinstance(value, str) and not isinstance(values[index - 1], str):
            out += " "
        out += go_string(value)
    return out


_VERB = re.compile(r"%([-+# 0]*)(\d*)(?:\.(\d+))?([a-zA-Z%])")


def _printf(pattern: str, *values: Any) -> str:
    remaining = list(values)

    def one(match: re.Match[str]) -> str:
        flags, width, precision, verb = match.groups()
        if verb == "%":
            return "%"
        if not remaining:
            return f"%!{verb}(MISSING)"
        value = remaining.pop(0)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if verb in "sv":
            text = go_string(value)[: int(precision)] if precision and verb == "s" else go_string(value)
            return f"{text:{'<' if '-' in flags else '>'}{width}}" if width else text
        if verb == "q":
            return json.dumps(go_string(value), ensure_ascii=False)
        if verb == "t" and isinstance(value, bool):
            return go_string(value)
        if verb == "T":
            return _go_type(value)
        if verb == "x" and isinstance(value, str):
            return value.encode().hex()
        if verb in "dxXobc" and isinstance(value, int) and number:
            alternate = flags.replace("-", "<") if "-" in flags else flags
            return format(value, f"{alternate}{width}{verb}")
        if verb in "feEgG" and isinstance(value, float):
            return f"%{flags}{width}{'.' + precision if precision else ''}{verb}" % value
        return f"%!{verb}({_go_type(value)}={go_string(value)})"

    text = _VERB.sub(one, pattern)
    if remaining:
        text += "%!(EXTRA " + ", ".join(f"{_go_type(v)}={go_string(v)}" for v in remaining) + ")"
    return text


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "not": lambda value: not _truth(value),
    "eq": _equal,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "len": _length,
    "index": _index,
    "slice": lambda value, *ends: value[slice(*(ends or (None,)))] if len(ends) != 1 else value[ends[0] :],
    "print": _print,
    "println": lambda *values: " ".join(go_string(value) for value in values) + "\n",
    "printf": _printf,
    "json": _json,
    "join": lambda values, separator: separator.join(go_string(value) for value in values or ()),
    "lower": lambda text: str(text).lower(),
    "upper": lambda text: str(text).upper(),
    "title": lambda text: re.sub(r"(^|\s)(\S)", lambda m: m[1] + m[2].upper(), str(text)),
    "split": _split,
    "pad": _pad,
    "truncate": lambda text, length: str(text)[:length],
}
