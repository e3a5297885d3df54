"""The forms of arguments: flags, words, name=value, JSON lists, and which instruction takes which.

As BuildKit's line parsers (frontend/dockerfile/parser/line_parsers.go, split_command.go).
"""

from __future__ import annotations

import json
import math
import re

from pyd.build.words import SPACES

_BLANKS = re.compile(r"[\t\v\f\r ]+")

# which of the functions at the end reads the arguments
FORMS = {
    "ADD": "list or json", "ARG": "words", "CMD": "text or json", "COPY": "list or json",
    "ENTRYPOINT": "text or json", "ENV": "pairs", "EXPOSE": "list", "FROM": "list", "HEALTHCHECK": "health",
    "LABEL": "pairs", "MAINTAINER": "text", "ONBUILD": "instruction", "RUN": "text or json",
    "SHELL": "text or json", "STOPSIGNAL": "text", "USER": "text", "VOLUME": "list or json",
    "WORKDIR": "text",
}  # fmt: skip


class FormError(ValueError):
    """`token` is the part of the line that is meant, "" for all of it."""

    def __init__(self, message: str, token: str = "") -> None:
        super().__init__(message)
        self.token = token


# the words, and whether they are in the JSON form; those of pairs are name, value and "=" for each, or "" in
# the old form without =
Arguments = tuple[tuple[str, ...], bool]


def split_command(line: str) -> tuple[str, tuple[str, ...], str]:
    """(keyword as written, flags, the rest)"""
    parts = _BLANKS.split(line.strip(SPACES), maxsplit=1)
    if len(parts) == 1:
        return parts[0], (), ""
    flags, rest = _split_flags(parts[1])
    return parts[0], tuple(flags), rest.strip(SPACES)


def arguments(keyword: str, rest: str, escape: str) -> Arguments:
    """The arguments of any instruction but ONBUILD. Raises FormError."""
    match FORMS.get(keyword):
        case "list":
            return _list(rest), False
        case "text":
            return (rest,) if rest else (), False
        case "words":
            return tuple(split_words(rest, escape)), False
        case "pairs":
            return _pairs(rest, keyword, escape), False
        case "text or json":
            return _json_or(rest, (rest,) if rest else ())
        case "list or json":
            return _json_or(rest, _list(rest))
        case "health":
            return _health(rest)
    return (), False


def split_words(text: str, escape: str) -> list[str]:
    """At spaces that are neither quoted nor escaped; quotes and escapes stay."""
    words: list[str] = []
    word: list[str] = []
    quote = ""
    at, end = 0, len(text)
    while at < end:
        char = text[at]
        at += 1
        if not quote and char in SPACES:
            if word:
                words.append("".join(word))
                word.clear()
            continue
        if char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote = char
        elif char == escape and quote != "'":
            if at == end:
                break  # at the end it escapes nothing
            word.append(char)
            char = text[at]
            at += 1
        word.append(char)
    if word:
        words.append("".join(word))
    return words


def _split_flags(text: str) -> tuple[list[str], str]:
    """The words in front that begin with `--`, without their quotes; `--` alone ends them."""
    flags: list[str] = []
    word: list[str] = []
    quote = ""
    in_word = was_quoted = False
    at, end = 0, len(text)
    while at < end:
        char = text[at]
        if not in_word:
            if char in SPACES:
                at += 1
                continue
            if not text.startswith("--", at):
                return flags, text[at:]
            in_word = True
        at += 1
        if not quote and char in SPACES:
            in_word = False
            if "".join(word) == "--":
                return flags, text[at:]
            if was_quoted or word:
                flags.append("".join(word))
            word.clear()
            was_quoted = False
        elif char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote, was_quoted = char, True
        elif char == "\\":
            word.append(text[at : at + 1])  # at the end it escapes nothing
            at += 1
        else:
            word.append(char)
    last = "".join(word)
    if in_word and last != "--" and (was_quoted or last):
        flags.append(last)
    return flags, ""


def _list(rest: str) -> tuple[str, ...]:
    return tuple(_BLANKS.split(rest)) if rest else ()


def _pairs(rest: str, keyword: str, escape: str) -> tuple[str, ...]:
    """`name=value ...`, or the old form `name value` when the first word has no `=`."""
    words = split_words(rest, escape)
    if not words:
        return ()
    if "=" not in words[0]:
        parts = _BLANKS.split(rest, maxsplit=1)
        if len(parts) < 2:
            raise FormError(f"{keyword} must have two arguments", words[0])
        return (*parts, "")
    found: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            message = f'Syntax error - can\'t find = in "{word}". Must be of the form: name=value'
            raise FormError(message, word)
        found += (name, value, "=")
    return tuple(found)


def _health(rest: str) -> Arguments:
    """A kind (CMD, NONE) and what follows it."""
    parts = re.split(f"[{SPACES}]+", rest, maxsplit=1)
    if not parts[0]:
        return (), False
    if len(parts) == 1 or not parts[1]:
        return (parts[0],), False
    words, is_json = _json_or(parts[1], (parts[1],))
    return (parts[0], *words), is_json


def _json_or(rest: str, other: tuple[str, ...]) -> Arguments:
    """A JSON list of strings; what is no JSON is the other form, a list of something else is refused."""
    text = rest.lstrip(SPACES)
    if not text.startswith("["):
        return other, False
    try:
        items = json.loads(text, parse_constant=_refuse, parse_int=_number, parse_float=_number)
    except RecursionError:
        items = [None]  # lists in lists
    except ValueError:
        return other, False
    if not all(isinstance(item, str) for item in items):
        raise FormError("when using JSON array syntax, arrays must be comprised of strings only", text)
    return tuple(_scalars(item) for item in items), True


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _number(text: str) -> float:
    """Go refuses what no float holds."""
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is out of range")
    return value


def _scalars(text: str) -> str:
    """Halves of surrogate pairs (\\ud800) become U+FFFD, as in Go."""
    if text.isascii():
        return text
    return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)
