"""`--progress=tty`: the steps in place, with the last lines that the running ones have written.

Each frame is one write: the cursor goes up to where the last frame began, and every line is overwritten and
cleared to its end, so that nothing flickers. The cursor is hidden only within a frame: whoever is killed
leaves a usable terminal.
"""

from __future__ import annotations

import os

from pyd.cli.build_text import columns, cut
from pyd.cli.build_trace import Display, Vertex, no_color

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_WINDOW = 6  # lines of output of each running step
_DESCRIPTION = "pyd:default"  # driver and builder, as buildx shows them
_DONE, _FAILED, _CANCELLED, _OUTPUT = "34", "31", "33", "2"

Row = tuple[str, str, str]  # what stands left, right, colour


class Tty(Display):
    interval = 0.1
    tail = 1000

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.colours = False  # of the output: its window is faint
        self._has_colour = not no_color()
        self._widths: list[int] = []  # columns of the lines of the last frame
        self._size = 80, 24

    def tick(self) -> None:
        self.show_silent()
        self._draw(final=False)

    def on_end(self, vertex: Vertex) -> None:
        if vertex.error is not None:
            self._draw(final=False)

    def on_pause(self) -> None:
        self._draw(final=False)
        self._widths = []  # what comes is below

    def on_finish(self) -> None:
        if self.vertexes:
            self._draw(final=True)
        super().on_finish()

    def coloured(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._has_colour else text

    def _draw(self, *, final: bool) -> None:
        if self.is_paused or self.started is None:
            return
        width, height = self._measure()
        rows = self._rows(width, height, final)
        up = self._height_of_last(width)
        text = "\x1b[?25l" + (f"\x1b[{up}A" if up else "") + "\r"
        widths = []
        for left, right, code in rows:
            line = _aligned(left, right, width - 1)
            widths.append(columns(line))
            text += (self.coloured(line, code) if code else line) + "\x1b[K\n"
        self._widths = [] if final else widths
        self.write(text + "\x1b[J\x1b[?25h")

    def _measure(self) -> tuple[int, int]:
        try:
            found = os.get_terminal_size(self.out.fileno())
        except (OSError, ValueError):
            return 80, 24
        return (found.columns or 80, found.lines or 24)

    def _height_of_last(self, width: int) -> int:
        """Rows that the last frame takes now: a terminal that became narrower has wrapped its lines."""
        return sum(max(1, -(-used // width)) for used in self._widths)

    def _rows(self, width: int, height: int, final: bool) -> list[Row]:
        ended = sum(vertex.ended is not None for vertex in self.vertexes)
        spent = self.clock() - (self.started or 0.0)
        title = f"[+] Building {spent:.1f}s ({ended}/{len(self.vertexes)})"
        if final and ended == len(self.vertexes) and not any(vertex.error for vertex in self.vertexes):
            title += " FINISHED"
        return [(title, _DESCRIPTION, ""), *(self._all() if final else self._some(max(1, height - 2)))]

    def _all(self) -> list[Row]:
        return [row for vertex in self.vertexes for row in self._of(vertex, 0)]

    def _some(self, most: int) -> list[Row]:
        """As many rows as the terminal holds: first the running steps, then the latest of the others."""
        running = [vertex for vertex in self.vertexes if vertex.ended is None]
        rows: dict[Vertex, list[Row]] = {}
        left = most
        # the newest first: of more than fit, those that began long ago are left out
        for vertex in reversed(running):
            if left:
                rows[vertex] = self._of(vertex, 0)[:left]
                left -= len(rows[vertex])
        # those that wrote last have windows
        for vertex in sorted(running, key=lambda vertex: -vertex.wrote):
            window = min(_WINDOW, left - 1, len(vertex.tail))
            if vertex in rows and window > 0:
                rows[vertex] = self._of(vertex, window)
                left -= window
        for vertex in reversed(self.vertexes):
            if vertex.ended is not None:
                found = self._of(vertex, 0)
                if len(found) > left:
                    break
                rows[vertex] = found
                left -= len(found)
        return [row for vertex in self.vertexes for row in rows.get(vertex, ())]

    def _of(self, vertex: Vertex, window: int) -> list[Row]:
        state, code = "", ""
        if vertex.ended is not None:
            code = _DONE
            if vertex.is_cancelled:
                state, code = "CANCELED ", _CANCELLED
            elif vertex.error is not None:
                state, code = "ERROR ", _FAILED
            elif vertex.cached:
                state = "CACHED "
        rows = [(f" => {state}{vertex.name}", self._spent(vertex.started, vertex.ended), code)]
        if self.explain and vertex.reason:
            rows.append((f" => => not cached: {vertex.reason}", "", code))
        for part in vertex.parts.values():
            name = f" => => {part.what} {part.status()}".rstrip()
            rows.append((name, self._spent(part.started, part.ended or vertex.ended), code))
        for _, line in list(vertex.tail)[-window:] if window else ():
            rows.append((f" => => # {line.expandtabs(4)}", "", _OUTPUT))
        return rows

    def _spent(self, start: float, end: float | None) -> str:
        spent = (self.clock() if end is None else end) - start
        return f"{spent if spent >= 0.05 else 0.0:.1f}s"


def _aligned(left: str, right: str, width: int) -> str:
    """`right` at the right edge, `left` cut where it would not fit; never wider than `width`."""
    if not right or width < len(right) + 12:
        return cut(left, width)
    left = cut(left, width - len(right) - 1)
    return f"{left}{' ' * (width - len(right) - columns(left))}{right}"
