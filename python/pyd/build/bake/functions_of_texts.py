"""Functions of bake files for texts: their parts, patterns, encodings, digests and times."""

from __future__ import annotations

import base64
import hashlib
import json
import posixpath
import re
from collections.abc import Callable
from decimal import Decimal
from urllib.parse import quote_plus

from pyd.build.bake import hcl_times
from pyd.build.bake.hcl_format import formatted
from pyd.build.bake.hcl_scanner import whole
from pyd.build.bake.hcl_syntax import Value
from pyd.build.bake.hcl_values import (
    bounded,
    to_int,
    to_list,
    to_text,
)


def _text(function: Callable[[str], Value]) -> Callable[..., Value]:
    def called(value: Value) -> Value:
        return function(to_text(value))

    return called


def _digest(name: str) -> Callable[..., Value]:
    return _text(lambda text: hashlib.new(name, text.encode(), usedforsecurity=False).hexdigest())


def _indent(spaces: Value, text: Value) -> Value:
    return bounded(to_text(text).replace("\n", "\n" + " " * min(to_int(spaces), 1000)))


def _join(separator: Value, values: Value, *more: Value) -> Value:
    found = [each for value in (values, *more) for each in to_list(value)]
    return bounded(to_text(separator).join(map(to_text, found)))


def _substr(text: Value, offset: Value, length: Value) -> Value:
    found, start, count = to_text(text), to_int(offset), to_int(length)
    start = max(0, len(found) + start) if start < 0 else start
    return found[start:] if count < 0 else found[start : start + count]


def _split(separator: Value, text: Value) -> Value:
    between, found = to_text(separator), to_text(text)
    return found.split(between) if between else list(found)


def _replace(text: Value, old: Value, new: Value) -> Value:
    return bounded(to_text(text).replace(to_text(old), to_text(new)))


def _pattern(text: Value) -> re.Pattern[str]:
    try:
        return re.compile(to_text(text))
    except re.error as error:
        raise ValueError(f"invalid regular expression: {error}") from None


def _matched(match: re.Match[str]) -> Value:
    """Named groups as a map, others as a list, else the text."""
    return match.groupdict() or list(match.groups()) or match[0]


def _regex(pattern: Value, text: Value) -> Value:
    match = _pattern(pattern).search(to_text(text))
    if match is None:
        raise ValueError("pattern did not match any part of the given string")
    return _matched(match)


def _regexall(pattern: Value, text: Value) -> Value:
    return [_matched(match) for match in _pattern(pattern).finditer(to_text(text))]


def _regex_replace(text: Value, pattern: Value, new: Value) -> Value:
    """`$1` and `${name}` in `new`, as in Go."""
    template = to_text(new)

    def made(match: re.Match[str]) -> str:
        def group(reference: re.Match[str]) -> str:
            name = reference[1] or reference[2]
            if reference[0] == "$$":
                return "$"
            try:
                return match[int(name) if name.isdecimal() else name] or ""
            except IndexError:
                return ""

        return re.sub(r"\$(?:\$|\{(\w+)\}|(\w+))", group, template)

    return bounded(_pattern(pattern).sub(made, to_text(text)))


def _csvdecode(text: Value) -> Value:
    import csv

    try:
        rows = list(csv.reader(to_text(text).splitlines(), strict=True))
    except csv.Error as error:
        raise ValueError(str(error)) from None
    return [dict(zip(rows[0], row, strict=False)) for row in rows[1:]] if rows else []


def _jsonencode(value: Value) -> Value:
    def plain(number: object) -> Value:
        return float(to_text(number)) if isinstance(number, Decimal) else None

    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True, default=plain)
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _jsondecode(text: Value) -> Value:
    try:
        return json.loads(to_text(text), parse_float=lambda digits: whole(Decimal(digits)))
    except RecursionError:
        raise ValueError("too deeply nested") from None


def _base64decode(text: Value) -> Value:
    try:
        return base64.b64decode(to_text(text), validate=True).decode()
    except ValueError:
        raise ValueError("not the base64 of a text") from None


def _format(template: Value, *values: Value) -> Value:
    return bounded(formatted(to_text(template), values))


def _formatlist(template: Value, *values: Value) -> Value:
    lengths = {len(value) for value in values if isinstance(value, list)}
    if len(lengths) > 1:
        raise ValueError("the lists have different lengths")
    count = lengths.pop() if lengths else 1
    return [
        formatted(to_text(template), [value[at] if isinstance(value, list) else value for value in values])
        for at in range(count)
    ]


def _timestamp() -> Value:
    return hcl_times.now()


def _formatdate(layout: Value, time: Value) -> Value:
    return hcl_times.format_date(to_text(layout), to_text(time))


def _timeadd(time: Value, duration: Value) -> Value:
    return hcl_times.add(to_text(time), to_text(duration))


def _uuidv4() -> Value:
    import uuid

    return str(uuid.uuid4())


def _trim(text: Value, letters: Value) -> Value:
    return to_text(text).strip(to_text(letters))


def _trimprefix(text: Value, prefix: Value) -> Value:
    return to_text(text).removeprefix(to_text(prefix))


def _trimsuffix(text: Value, suffix: Value) -> Value:
    return to_text(text).removesuffix(to_text(suffix))


FUNCTIONS: dict[str, Callable[..., Value]] = {
    "base64decode": _base64decode,
    "base64encode": _text(lambda text: base64.b64encode(text.encode()).decode()),
    "basename": _text(lambda text: posixpath.basename(text.rstrip("/")) or ("/" if text else ".")),
    "byteslen": _text(lambda text: len(text.encode())),
    "chomp": _text(lambda text: text.rstrip("\r\n")),
    "csvdecode": _csvdecode,
    "dirname": _text(lambda text: posixpath.normpath(posixpath.dirname(text) or ".")),
    "format": _format,
    "formatdate": _formatdate,
    "formatlist": _formatlist,
    "indent": _indent,
    "join": _join,
    "jsondecode": _jsondecode,
    "jsonencode": _jsonencode,
    "lower": _text(str.lower),
    "md5": _digest("md5"),
    "regex": _regex,
    "regex_replace": _regex_replace,
    "regexall": _regexall,
    "replace": _replace,
    "reverse": _text(lambda text: text[::-1]),
    "sanitize": _text(lambda text: re.sub("[^a-zA-Z0-9_-]", "_", text)),
    "sha1": _digest("sha1"),
    "sha256": _digest("sha256"),
    "sha512": _digest("sha512"),
    "split": _split,
    "strlen": _text(len),
    "substr": _substr,
    "timeadd": _timeadd,
    "timestamp": _timestamp,
    "title": _text(lambda text: re.sub(r"(?<!\w)\w", lambda match: match[0].upper(), text)),
    "trim": _trim,
    "trimprefix": _trimprefix,
    "trimspace": _text(str.strip),
    "trimsuffix": _trimsuffix,
    "upper": _text(str.upper),
    "urlencode": _text(quote_plus),
    "uuidv4": _uuidv4,
}
