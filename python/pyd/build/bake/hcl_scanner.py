"""The characters of an HCL file: spaces, comments, names, numbers, and where each stands."""

from __future__ import annotations

import re
from bisect import bisect_right
from decimal import Decimal
from typing import NoReturn

from pyd.build.bake.hcl_syntax import Place

_SPACE = re.compile(r"(?:[ \t]|/\*.*?\*/)+", re.S)
_SPACE_AND_LINES = re.compile(r"(?:[ \t\r\n]|/\*.*?\*/|(?:#|//)[^\n]*)+", re.S)
_LINE_END = re.compile(r"(?:(?:#|//)[^\n]*)?(?:\r?\n|\Z)")
_NAME = re.compile(r"[^\W\d][\w-]*")
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_MAX_DIGITS = 400


class Scanner:
    """A cursor on the text. `at` is the next character."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.at = 0
        self._lines = [0, *(match.end() for match in re.finditer("\n", text))]

    def place(self, at: int | None = None) -> Place:
        at = self.at if at is None else at
        line = bisect_right(self._lines, at)
        return Place(self.file, line, at - self._lines[line - 1] + 1)

    def fail(self, message: str, at: int | None = None) -> NoReturn:
        raise self.place(at).error(message)

    def skip(self, *, lines: bool) -> None:
        """Spaces and comments; `lines`: ends of lines too."""
        match = (_SPACE_AND_LINES if lines else _SPACE).match(self.text, self.at)
        if match:
            self.at = match.end()

    def sees(self, word: str) -> bool:
        return self.text.startswith(word, self.at)

    def takes(self, word: str) -> bool:
        if self.sees(word):
            self.at += len(word)
            return True
        return False

    def need(self, word: str, where: str) -> None:
        if not self.takes(word):
            found = repr(self.text[self.at]) if not self.ended else "the end of the file"
            self.fail(f"expected {word!r} {where}, found {found}")

    def takes_line_end(self) -> bool:
        """With the comment before it; the end of the file is one."""
        match = _LINE_END.match(self.text, self.at)
        if match:
            self.at = match.end()
        return match is not None

    def name(self) -> str:
        """ "" if there is none."""
        match = _NAME.match(self.text, self.at)
        if not match:
            return ""
        self.at = match.end()
        return match[0]

    def peek_name(self) -> str:
        match = _NAME.match(self.text, self.at)
        return match[0] if match else ""

    def number(self) -> int | Decimal | None:
        match = _NUMBER.match(self.text, self.at)
        if not match:
            return None
        if len(match[0]) > _MAX_DIGITS:
            self.fail("a number with too many digits")
        self.at = match.end()
        return whole(Decimal(match[0]))

    @property
    def ended(self) -> bool:
        return self.at >= len(self.text)


def whole(number: Decimal) -> int | Decimal:
    """An int where it is one. Raises ValueError for what is no number or beyond all use."""
    if not number.is_finite() or abs(number.adjusted()) > _MAX_DIGITS:
        raise ValueError("not a number that can be worked with")
    return int(number) if number == number.to_integral_value() else number.normalize()
