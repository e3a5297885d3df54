"""Reading a container's log: Docker's json-file format, rotated files oldest first, following through
rotation.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from pyd.errors import from_os_error

_POLL_SECONDS = 0.04


class LogLine(NamedTuple):
    time: str  # RFC 3339 with nanoseconds
    stream: str  # stdout or stderr
    text: str  # with its newline; without it, a part of a long line or an unfinished one


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
    follower = _Follower(path) if follow else None
    lines = _filter(_existing(path, follower), wanted, since, until)
    if tail is not None:
        yield from _last(lines, tail)
    else:
        yield from lines
    if follower is None:
        return
    try:
        while until is None or time.time() < until:
            alive = running()  # before the reading: what was written before the end is read after it
            fresh = follower.lines()
            yield from _filter(fresh, wanted, since, until)
            if not fresh:
                if not alive:
                    return
                time.sleep(_POLL_SECONDS)
    finally:
        follower.close()


def _last(lines: Iterator[LogLine], count: int) -> Iterator[LogLine]:
    """The last `count` whole lines: a long line that was written in parts counts once."""
    if count <= 0:
        for _ in lines:  # the follower's position must come behind them
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


def _existing(path: str, follower: _Follower | None) -> Iterator[LogLine]:
    """All lines that are there: path.N … path.1, then path itself (through the follower, which goes on
    there).
    """
    count = 1
    while os.path.exists(f"{path}.{count}"):
        count += 1
    for number in range(count - 1, 0, -1):
        yield from _whole(f"{path}.{number}")
    if follower is None:
        yield from _whole(path)
        return
    while fresh := follower.lines():
        yield from fresh


def _whole(path: str) -> Iterator[LogLine]:
    try:
        with open(path, "rb") as file:
            for raw in file:
                line = parse(raw)
                if line is not None:
                    yield line
    except FileNotFoundError:
        return
    except OSError as error:
        raise from_os_error(error, f"reading {path}") from error


class _Follower:
    """Reads a growing file and goes over to the next one when the shim has rotated it away."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.file = self._open()
        self.rest = b""

    def _open(self) -> BinaryIO | None:
        try:
            return open(self.path, "rb")
        except FileNotFoundError:
            return None

    def lines(self) -> list[LogLine]:
        """Whole lines since the last call."""
        if self.file is None:
            self.file = self._open()
            if self.file is None:
                return []
        data = self.file.read(1 << 20)
        if not data and self._rotated():
            # the shim no longer writes to the old file: once more to its end, then the new one
            data = self.file.read()
            if not data:
                self.close()
                self.file = self._open()
                return self.lines() if self.file is not None else []
        *whole, self.rest = (self.rest + data).split(b"\n")
        return [line for raw in whole if (line := parse(raw)) is not None]

    def _rotated(self) -> bool:
        assert self.file is not None
        try:
            now = os.stat(self.path)
        except FileNotFoundError:
            return False
        mine = os.fstat(self.file.fileno())
        return (now.st_ino, now.st_dev) != (mine.st_ino, mine.st_dev)

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None
