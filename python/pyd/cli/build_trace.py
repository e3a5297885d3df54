"""What a display knows of a running build, and what all displays do alike at its end."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from pyd.cli.build_text import Lines, excerpt, harmless
from pyd.cli.human import printable
from pyd.engine.build_values import Step, Watcher
from pyd.errors import Cancelled
from pyd.sizes import decimal_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

SILENCE = 1.0  # seconds
_TAIL_BYTES = 1 << 20
_WARNINGS = 500
_PARTS = 200


class Part:
    """Bytes on their way: one of the transfers of a vertex."""

    __slots__ = ("done", "ended", "shown", "started", "total", "what")

    def __init__(self, what: str, started: float) -> None:
        # BuildKit's words for what every build has
        self.what = "transferring context:" if what == "context" else printable(what)
        self.started = started
        self.ended: float | None = None
        self.shown: float | None = None  # when a display told it last
        self.done = 0
        self.total = 0

    def status(self) -> str:
        if self.total:
            return f"{decimal_size(self.done)} / {decimal_size(self.total)}"
        return decimal_size(self.done) if self.done else ""


class Vertex:
    """A step that has begun. `number` is in the order of beginning, as people read it."""

    __slots__ = (
        "_streams",
        "bytes",
        "cached",
        "dropped",
        "ended",
        "error",
        "name",
        "number",
        "parts",
        "reason",
        "started",
        "step",
        "tail",
        "wrote",
    )

    def __init__(self, number: int, step: Step, started: float) -> None:
        self.number = number
        self.step = step
        self.name = printable(" ".join(step.name.split("\n")))
        self.started = started
        self.ended: float | None = None
        self.cached = False
        self.error: BaseException | None = None
        self.reason = ""
        self.parts: dict[str, Part] = {}
        self.tail: deque[tuple[float, str]] = deque()  # seconds after its start, line
        self.bytes = 0  # of the tail
        self.dropped = 0  # lines that were in the tail before
        self.wrote = started  # when its last output came
        self._streams: dict[int, Lines] = {}

    @property
    def is_cancelled(self) -> bool:
        return isinstance(self.error, (Cancelled, KeyboardInterrupt))

    def feed(self, stream: int, data: bytes, now: float) -> list[str]:
        """The lines that end with this output."""
        self.wrote = now
        lines = self._streams.setdefault(stream, Lines()).feed(data)
        return [line.decode(errors="replace") for line in lines]

    def rest(self) -> list[str]:
        """What has no end of line yet, as lines."""
        found = [lines.take() for lines in self._streams.values()]
        return [line.decode(errors="replace") for line in found if line is not None]

    def keep(self, line: str, now: float, most: int) -> None:
        """In the tail, of at most `most` lines."""
        self.tail.append((now - self.started, line))
        self.bytes += len(line)
        while len(self.tail) > most or self.bytes > _TAIL_BYTES:
            self.bytes -= len(self.tail.popleft()[1])
            self.dropped += 1

    def part(self, what: str, now: float) -> Part:
        found = self.parts.get(what)
        if found is None:
            if len(self.parts) >= _PARTS:
                self.parts.pop(next(iter(self.parts)))
            found = self.parts[what] = Part(what, now)
        return found


class Display(Watcher):
    """Base of the displays: keeps the trace, under one lock. `on_…` are called with it held; so is `tick`, by
    a thread of its own as long as the build runs.
    """

    interval = 0.0  # seconds between ticks; 0 = none
    tail = 10  # lines of output that a failed step shows again
    colours = True

    def __init__(
        self,
        out: TextIO | None = None,
        *,
        explain: bool = False,
        debug: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.out: TextIO = out or sys.stderr
        self.explain = explain
        self.debug = debug
        self.clock = clock
        self.lock = threading.RLock()
        self.vertexes: list[Vertex] = []
        self.warnings: list[tuple[str, int]] = []
        self.unshown = 0  # warnings that are too many
        self.file: tuple[str, Sequence[str]] | None = None  # the Dockerfile
        self.started: float | None = None
        self.is_paused = False  # a shell has the terminal
        self.shell: int | None = None  # the step that it belongs to
        self.is_finished = False
        self._by_id: dict[int, Vertex] = {}
        self._lost = False  # nobody reads what is written
        self._done = threading.Event()
        self._ticker: threading.Thread | None = None

    # What the build tells

    def reads(self, name: str, lines: Sequence[str]) -> None:
        with self.lock:
            self.file = printable(name), lines

    def begins(self, step: Step) -> None:
        with self.lock:
            self._vertex(step)

    def cached(self, step: Step) -> None:
        with self.lock:
            self._vertex(step).cached = True

    def explains(self, step: Step, reason: str) -> None:
        with self.lock:
            vertex = self._vertex(step)
            vertex.reason = printable(reason)
            if self.explain:
                self.on_reason(vertex)

    def writes(self, step: Step, stream: int, data: bytes) -> None:
        with self.lock:
            if step.id == self.shell:
                self.write_bytes(data)  # of a shell: the terminal is the user's, as in `run -it`
                return
            vertex, now = self._vertex(step), self.clock()
            self.take_lines(vertex, vertex.feed(stream, data, now), now)

    def counts(self, step: Step, what: str, done: int, total: int) -> None:
        with self.lock:
            vertex, now = self._vertex(step), self.clock()
            part = vertex.part(what, now)
            part.done, part.total = done, total
            if total and done >= total and part.ended is None:
                part.ended = now
            self.on_part(vertex, part)

    def warns(self, text: str, line: int = 0) -> None:
        with self.lock:
            one = printable(text), line
            if one in self.warnings:
                return
            if len(self.warnings) < _WARNINGS:
                self.warnings.append(one)
            else:
                self.unshown += 1
            self.on_warning(*one)

    def ends(self, step: Step, error: BaseException | None = None) -> None:
        with self.lock:
            vertex, now = self._vertex(step), self.clock()
            if vertex.ended is not None:
                return
            if step.id == self.shell:
                self.is_paused, self.shell = False, None
            self.take_lines(vertex, vertex.rest(), now)
            for part in list(vertex.parts.values()):
                if part.ended is None and error is None:
                    part.ended = now
                    self.on_part(vertex, part)
            vertex.ended, vertex.error = now, error
            self.on_end(vertex)
            if error is None:
                vertex.tail.clear()

    def interrupts(self, step: Step, text: str) -> None:
        with self.lock:
            self.on_pause()
            self.write(f"\n{printable(text)}\n")
            self.is_paused, self.shell = True, step.id

    def finishes(self) -> None:
        """May be called again: whoever meets an error does not know whether the build came to that."""
        with self.lock:
            if self.is_finished:
                return
            self.is_finished = True
            self.is_paused = False
            self._done.set()
            self.on_finish()
        if self._ticker is not None and self._ticker is not threading.current_thread():
            self._ticker.join()

    # What a display does about it

    def on_begin(self, vertex: Vertex) -> None: ...

    def on_reason(self, vertex: Vertex) -> None: ...

    def on_lines(self, vertex: Vertex, lines: Sequence[str], now: float) -> None: ...

    def on_part(self, vertex: Vertex, part: Part) -> None: ...

    def on_warning(self, text: str, line: int) -> None: ...

    def on_end(self, vertex: Vertex) -> None: ...

    def on_pause(self) -> None: ...

    def on_finish(self) -> None:
        self.write(self.errors() + self.summary())

    def tick(self) -> None: ...

    # What they share

    def write(self, text: str) -> None:
        """In one piece. A reader that is gone stops no build."""
        if not text or self._lost:
            return
        try:
            self.out.write(text)
            self.out.flush()
        except (OSError, ValueError):
            self._lost = True

    def write_bytes(self, data: bytes) -> None:
        try:
            os.write(self.out.fileno(), data)
        except (OSError, ValueError):
            pass

    def errors(self) -> str:
        """The last output of each step that has failed, between rules."""
        text = ""
        for vertex in self.vertexes:
            if vertex.error is None or vertex.is_cancelled:
                continue
            lines = [f"{stamp(after)} {line}" for after, line in vertex.tail]
            if vertex.dropped and self.tail > 10:
                lines.insert(0, f"[{vertex.dropped} lines before these were not kept]")
            text += "\n".join(["------", f" > {vertex.name}:", *lines, "------", ""])
        return text

    def summary(self) -> str:
        """The warnings, in BuildKit's form."""
        if not self.warnings:
            return ""
        count = len(self.warnings) + self.unshown
        title = "1 warning found" if count == 1 else f"{count} warnings found"
        title += "" if self.debug else " (use pyd --debug to expand)"
        text = f"\n {self.coloured(f'{title}:', '33')}\n"
        for warning, line in self.warnings:
            text += f" - {warning}{f' (line {line})' if line and f'(line {line})' not in warning else ''}\n"
            if self.debug and line and self.file:
                text += self.excerpt(line) + "\n"
        return text

    def failed_excerpt(self) -> str:
        """The instruction that has failed, in its Dockerfile; "" if that is not known."""
        for vertex in self.vertexes:
            if vertex.error is not None and not vertex.is_cancelled and vertex.step.line:
                return self.excerpt(vertex.step.line)
        return ""

    def excerpt(self, first: int, last: int = 0) -> str:
        """These lines of the Dockerfile with some around them; "" if it is not known."""
        return excerpt(*self.file, first, last or first) if self.file else ""

    def coloured(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colours and self.out.isatty() else text

    def _vertex(self, step: Step) -> Vertex:
        vertex = self._by_id.get(step.id)
        if vertex is None:
            now = self.clock()
            self.started = now if self.started is None else self.started
            vertex = self._by_id[step.id] = Vertex(len(self.vertexes) + 1, step, now)
            self.vertexes.append(vertex)
            if self.interval and self._ticker is None and not self.is_finished:
                self._ticker = threading.Thread(target=self._tick, daemon=True)
                self._ticker.start()
            self.on_begin(vertex)
        return vertex

    def show_silent(self) -> None:
        """Lines without an end, of steps that write nothing more: a prompt, dots that come one by one."""
        now = self.clock()
        for vertex in self.vertexes:
            if vertex.ended is None and now - vertex.wrote > SILENCE:
                self.take_lines(vertex, vertex.rest(), now)

    def take_lines(self, vertex: Vertex, lines: Sequence[str], now: float) -> None:
        if lines:
            lines = [harmless(line, colours=self.colours) for line in lines]
            for line in lines[-self.tail :] if self.tail else ():
                vertex.keep(line, now, self.tail)
            vertex.dropped += max(0, len(lines) - self.tail)
            self.on_lines(vertex, lines, now)

    def _tick(self) -> None:
        while not self._done.wait(self.interval):
            with self.lock:
                if not self.is_paused and not self.is_finished:
                    self.tick()


def stamp(seconds: float) -> str:
    """As BuildKit's: 0.412, 12.34, 123.4."""
    return f"{seconds:.{3 if seconds < 10 else 2 if seconds < 100 else 1}f}"


def no_color() -> bool:
    """https://no-color.org: set and not empty."""
    return bool(os.environ.get("NO_COLOR"))
