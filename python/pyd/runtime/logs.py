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

    The shim renames path.2 to path.3, path.1 to path.2, path to path.1, and begins a new path. That keeps
    their order, with one number vacant at a time, and it may happen while we look. Which file comes next is
    told by where the one in hand is now: it is held open, so that no other can have its inode.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.file: BinaryIO | None = None
        self.rest = b""

    def lines(self) -> list[LogLine]:
        """Some whole lines; none when all that is there has been read."""
        while self.file is not None or self._begin():
            assert self.file is not None
            data = self.file.read(1 << 20)
            if not data and not self._is_newest():
                # the shim no longer writes to it: once more to its end, then the next one
                data = self.file.read(1 << 20)
                if not data:
                    if self._go_on():
                        continue
                    return []
            if not data:
                if os.fstat(self.file.fileno()).st_size >= self.file.tell():
                    return []
                self.file.seek(0)  # a log of one file is emptied instead of rotated
                self.rest = b""
            *whole, self.rest = (self.rest + data).split(b"\n")
            lines = [line for raw in whole if (line := parse(raw)) is not None]
            if lines:
                return lines
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
        """The highest number there is."""
        directory, name = os.path.split(self.path)
        try:
            found = os.listdir(directory)
        except FileNotFoundError:
            return 0
        numbers = (entry.removeprefix(f"{name}.") for entry in found if entry.startswith(f"{name}."))
        return max((int(number) for number in numbers if number.isdecimal()), default=0)

    def _begin(self) -> bool:
        """Take the oldest file in hand; False when there is none."""
        while True:
            number = self._oldest()
            self.file = self._open(number)
            if self.file is None and number == 0:
                return False
            if self.file is not None and self._oldest() == number:
                return True
            self.close()  # rotated meanwhile

    def _is(self, number: int) -> bool:
        """Whether the file in hand has this number now."""
        assert self.file is not None
        try:
            return os.path.samestat(os.stat(self._name(number)), os.fstat(self.file.fileno()))
        except FileNotFoundError:
            return False

    def _is_newest(self) -> bool:
        return self._is(0)

    def _number(self) -> int | None:
        """The number of the file in hand; None when it is not there any more."""
        assert self.file is not None
        for _ in range(10):  # it may move while we look, but not for long
            if os.fstat(self.file.fileno()).st_nlink == 0:
                break
            for number in range(self._oldest() + 2):
                if self._is(number):
                    return number
        return None

    def _go_on(self) -> bool:
        """Take the next file in hand; False when there is none yet."""
        while True:
            number = self._number()
            if number is None:
                self.close()
                self.rest = b""
                return self._begin()
            below, following = number, None
            while following is None and below > 0:
                below -= 1
                following = self._open(below)
            if following is None:
                return False
            vacant = not any(os.path.exists(self._name(between)) for between in range(below + 1, number))
            if vacant and self._is(number):
                self.close()
                self.file, self.rest = following, b""
                return True
            following.close()  # rotated meanwhile: it may be the next but one
