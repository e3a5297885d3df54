"""Physical lines to logical ones: comments, continuations, directives and the lines of here-documents.

As BuildKit's parser reads them (frontend/dockerfile/parser/parser.go): a comment or an empty line inside a
continued instruction is passed over, directives stand before everything else.
"""

from __future__ import annotations

import re

from pyd.build.location import Location, Source
from pyd.build.words import SPACES
from pyd.record import Record

MAX_SIZE = 4 << 20  # bytes of a Dockerfile
MAX_LINE = 65535  # bytes of a physical line, as BuildKit has it
KNOWN_DIRECTIVES = ("syntax", "escape", "check")

_DIRECTIVE = r"([a-zA-Z][a-zA-Z0-9]*)[\t\n\f\r ]*=[\t\n\f\r ]*(.+)"
_GO_SPACE = "\t\n\f\r "


class LogicalLine(Record):
    """An instruction with its continuations joined.

    `pieces` says for each physical line where in `text` it begins: (offset, line, column). `comments` are
    those right above it, without `#`. `empty` are the numbers of empty lines inside it.
    """

    text: str
    pieces: tuple[tuple[int, int, int], ...]
    end_line: int
    comments: tuple[str, ...] = ()
    empty: tuple[int, ...] = ()

    def locate(self, offset: int) -> Location:
        """The place of a character of `text`."""
        start, line, column = self.pieces[0]
        for piece in self.pieces:
            if piece[0] > offset:
                break
            start, line, column = piece
        return Location(line, column + offset - start, self.end_line)


class Lexer:
    """Gives logical lines and, right after one, the here-documents that it announces."""

    def __init__(self, data: bytes, name: str) -> None:
        """Raises DockerfileError for what is too large."""
        data = data.removeprefix(b"\xef\xbb\xbf")
        if len(data) > MAX_SIZE:
            limit = f"Dockerfile is larger than {MAX_SIZE >> 20} MiB"
            raise Source(name, ()).error(limit, Location(1, 1, 1))
        # what is no UTF-8 may stand in a comment; in an instruction it is refused
        text = data.decode("utf-8", "surrogateescape")
        raw = text.split("\n")
        ends_open = raw.pop()  # what follows the last newline
        self._raw = [f"{line}\n" for line in raw] + ([ends_open] if ends_open else [])
        self.source = Source(name, tuple(line.rstrip("\r\n") for line in self._raw))
        self.escape = "\\"
        self.directives: dict[str, str] = {}
        self.directive_lines: dict[str, int] = {}
        self._at = 0  # lines that are read
        self._directives_end = False
        if longest := self._too_long():
            message = f"dockerfile line greater than max allowed size of {MAX_LINE}"
            raise self.source.error(message, Location(longest, 1, longest))
        self._skip_shebang()

    @property
    def line(self) -> int:
        """The number of the line that was read last."""
        return self._at

    def _too_long(self) -> int:
        for number, line in enumerate(self.source.lines, 1):
            if len(line) > MAX_LINE // 4 and len(line.encode("utf-8", "surrogateescape")) > MAX_LINE:
                return number
        return 0

    def _skip_shebang(self) -> None:
        """Below `#!` BuildKit looks for syntax and check, but not for escape."""
        if not self.source.lines or not self.source.lines[0].startswith("#!"):
            return
        for number, line in enumerate(self.source.lines[1:], 2):
            found = _directive(line)
            if found is None or found[0] in self.directives:
                break
            if found[0] != "escape":
                self.directives[found[0]], self.directive_lines[found[0]] = found[1], number
        self._directives_end = True

    def next(self) -> LogicalLine | None:
        """The next instruction; None at the end. Raises DockerfileError for a wrong directive."""
        comments: list[str] = []
        while self._at < len(self._raw):
            self._at += 1
            physical = self.source.lines[self._at - 1]
            line = physical.lstrip(SPACES)
            is_directive = self._read_directive(line)
            if line.startswith("#"):
                comment = line[1:].strip(SPACES)
                if not comment:
                    comments.clear()
                elif not is_directive:
                    comments.append(comment)
                continue
            text, goes_on = self._without_continuation(line)
            if not text and not goes_on:
                comments.clear()
                continue
            return self._joined(text, goes_on, len(physical) - len(line) + 1, tuple(comments))
        return None

    def _joined(self, text: str, goes_on: bool, column: int, comments: tuple[str, ...]) -> LogicalLine:
        parts, offset = [text], len(text)
        pieces = [(0, self._at, column)]
        empty = []
        while goes_on and self._at < len(self._raw):
            self._at += 1
            line = self.source.lines[self._at - 1]
            stripped = line.lstrip(SPACES)
            if stripped.startswith("#"):
                continue
            if not stripped:
                empty.append(self._at)
                continue
            text, goes_on = self._without_continuation(line)
            pieces.append((offset, self._at, 1))
            parts.append(text)
            offset += len(text)
        return LogicalLine("".join(parts), tuple(pieces), self._at, comments, tuple(empty))

    def _without_continuation(self, line: str) -> tuple[str, bool]:
        """An escape at the end continues the line; two of them do not."""
        ends = line.rstrip(" \t")
        if ends.endswith(self.escape) and not ends[:-1].endswith(self.escape):
            return ends[:-1], True
        return line, False

    def here_document(self, terminator: str, *, trims_tabs: bool) -> str | None:
        """The lines up to the terminator; None when it is missing."""
        start = self._at
        while self._at < len(self._raw):
            self._at += 1
            line = self.source.lines[self._at - 1]
            if (line.lstrip("\t") if trims_tabs else line) == terminator:
                return "".join(self._raw[start : self._at - 1])
        return None

    def _read_directive(self, line: str) -> bool:
        """Whether the line is one."""
        if self._directives_end:
            return False
        found = _directive(line)
        if found is None:
            self._directives_end = True
            return False
        name, value = found
        place = Location(self._at, self.source.lines[self._at - 1].index("#") + 1, self._at)
        if name in self.directives:
            raise self.source.error(f"only one {name} parser directive can be used", place)
        if name == "escape":
            if value not in ("`", "\\"):
                raise self.source.error(f"invalid escape token '{value}' does not match ` or \\", place)
            self.escape = value
        self.directives[name], self.directive_lines[name] = value, self._at
        return True


def _directive(line: str) -> tuple[str, str] | None:
    if not line.startswith("#"):
        return None
    match = re.match(_DIRECTIVE, line[1:].lstrip(SPACES))
    if match is None or match[1].lower() not in KNOWN_DIRECTIVES:
        return None
    value = match[2].strip(_GO_SPACE)
    return (match[1].lower(), value) if value else None
