"""`--progress=plain`: BuildKit's lines, each with the number of its step.

Steps run side by side, and their lines would be hard to read mixed. So one step at a time has the floor; what
the others say waits until it ends, is silent, or has had the floor for long.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyd.cli.build_trace import SILENCE, Display, Part, Vertex, no_color, stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TURN = 5.0  # seconds that a step has the floor while others wait
_MOST = 256 << 10  # characters that wait; then it is their turn
_PART_EVERY = 5.0


class Plain(Display):
    interval = 0.25

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.colours = not no_color()
        self._current: Vertex | None = None
        self._since = 0.0  # when it got the floor
        self._waiting: dict[Vertex, list[str]] = {}
        self._held: dict[Vertex, tuple[float, int]] = {}  # since when, characters
        self._is_first = True

    def on_begin(self, vertex: Vertex) -> None:
        self._say(vertex)

    def on_reason(self, vertex: Vertex) -> None:
        self._say(vertex, f"not cached: {vertex.reason}")

    def on_lines(self, vertex: Vertex, lines: Sequence[str], now: float) -> None:
        after = stamp(now - vertex.started)
        self._say(vertex, *(f"{after} {line}" for line in lines))

    def on_part(self, vertex: Vertex, part: Part) -> None:
        now = self.clock()
        if part.ended is None and now - (part.shown or part.started) < _PART_EVERY:
            return
        part.shown = now
        spent = (part.ended or now) - part.started
        words = [
            part.what,
            part.status(),
            f"{spent:.1f}s" if spent > 0.01 else "",
            "done" if part.ended else "",
        ]
        self._say(vertex, " ".join(filter(None, words)))
        if part.ended is not None:
            # a part that comes again is another transfer
            vertex.parts = {what: one for what, one in vertex.parts.items() if one is not part}

    def on_end(self, vertex: Vertex) -> None:
        if vertex.is_cancelled:
            self._say(vertex, "CANCELED")
        elif vertex.error is not None:
            self._say(vertex, f"ERROR: {vertex.error}")
        elif vertex.cached:
            self._say(vertex, "CACHED")
        else:
            self._say(vertex, f"DONE {(vertex.ended or 0.0) - vertex.started:.1f}s")

    def on_pause(self) -> None:
        for vertex in list(self._waiting):
            self._show(vertex)

    def on_finish(self) -> None:
        self.on_pause()
        super().on_finish()

    def tick(self) -> None:
        self.show_silent()
        self._pass_on(self.clock())

    def _say(self, vertex: Vertex, *lines: str) -> None:
        now = self.clock()
        self._waiting.setdefault(vertex, []).extend(lines)
        since, held = self._held.get(vertex, (now, 0))
        self._held[vertex] = since, held + sum(map(len, lines))
        if self.is_paused:
            return
        if vertex.ended is not None or self._current in (None, vertex) or held > _MOST:
            self._show(vertex)
        self._pass_on(now)

    def _pass_on(self, now: float) -> None:
        """Give the floor to who has waited longest, if its holder gives it up."""
        if not self._waiting or self.is_paused:
            return
        holder = self._current
        if holder is None or now - holder.wrote > SILENCE or now - self._since > _TURN:
            first = min(self._waiting, key=lambda vertex: self._held[vertex][0])
            if holder is None or self._waiting[first]:
                self._show(first)

    def _show(self, vertex: Vertex) -> None:
        text = ""
        if vertex is not self._current:
            if self._current is not None:
                text += f"#{self._current.number} ...\n"
            text += "" if self._is_first else "\n"
            text += f"#{vertex.number} {vertex.name}\n"
            self._is_first, self._current, self._since = False, vertex, self.clock()
        text += "".join(f"#{vertex.number} {line}\n" for line in self._waiting.pop(vertex, ()))
        self._held.pop(vertex, None)
        if vertex.ended is not None:
            self._current = None
        self.write(text)
