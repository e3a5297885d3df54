"""The functions `format` and `formatlist`: verbs as of Go's fmt, in the reading of go-cty."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from decimal import Decimal

from pyd.build.bake.hcl_syntax import Value
from pyd.build.bake.hcl_values import to_bool, to_int, to_number, to_text

_VERB = re.compile(
    r"%(?P<flags>[-+ 0#]*)(?P<width>\d{0,4})(?:\.(?P<precision>\d{0,4}))?"
    r"(?:\[(?P<index>\d{1,4})\])?(?P<verb>.?)",
    re.S,
)


def formatted(template: str, values: Sequence[Value]) -> str:
    """Raises ValueError for verbs that do not fit, and for too few or too many values."""
    at, most = 0, 0

    def replace(match: re.Match[str]) -> str:
        nonlocal at, most
        if match["verb"] == "%":
            return "%"
        if match["index"]:
            at = int(match["index"]) - 1
        if not 0 <= at < len(values):
            raise ValueError(f"not enough arguments for {match[0]!r}")
        at += 1
        most = max(most, at)
        return _padded(match, _one(match, values[at - 1]))

    text = _VERB.sub(replace, template)
    if most < len(values):
        raise ValueError("too many arguments")
    return text


def _one(match: re.Match[str], value: Value) -> str:
    verb, precision = match["verb"], match["precision"]
    if verb == "v":
        if "#" in match["flags"] or isinstance(value, list | dict) or value is None:
            return json.dumps(value, separators=(",", ":"), default=float)
        return to_text(value)
    if verb == "t":
        return to_text(to_bool(value))
    if verb in "sq":
        text = to_text(value)
        text = text[: int(precision)] if precision else text
        return json.dumps(text, ensure_ascii=False) if verb == "q" else text
    if verb in "bdoxX":
        number = to_int(value)
        digits = format(abs(number), verb)
        return ("-" if number < 0 else _plus(match["flags"])) + digits
    if verb in "eEfFgG":
        found = Decimal(to_number(value))
        places = int(precision) if precision else 6 if verb in "eEfF" else None
        digits = format(found, f".{places}{verb}") if places is not None else format(float(found), verb)
        digits = re.sub(r"([eE][+-])(\d)$", r"\g<1>0\2", digits)  # Go writes two digits of an exponent
        return digits if digits.startswith("-") else _plus(match["flags"]) + digits
    raise ValueError(f"unsupported format verb {verb!r}")


def _plus(flags: str) -> str:
    return "+" if "+" in flags else " " if " " in flags else ""


def _padded(match: re.Match[str], text: str) -> str:
    width = int(match["width"] or 0)
    if "-" in match["flags"]:
        return text.ljust(width)
    if "0" in match["flags"] and match["verb"] not in "sqvt":
        sign = text[:1] if text[:1] in ("-", "+", " ") else ""
        return sign + text[len(sign) :].rjust(width - len(sign), "0")
    return text.rjust(width)
