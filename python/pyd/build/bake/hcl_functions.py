"""The functions of bake files, by their names in buildx (bake/hclparser/stdlib.go)."""

from __future__ import annotations

from collections.abc import Callable

from pyd.build.bake import functions_of_lists, functions_of_numbers, functions_of_texts
from pyd.build.bake.hcl_syntax import Value
from pyd.errors import NotSupported

_MISSING = ("bcrypt", "rsadecrypt", "uuidv5", "convert", "cidrsubnets", "bytesslice")

FUNCTIONS: dict[str, Callable[..., Value]] = {
    **functions_of_lists.FUNCTIONS,
    **functions_of_numbers.FUNCTIONS,
    **functions_of_texts.FUNCTIONS,
}


def call(name: str, arguments: list[Value]) -> Value:
    """Raises KeyError for a function that there is not, ValueError for arguments that do not fit."""
    if name in _MISSING:
        raise NotSupported(f"the function {name} of bake files is not supported", "compute its value outside")
    function = FUNCTIONS[name]
    least, most = _counts(function)
    if not least <= len(arguments) <= most:
        wanted = f"at least {least}" if most > 99 else f"{least} to {most}" if most > least else str(least)
        raise ValueError(f"{name} takes {wanted} arguments, not {len(arguments)}")
    try:
        return function(*arguments)
    except TypeError:
        raise ValueError(f"{name}: the arguments are not of the kinds that it takes") from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _counts(function: Callable[..., Value]) -> tuple[int, int]:
    code = function.__code__
    optional = len(function.__defaults__ or ())
    return code.co_argcount - optional, 10_000 if code.co_flags & 0x04 else code.co_argcount
