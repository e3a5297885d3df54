"""Text of others on this terminal: output of containers, lines of Dockerfiles. Colours may stay, and nothing
else that a terminal would obey.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from pyd.cli.human import printable

_LONGEST = 64 << 10  # bytes of a line: more is cut into several
# CSI, the strings (OSC, DCS, SOS, PM, APC; one without an end takes the rest of its line), other escapes
_SEQUENCE = (
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]"
)
_COLOUR = r"\x1b\[[0-9;:]*m"
# they are no print characters, but words of Persian and Hindi, and many emoji, are not written without them
_JOINERS = "\u200c\u200d"


def harmless(text: str, *, colours: bool = False) -> str:
    """One line without control sequences; `colours` keeps those that set colours, and ends with a reset.

    What is no whole sequence is shown as in a Python string: \\x1b, \\x07.
    """
    if text.isprintable():
        return text
    kept, end, result = False, 0, []
    for match in _sequence().finditer(text):
        result.append(_shown(text[end : match.start()]))
        if colours and _colour().fullmatch(match[0]):
            kept = True
            result.append(match[0])
        end = match.end()
    result.append(_shown(text[end:]))
    return "".join(result) + ("\x1b[0m" if kept else "")


def _shown(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" or c in _JOINERS else repr(c)[1:-1] for c in text)


@functools.cache
def _sequence() -> re.Pattern[str]:
    return re.compile(_SEQUENCE)


@functools.cache
def _colour() -> re.Pattern[str]:
    return re.compile(_COLOUR)


def cut(text: str, width: int) -> str:
    """As much of it as `width` columns hold."""
    if text.isascii():
        return text[:width]
    used = 0
    for index, character in enumerate(text):
        used += _columns(character)
        if used > width:
            return text[:index]
    return text


def columns(text: str) -> int:
    """Columns that it takes on a terminal."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if character < "\u0300":
        return 1
    import unicodedata

    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


class Lines:
    """Cuts a stream into lines as a terminal shows them: what stands before a lone carriage return is
    overwritten, so that of a progress bar only its last state is a line. Keeps at most 64 KiB.
    """

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that end in `data`."""
        *lines, rest = (self._rest + data).split(b"\n")
        found = [part for line in lines for part in _pieces(_overwritten(line))]
        # the last return may be half of an end of line
        rest = rest[rest.rfind(b"\r", 0, -1) + 1 :] if b"\r" in rest else rest
        if len(rest) > _LONGEST:
            *pieces, rest = _pieces(rest)
            found += pieces
        self._rest = rest
        return found

    def take(self) -> bytes | None:
        """The line that has not ended; None if there is none."""
        rest, self._rest = self._rest, b""
        return _overwritten(rest) if rest else None


def _pieces(line: bytes) -> list[bytes]:
    return [line[start : start + _LONGEST] for start in range(0, len(line), _LONGEST)] or [line]


def _overwritten(line: bytes) -> bytes:
    if b"\r" not in line:
        return line
    line = line.rstrip(b"\r")
    return line[line.rfind(b"\r") + 1 :]


def excerpt(name: str, lines: Sequence[str], first: int, last: int) -> str:
    """Lines `first` to `last` (from 1) of the file with >>> before them and some around them, as BuildKit."""
    last = min(max(first, last), len(lines))
    if not 1 <= first <= len(lines):
        return ""
    around = 4 if first == last else 2
    start, end, extra = first, last, 0
    while extra < around:
        extra += (start > 1) + (end < len(lines)) + 1
        start, end = max(1, start - 1), min(len(lines), end + 1)
    rule = "-" * 20
    shown = []
    for number in range(start, end + 1):
        mark = ">>>" if first <= number <= last else "   "
        shown.append(f" {number:3} | {mark} {printable(lines[number - 1][:400].expandtabs(4))}")
    return "\n".join([f"{name}:{first}", rule, *shown, rule])
