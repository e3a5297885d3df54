"""Where in a Dockerfile something is, and the error that shows it."""

from __future__ import annotations

from pyd.errors import InvalidArgument
from pyd.record import Record

_AROUND = 2  # lines shown before and after the ones that are wrong
_WIDTH = 400  # characters of a line that are shown
_LONGEST = 1000  # characters of a message, which may quote the file


class Location(Record):
    """1-based; `column` is that of the first character of the token that is meant."""

    line: int
    column: int
    end_line: int


class Source(Record):
    """A text with its name, and its lines without their ends."""

    name: str
    lines: tuple[str, ...]

    def error(self, message: str, location: Location, hint: str | None = None) -> DockerfileError:
        if len(message) > _LONGEST:
            message = f"{message[:_LONGEST]}..."
        return DockerfileError(message, location, self, hint)


class DockerfileError(InvalidArgument):
    """What is wrong and where: `str()` is one line, `render()` the lines of the file with marks.

    `reason` is the message without the place.
    """

    def __init__(self, reason: str, location: Location, source: Source, hint: str | None = None) -> None:
        super().__init__(f"{source.name}:{location.line}:{location.column}: {reason}", hint)
        self.reason = reason
        self.location = location
        self.source = source

    @property
    def name(self) -> str:
        return self.source.name

    def render(self) -> str:
        """The excerpt that BuildKit prints below an error: the lines that are meant have `>>>`."""
        rule = "--------------------"
        first, last = self.location.line, max(self.location.line, self.location.end_line)
        shown = range(max(1, first - _AROUND), min(len(self.source.lines), last + _AROUND) + 1)
        lines = [f"{self.source.name}:{first}", rule]
        for number in shown:
            mark = ">>>" if first <= number <= last else "   "
            lines.append(f"{number:4} | {mark} {_printable(self.source.lines[number - 1])}".rstrip())
        return "\n".join([*lines, rule])


def _printable(line: str) -> str:
    """Nothing that a terminal would obey."""
    line = line[:_WIDTH].expandtabs(4)
    return line if line.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
