"""Bake files in JSON: HCL's JSON syntax, in which each string is a template."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from pyd.build.bake.hcl_parser import parse_template
from pyd.build.bake.hcl_scanner import whole
from pyd.build.bake.hcl_syntax import (
    Attribute,
    Block,
    Body,
    Expression,
    ListOf,
    Literal,
    ObjectOf,
    Place,
    Template,
)
from pyd.errors import InvalidArgument

BLOCKS = ("variable", "function", "target", "group")


def parse(data: bytes, file: str) -> Body:
    """Raises InvalidArgument."""
    place = Place(file, 1, 1)
    try:
        document = json.loads(data.decode("utf-8-sig"), parse_float=Decimal)
        if not isinstance(document, dict):
            raise place.error("a bake file must hold a JSON object")
        return _body(document, place)
    except json.JSONDecodeError as error:
        raise Place(file, error.lineno, error.colno).error(f"invalid JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, InvalidArgument):
            raise
        cause = "too deeply nested" if isinstance(error, RecursionError) else str(error)
        raise place.error(f"invalid JSON: {cause}") from None


def _body(document: dict[str, Any], place: Place) -> Body:
    body = Body()
    for name, value in document.items():
        if name == "//":
            continue  # a comment, as HCL has it
        if name not in BLOCKS:
            body.attributes[name] = Attribute(name, _expression(value, place), place)
            continue
        for table in value if isinstance(value, list) else [value]:
            if not isinstance(table, dict):
                raise place.error(f"{name} must be an object of named ones")
            for label, inner in table.items():
                for each in inner if isinstance(inner, list) else [inner]:
                    body.blocks.append(Block(name, (label,), _block(name, each, place), place))
    return body


def _block(type: str, value: Any, place: Place) -> Body:
    if not isinstance(value, dict):
        raise place.error(f"a {type} must be an object")
    body = Body()
    for name, each in value.items():
        if type == "variable" and name == "validation":
            for inner in each if isinstance(each, list) else [each]:
                body.blocks.append(Block("validation", (), _block("validation", inner, place), place))
        elif name != "//":
            body.attributes[name] = Attribute(name, _expression(each, place), place)
    return body


def _expression(value: Any, place: Place) -> Expression:
    if isinstance(value, str):
        found = parse_template(value, place)
        return found if isinstance(found, Literal | Template) else Template(place, (found,))
    if isinstance(value, list):
        return ListOf(place, tuple(_expression(each, place) for each in value))
    if isinstance(value, dict):
        pairs = ((_expression(key, place), _expression(each, place)) for key, each in value.items())
        return ObjectOf(place, tuple(pairs))
    return Literal(place, whole(value) if isinstance(value, Decimal) else value)
