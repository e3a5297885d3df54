"""Expressions of HCL to values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Context, Decimal, DivisionByZero, InvalidOperation

from pyd.build.bake.hcl_scanner import whole
from pyd.build.bake.hcl_syntax import (
    Binary,
    Call,
    Choice,
    Conditional,
    Expression,
    For,
    Index,
    ListOf,
    Literal,
    Loop,
    Name,
    ObjectOf,
    Splat,
    Template,
    Unary,
    Value,
)
from pyd.build.bake.hcl_values import (
    bounded,
    equal,
    items,
    kind,
    to_bool,
    to_int,
    to_list,
    to_number,
    to_text,
)
from pyd.errors import InvalidArgument


class Lazy:
    """A map whose elements are computed when they are asked for. `element` raises KeyError."""

    def __init__(self, element: Callable[[str], Value]) -> None:
        self.element = element


_NUMBERS = Context(prec=100)
_MOST = 300_000  # expressions that one file may evaluate: loops in loops


class Scope:
    """Names and functions. `find` raises KeyError for a name, `call` for a function, that there is not."""

    def __init__(
        self,
        find: Callable[[str], Value],
        call: Callable[[str, list[Value]], Value],
        budget: list[int] | None = None,
    ) -> None:
        self._find = find
        self._call = call
        self._budget = budget if budget is not None else [_MOST]

    def with_names(self, names: Mapping[str, Value]) -> Scope:
        """A scope in which these come first."""
        outer = self._find
        return Scope(lambda name: names[name] if name in names else outer(name), self._call, self._budget)

    def value(self, expression: Expression) -> Value:
        """Raises InvalidArgument with the place of what is wrong."""
        self._budget[0] -= 1
        if self._budget[0] < 0:
            raise expression.place.error("this takes too long: loops are too large")
        try:
            return self._value(expression)
        except (ValueError, ArithmeticError, IndexError) as error:
            raise expression.place.error(str(error) or "invalid operation") from None

    def _value(self, expression: Expression) -> Value:
        match expression:
            case Literal(value=value):
                return value
            case Template():
                return self._template(expression)
            case Name(name=name, place=place):
                try:
                    return self._find(name)
                except KeyError:
                    raise place.error(f'undefined variable "{name}"') from None
            case Index():
                return _element(self.value(expression.of), self.value(expression.key))
            case Call():
                return self._function(expression)
            case Unary(operator="!"):
                return not to_bool(self.value(expression.operand))
            case Unary():
                return -to_number(self.value(expression.operand))
            case Binary():
                return self._binary(expression)
            case Conditional():
                chosen = to_bool(self.value(expression.condition))
                return self.value(expression.then if chosen else expression.otherwise)
            case ListOf():
                return [self.value(each) for each in expression.items]
            case ObjectOf(items=pairs):
                return {to_text(self.value(key)): self.value(value) for key, value in pairs}
            case For():
                return self._for(expression)
            case Splat():
                of = self.value(expression.of)
                elements = [] if of is None else of if isinstance(of, list) else [of]
                return [self.with_names({"": each}).value(expression.rest) for each in elements]
            case Choice() | Loop():
                return self._part(expression)
        raise AssertionError(expression)

    def _template(self, template: Template) -> Value:
        parts = template.parts
        if len(parts) == 1 and not isinstance(parts[0], Choice | Loop):
            return self.value(parts[0])
        return bounded("".join(map(self._part, parts)))

    def _part(self, part: Expression) -> str:
        match part:
            case Choice():
                chosen = part.then if to_bool(self.value(part.condition)) else part.otherwise
                return "".join(map(self._part, chosen.parts))
            case Loop():
                return bounded("".join(self._loop(part)))
        value = self.value(part)
        if value is None:
            raise part.place.error("a template cannot hold null")
        return to_text(value)

    def _loop(self, loop: Loop) -> list[str]:
        found = []
        for key, element in items(self.value(loop.collection)):
            scope = self.with_names({loop.value: element, **({loop.key: key} if loop.key else {})})
            found.append("".join(map(scope._part, loop.body.parts)))
        return found

    def _function(self, call: Call) -> Value:
        if call.name in ("try", "can"):
            return self._attempt(call)
        arguments = [self.value(each) for each in call.arguments]
        if call.spread and arguments:
            arguments = arguments[:-1] + to_list(arguments[-1])
        try:
            return self._call(call.name, arguments)
        except KeyError:
            raise call.place.error(f'undefined function "{call.name}"') from None

    def _attempt(self, call: Call) -> Value:
        failed: InvalidArgument | None = None
        for each in call.arguments:
            try:
                value = self.value(each)
            except InvalidArgument as error:
                failed = error
                continue
            return True if call.name == "can" else value
        if call.name == "can":
            return False
        raise failed or ValueError("try needs an argument")

    def _binary(self, expression: Binary) -> Value:
        operator, left = expression.operator, self.value(expression.left)
        if operator == "||":
            return to_bool(left) or to_bool(self.value(expression.right))
        if operator == "&&":
            return to_bool(left) and to_bool(self.value(expression.right))
        right = self.value(expression.right)
        if operator in ("==", "!="):
            return equal(left, right) is (operator == "==")
        one, other = to_number(left), to_number(right)
        if operator in ("<", ">", "<=", ">="):
            return {"<": one < other, ">": one > other, "<=": one <= other, ">=": one >= other}[operator]
        return calculate(operator, one, other)

    def _for(self, expression: For) -> Value:
        result: list[Value] = []
        table: dict[str, Value] = {}
        for key, element in items(self.value(expression.collection)):
            named = {expression.key: key} if expression.key else {}
            scope = self.with_names({expression.value: element, **named})
            if expression.condition is not None and not to_bool(scope.value(expression.condition)):
                continue
            value = scope.value(expression.result)
            if expression.result_key is None:
                result.append(value)
                continue
            name = to_text(scope.value(expression.result_key))
            if expression.grouped:
                table.setdefault(name, []).append(value)
            elif name in table:
                raise expression.place.error(f'two values for the key "{name}"; group them with `...`')
            else:
                table[name] = value
        return result if expression.result_key is None else table


def calculate(operator: str, one: int | Decimal, other: int | Decimal) -> int | Decimal:
    """+ - * / %. Raises ValueError."""
    left, right = Decimal(one), Decimal(other)
    try:
        if operator == "+":
            return whole(_NUMBERS.add(left, right))
        if operator == "-":
            return whole(_NUMBERS.subtract(left, right))
        if operator == "*":
            return whole(_NUMBERS.multiply(left, right))
        if operator == "/":
            return whole(_NUMBERS.divide(left, right))
        return whole(_NUMBERS.remainder(left, right))
    except DivisionByZero:
        raise ValueError("division by zero") from None
    except InvalidOperation:
        raise ValueError("not a number that can be worked with" if right else "division by zero") from None


def _element(of: Value, key: Value) -> Value:
    if isinstance(of, Lazy):
        try:
            return of.element(to_text(key))
        except KeyError:
            raise ValueError(f'there is no "{to_text(key)}"') from None
    if isinstance(of, dict):
        name = to_text(key)
        if name not in of:
            raise ValueError(f'this object does not have an attribute named "{name}"')
        return of[name]
    if isinstance(of, list):
        index = to_int(key)
        if not 0 <= index < len(of):
            raise ValueError(f"there is no element {index} in a list of {len(of)}")
        return of[index]
    raise ValueError(f"{kind(of)} has no elements")
