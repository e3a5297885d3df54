"""Reading a container's log: Docker's json-file format, rotated files oldest first, following through
rotation.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator

from pyd.errors import from_os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

_POLL_SECONDS = 0.04


class LogLine:
    """A line, or a part of a long or unfinished one: then `text` has no newline at its end.

    time: RFC 3339 with nanoseconds. stream: stdout or stderr.
    """

    __slots__ = ("stream", "text", "time")

    def __init__(self, time: str, stream: str, text: str) -> None:
        self.time = time
        self.stream = stream
        self.text = text


def seconds(stamp: str) -> float:
    """RFC 3339 in UTC or with an offset, to seconds since the epoch. Raises ValueError."""
    import calendar

    text = stamp.strip()
    offset = 0
    if text.endswith(("Z", "z")):
        text = text[:-1]
    elif len(text) > 6 and text[-6] in "+-" and text[-3] == ":":
        offset = (int(text[-5:-3]) * 3600 + int(text[-2:]) * 60) * (1 if text[-6] == "+" else -1)
        text = text[:-6]
    whole, _, fraction = text.partition(".")
    for pattern in ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d"):
        try:
            base = calendar.timegm(time.strptime(whole, pattern))
        except ValueError:
            continue
        return base - offset + (float(f"0.{fraction}") if fraction else 0.0)
    raise ValueError(f"not a time: {stamp!r}")


def parse(raw: bytes) -> LogLine | None:
    """None for a line that was cut by a crash."""
    try:
        value = json.loads(raw)
        return LogLine(value["time"], value["stream"], value["log"])
    except (ValueError, KeyError, TypeError):
        return None


def read(
    path: str,
    *,
    stdout: bool = True,
    stderr: bool = True,
    tail: int | None = None,
    since: float | None = None,
    until: float | None = None,
    follow: bool = False,
    running: Callable[[], bool] = lambda: False,
) -> Iterator[LogLine]:
    """The lines of the log at `path`, then with `follow` those that come until `running()` is false.

    tail: only the last n of those that are there now.
    """
    wanted = {name for name, on in (("stdout", stdout), ("stderr", stderr)) if on}
    reader = _Reader(path)
    try:
        lines = _filter(_present(reader), wanted, since, until)
        if tail is not None:
            yield from _last(lines, tail)
        else:
            yield from lines
        while follow and (until is None or time.time() < until):
            alive = running()  # before the reading: what was written before the end is read after it
            fresh = reader.lines()
            yield from _filter(fresh, wanted, since, until)
            if not fresh:
                if not alive:
                    return
                time.sleep(_POLL_SECONDS)
    finally:
        reader.close()


def _present(reader: _Reader) -> Iterator[LogLine]:
    while fresh := reader.lines():
        yield from fresh


def _last(lines: Iterator[LogLine], count: int) -> Iterator[LogLine]:
    """The last `count` whole lines: a long line that was written in parts counts once."""
    if count <= 0:
        for _ in lines:  # the reader's position must come behind them
            pass
        return
    kept: deque[list[LogLine]] = deque(maxlen=count)
    open_parts: dict[str, list[LogLine]] = {}
    for line in lines:
        parts = open_parts.get(line.stream)
        if parts is None:
            parts = open_parts[line.stream] = []
            kept.append(parts)
        parts.append(line)
        if line.text.endswith("\n"):
            del open_parts[line.stream]
    for parts in kept:
        yield from parts


def _filter(
    lines: Iterator[LogLine] | list[LogLine], wanted: set[str], since: float | None, until: float | None
) -> Iterator[LogLine]:
    for line in lines:
        if line.stream not in wanted:
            continue
        if since is not None or until is not None:
            try:
                moment = seconds(line.time)
            except ValueError:
                continue
            if (since is not None and moment < since) or (until is not None and moment > until):
                continue
        yield line


class _Reader:
    """Reads the files of a log from the oldest on, and goes over to the next when one is read to its end.

    The shim renames path to path.1, path.1 to path.2 and so on, and begins a new path. Which file comes next
    is told by where the one in hand is now: it is held open, so that no other can have its inode.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.file = self._open(self._oldest())
        self.rest = b""

    def lines(self) -> list[LogLine]:
        """Some whole lines; none when all that is there has been read."""
        while True:
            if self.file is None:
                self.file = self._open(self._oldest())
                if self.file is None:
                    return []
            rotated = self._number() != 0  # before the reading: the shim no longer writes to a rotated file
            data = self.file.read(1 << 20)
            if data:
                *whole, self.rest = (self.rest + data).split(b"\n")
                lines = [line for raw in whole if (line := parse(raw)) is not None]
                if lines:
                    return lines
            elif rotated:
                self._go_on()
            elif os.fstat(self.file.fileno()).st_size < self.file.tell():
                self.file.seek(0)  # a log of one file is emptied instead of rotated
                self.rest = b""
            else:
                return []

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None

    def _name(self, number: int) -> str:
        return f"{self.path}.{number}" if number else self.path

    def _open(self, number: int) -> BinaryIO | None:
        try:
            return open(self._name(number), "rb")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise from_os_error(error, f"reading {self._name(number)}") from error

    def _oldest(self) -> int:
        number = 0
        while os.path.exists(self._name(number + 1)):
            number += 1
        return number

    def _number(self) -> int | None:
        """Which of the log's files is in hand; None when it has been deleted since."""
        assert self.file is not None
        mine = os.fstat(self.file.fileno())
        number = 0
        while True:
            try:
                there = os.stat(self._name(number))
            except FileNotFoundError:
                # in the middle of a rotation there is no newest file
                if number:
                    return None
            else:
                if os.path.samestat(there, mine):
                    return number
            number += 1

    def _go_on(self) -> None:
        """Open the next file. None yet: the shim is between its two steps, and the one in hand is kept."""
        while True:
            number = self._number()
            if number == 0:
                return
            following = self._open(self._oldest() if number is None else number - 1)
            if following is None:
                return
            if self._number() == number:
                self.close()
                self.file, self.rest = following, b""
                return
            following.close()  # rotated meanwhile: what was opened may be the next but one
