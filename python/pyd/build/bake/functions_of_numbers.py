"""Functions of bake files for numbers, truth and networks."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal

from pyd.build.bake.hcl_evaluate import calculate
from pyd.build.bake.hcl_scanner import whole
from pyd.build.bake.hcl_syntax import Value
from pyd.build.bake.hcl_values import (
    equal,
    to_bool,
    to_int,
    to_number,
    to_text,
)


def _numbers(function: Callable[..., Value]) -> Callable[..., Value]:
    def called(first: Value, *rest: Value) -> Value:
        return function([to_number(first), *map(to_number, rest)])

    return called


def _two(operator: str) -> Callable[..., Value]:
    def called(one: Value, other: Value) -> Value:
        return calculate(operator, to_number(one), to_number(other))

    return called


def _one(function: Callable[[int | Decimal], Value]) -> Callable[..., Value]:
    def called(value: Value) -> Value:
        return function(to_number(value))

    return called


def _compared(function: Callable[[int | Decimal, int | Decimal], bool]) -> Callable[..., Value]:
    def called(one: Value, other: Value) -> Value:
        return function(to_number(one), to_number(other))

    return called


def _parseint(text: Value, base: Value) -> Value:
    radix = to_int(base)
    if not 2 <= radix <= 36:
        raise ValueError("the base must be from 2 to 36")
    return int(to_text(text), radix)


def _log(number: Value, base: Value) -> Value:
    return whole(Decimal(repr(math.log(to_number(number), to_number(base)))))


def _pow(number: Value, power: Value) -> Value:
    return whole(Decimal(repr(math.pow(to_number(number), to_number(power)))))


def _and(one: Value, other: Value) -> Value:
    return to_bool(one) and to_bool(other)


def _or(one: Value, other: Value) -> Value:
    return to_bool(one) or to_bool(other)


def _not(value: Value) -> Value:
    return not to_bool(value)


def _equal(one: Value, other: Value) -> Value:
    return equal(one, other)


def _notequal(one: Value, other: Value) -> Value:
    return not equal(one, other)


def _cidrhost(prefix: Value, number: Value) -> Value:
    import ipaddress

    network, at = ipaddress.ip_network(to_text(prefix), strict=False), to_int(number)
    if not -network.num_addresses <= at < network.num_addresses:
        raise ValueError(f"{network} has no host {at}")
    return str(network[at])


def _cidrnetmask(prefix: Value) -> Value:
    import ipaddress

    return str(ipaddress.IPv4Network(to_text(prefix), strict=False).netmask)


def _cidrsubnet(prefix: Value, bits: Value, number: Value) -> Value:
    import ipaddress

    network, more, at = ipaddress.ip_network(to_text(prefix), strict=False), to_int(bits), to_int(number)
    length = network.prefixlen + more
    if more < 0 or length > network.max_prefixlen or not 0 <= at < 1 << more:
        raise ValueError(f"{network} has no subnet {at} with {more} more bits")
    base = int(network.network_address) + (at << (network.max_prefixlen - length))
    return f"{ipaddress.ip_address(base) if network.version == 4 else ipaddress.IPv6Address(base)}/{length}"


FUNCTIONS: dict[str, Callable[..., Value]] = {
    "absolute": _one(abs),
    "add": _two("+"),
    "and": _and,
    "ceil": _one(math.ceil),
    "cidrhost": _cidrhost,
    "cidrnetmask": _cidrnetmask,
    "cidrsubnet": _cidrsubnet,
    "divide": _two("/"),
    "equal": _equal,
    "floor": _one(math.floor),
    "greaterthan": _compared(lambda one, other: one > other),
    "greaterthanorequalto": _compared(lambda one, other: one >= other),
    "int": _one(int),
    "lessthan": _compared(lambda one, other: one < other),
    "lessthanorequalto": _compared(lambda one, other: one <= other),
    "log": _log,
    "max": _numbers(max),
    "min": _numbers(min),
    "modulo": _two("%"),
    "multiply": _two("*"),
    "negate": _one(lambda number: -number),
    "not": _not,
    "notequal": _notequal,
    "or": _or,
    "parseint": _parseint,
    "pow": _pow,
    "signum": _one(lambda number: (number > 0) - (number < 0)),
    "subtract": _two("-"),
}
