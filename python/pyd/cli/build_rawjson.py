"""`--progress=rawjson`: one JSON object a line, in the shape of BuildKit's SolveStatus."""

from __future__ import annotations

import base64
import hashlib
import json
import time

from pyd.cli.build_trace import Display, Part, Vertex
from pyd.engine.build_values import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_EVERY = 0.1  # seconds between two messages about one transfer


class RawJson(Display):
    """Output of steps goes as the bytes that came: base64, so that nothing in it reaches a terminal."""

    tail = 0

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._offset = time.time() - self.clock()  # from the clock to the time of day

    def writes(self, step: Step, stream: int, data: bytes) -> None:
        with self.lock:
            log = {
                "vertex": _digest(self._vertex(step)),
                "stream": stream,
                "data": base64.b64encode(data).decode(),
                "timestamp": self._time(self.clock()),
            }
            self._send(logs=[log])

    def on_begin(self, vertex: Vertex) -> None:
        self._send(vertexes=[self._document(vertex)])

    def on_part(self, vertex: Vertex, part: Part) -> None:
        now = self.clock()
        if part.ended is None and part.shown is not None and now - part.shown < _EVERY:
            return
        part.shown = now
        status: dict[str, Any] = {"id": part.what, "vertex": _digest(vertex)}
        if part.total:
            status["total"] = part.total
        status |= {"current": part.done, "timestamp": self._time(now), "started": self._time(part.started)}
        if part.ended is not None:
            status["completed"] = self._time(part.ended)
        self._send(statuses=[status])

    def on_warning(self, text: str, line: int) -> None:
        warning: dict[str, Any] = {"level": 1, "short": base64.b64encode(text.encode()).decode()}
        if line:
            warning["range"] = [{"start": {"line": line}, "end": {"line": line}}]
        self._send(warnings=[warning])

    def on_end(self, vertex: Vertex) -> None:
        self._send(vertexes=[self._document(vertex)])

    def on_finish(self) -> None:
        pass

    def _document(self, vertex: Vertex) -> dict[str, Any]:
        document: dict[str, Any] = {
            "digest": _digest(vertex),
            "name": vertex.name,
            "started": self._time(vertex.started),
        }
        if vertex.ended is not None:
            document["completed"] = self._time(vertex.ended)
        if vertex.cached:
            document["cached"] = True
        if vertex.error is not None:
            document["error"] = "context canceled" if vertex.is_cancelled else str(vertex.error)
        return document

    def _time(self, clock: float) -> str:
        nanoseconds = int((clock + self._offset) * 1e9)
        moment = time.gmtime(nanoseconds // 10**9)
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', moment)}.{nanoseconds % 10**9:09}Z"

    def _send(self, **status: Any) -> None:
        self.write(json.dumps(status, separators=(",", ":")) + "\n")


def _digest(vertex: Vertex) -> str:
    """BuildKit's is one of what the step is; ours only tells the steps of a build apart."""
    return f"sha256:{hashlib.sha256(f'{vertex.step.id} {vertex.step.name}'.encode()).hexdigest()}"
