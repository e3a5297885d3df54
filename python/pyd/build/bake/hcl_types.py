"""Types of variables: what their values become, and how the environment's text is read for them."""

from __future__ import annotations

from pyd.build.bake.hcl_syntax import Call, Expression, ListOf, Literal, Name, ObjectOf, Value
from pyd.build.bake.hcl_values import to_bool, to_list, to_map, to_number, to_text

_PRIMITIVES = {"string": to_text, "number": to_number, "bool": to_bool}


def convert(value: Value, type: Expression) -> Value:
    """Raises ValueError for a value that does not fit, InvalidArgument for a type that is none."""
    if value is None:
        return None
    match type:
        case Name(name="any"):
            return value
        case Name(name=name) if name in _PRIMITIVES:
            return _PRIMITIVES[name](value)
        case Call(name=name, arguments=(inner,)):
            if name in ("list", "set"):
                found = [convert(each, inner) for each in to_list(value)]
                return (
                    found
                    if name == "list"
                    else [each for at, each in enumerate(found) if each not in found[:at]]
                )
            if name == "map":
                return {key: convert(each, inner) for key, each in to_map(value).items()}
            if name == "optional":
                return convert(value, inner)
            if name == "tuple" and isinstance(inner, ListOf):
                found = to_list(value)
                if len(found) != len(inner.items):
                    raise ValueError(f"{len(inner.items)} elements are needed, not {len(found)}")
                return [convert(each, one) for each, one in zip(found, inner.items, strict=True)]
            if name == "object" and isinstance(inner, ObjectOf):
                return _object(to_map(value), inner)
    known = "any, string, number, bool, list, set, map, tuple and object"
    raise type.place.error(f"invalid type: known are {known}")


def _object(value: dict[str, Value], type: ObjectOf) -> Value:
    found = {}
    for key, inner in type.items:
        name = key.value if isinstance(key, Literal) else None
        if not isinstance(name, str):
            raise key.place.error("the names of an object's attributes are constants")
        optional = isinstance(inner, Call) and inner.name == "optional"
        if name not in value and not optional:
            raise ValueError(f'attribute "{name}" is required')
        found[name] = convert(value.get(name), inner)
    return found


def from_text(text: str, type: Expression | None, default: Value, name: str) -> Value:
    """A value of the environment: of the type, or where there is none of the default's kind. Lists are
    CSV.
    """
    if type is None:
        if isinstance(default, bool):
            return _as(text, "bool", name)
        if isinstance(default, str) or default is None:
            return text
        if isinstance(default, list):
            return _csv(text)
        if isinstance(default, dict):
            raise ValueError(f"unsupported type for variable {name}: set {name}_JSON instead")
        return _as(text, "number", name)
    match type:
        case Name(name=primitive) if primitive in _PRIMITIVES:
            return _as(text, primitive, name)
        case Name(name="any"):
            return text
        case Call(name="list" | "set"):
            return convert(_csv(text), type)
    raise ValueError(f"unsupported type for variable {name}: set {name}_JSON instead")


def _as(text: str, primitive: str, name: str) -> Value:
    try:
        return _bool(text) if primitive == "bool" else _PRIMITIVES[primitive](text)
    except ValueError:
        raise ValueError(f"failed to parse {name} as {primitive}") from None


def _bool(text: str) -> bool:
    """As Go's strconv.ParseBool."""
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if text in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    raise ValueError(text)


def _csv(text: str) -> list[Value]:
    import csv

    return list(next(csv.reader([text]), []))
