"""What is no HTTP, what is too much of it, and what comes too slowly."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from functools import partial

from tests.fakes.registry import Handler
from tests.hostile.registry.case import Scene, case, head, raw, reset

BROKEN = (
    "illegal|malformed|disconnected|reset|closed|ended early|no answer|unknown|invalid|connection|header|"
    "broken pipe|too large|status|chunk|too long|no response line|SWITCH|not valid JSON"
)


def _answer(scene: Scene, data: bytes, part: str = "/manifests/") -> None:
    scene.fault(lambda handler: raw(handler, data), part)


for _name, _data in (
    ("nothing", b""),
    ("one byte", b"H"),
    ("HTTP/0.9", b"<html>hello</html>"),
    ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("HTTP/9.9", b"HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("a status that is a word", b"HTTP/1.1 OK OK\r\n\r\n"),
    ("a status of 5 digits", b"HTTP/1.1 20000 OK\r\n\r\n"),
    ("a negative status", b"HTTP/1.1 -200 OK\r\n\r\n"),
    ("a status line of 300 kB", b"HTTP/1.1 200 " + b"A" * 300_000 + b"\r\n\r\n"),
    ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n"),
    ("a TLS alert", b"\x15\x03\x01\x00\x02\x02\x46"),
    ("NULs", bytes(10_000)),
    ("random bytes", bytes(range(128, 256)) * 50),
    ("a header without a colon", b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n"),
    ("a header without a name", b"HTTP/1.1 200 OK\r\n: x\r\n\r\n"),
    ("a header with NUL", b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n"),
    ("a header with an escape", b"HTTP/1.1 200 \x1b[2J\r\nX-\x1b[2J: \x1b[2J\r\n\r\n"),
    ("a header of 300 kB", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 300_000 + b"\r\n\r\n"),
    ("100 thousand headers", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000 + b"\r\n"),
    ("headers without an end", b"HTTP/1.1 200 OK\r\nX: y\r\n"),
    (
        "two kinds of Transfer-Encoding",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ),
    ("an unknown Transfer-Encoding", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: x\r\n\r\nabc"),
    ("101 Switching Protocols", b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nabc"),
    ("100 Continue and no more", b"HTTP/1.1 100 Continue\r\n\r\n"),
):
    case(f"answer: {_name}", BROKEN)(partial(_answer, data=_data))
for _name, _data in (
    ("HTTP/0.9", b"hello"),
    ("nothing", b""),
    ("NULs", bytes(10_000)),
    ("a header of 300 kB", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 300_000 + b"\r\n\r\n"),
):
    case(f"answer for a blob: {_name}", BROKEN)(partial(_answer, data=_data, part="/blobs/"))


def _flood(scene: Scene, piece: bytes, part: str = "/manifests/") -> None:
    """Without an end."""

    def flood(handler: Handler) -> bool:
        try:
            while True:
                handler.wfile.write(piece)
        except OSError:
            handler.cut()
        return True

    scene.fault(flood, part)


SLOW = BROKEN + "|too slow|more than"
case("flood: of 1xx", SLOW, seconds=20, impatient=True)(
    partial(_flood, piece=b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
)
case("flood: of 103 with links", SLOW, seconds=20, impatient=True)(
    partial(_flood, piece=b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 100)
)
case("flood: of newlines", SLOW, seconds=20, impatient=True)(partial(_flood, piece=b"\r\n" * 1000))
case("flood: of a status line", SLOW, seconds=20, impatient=True)(partial(_flood, piece=b"A" * 10_000))


@case("flood: a manifest without an end", SLOW)
def _(scene: Scene) -> None:
    def flood(handler: Handler) -> bool:
        head(handler, 200, ("Connection", "close"))
        try:
            while True:
                handler.wfile.write(b" " * 65536)
        except OSError:
            handler.cut()
        return True

    scene.fault(flood, "/manifests/")


@case("flood: of trailers", SLOW, seconds=20, impatient=True)
def _(scene: Scene) -> None:
    def flood(handler: Handler) -> bool:
        head(handler, 200, ("Transfer-Encoding", "chunked"))
        handler.wfile.write(b"2\r\n{}\r\n0\r\n")
        try:
            while True:
                handler.wfile.write(b"X: y\r\n" * 1000)
        except OSError:
            handler.cut()
        return True

    scene.fault(flood, "/manifests/")


@case("trailers that contradict the headers", comes=True)
def _(scene: Scene) -> None:
    def trailers(handler: Handler) -> bool:
        data = scene.image.manifest_bytes
        head(
            handler,
            200,
            ("Transfer-Encoding", "chunked"),
            ("Content-Type", scene.image.manifest["mediaType"]),
        )
        body = b"%x\r\n%s\r\n0\r\n" % (len(data), data)
        return raw(handler, body + b"Docker-Content-Digest: sha256:0\r\nContent-Length: 5\r\n\r\n")

    scene.fault(trailers, "/manifests/")


@case("1xx before the answer", comes=True)
def _(scene: Scene) -> None:
    def early(handler: Handler) -> bool:
        handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 3)
        return handler.answer(200, scene.image.layers[1])

    scene.fault(early, scene.big)


@case("two answers to one question", comes=True)
def _(scene: Scene) -> None:
    # what comes behind belongs to nobody: the connection is not used again
    def twice(handler: Handler) -> bool:
        handler.answer(200, scene.image.layers[1])
        head(handler, 200, ("Content-Length", 4))
        return raw(handler, b"evil")

    scene.fault(twice, scene.big)


def drip(handler: Handler, data: bytes, pause: float = 0.05) -> bool:
    """A byte now and then: never silent, never done."""
    try:
        for byte in data:
            handler.wfile.write(bytes((byte,)))
            time.sleep(pause)
    except OSError:
        pass
    handler.cut()
    return True


def _stall(handler: Handler, before: bytes = b"") -> bool:
    """Silence until the other side gives up."""
    handler.wfile.write(before)
    handler.connection.settimeout(4)
    try:
        handler.connection.recv(1, socket.MSG_PEEK)
    except OSError:
        pass
    handler.cut()
    return True


STALLED = "no answer within|timed out|too slow|nothing came"
_stall_case: Callable[..., Callable[[Callable[[Scene], None]], Callable[[Scene], None]]] = partial(
    case, says=STALLED, seconds=20, impatient=True
)


@_stall_case("stall: before the headers")
def _(scene: Scene) -> None:
    scene.fault(_stall, "/manifests/")


@_stall_case("stall: in the headers")
def _(scene: Scene) -> None:
    scene.fault(lambda h: _stall(h, b"HTTP/1.1 200 OK\r\nContent-Le"), "/manifests/")


@_stall_case("stall: in the manifest")
def _(scene: Scene) -> None:
    scene.fault(lambda h: _stall(h, b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"), "/manifests/")


@_stall_case("stall: before a blob")
def _(scene: Scene) -> None:
    scene.fault(_stall, scene.big)


@case("stall: in the middle of a blob, and all after", STALLED, resumes=True, seconds=20, impatient=True)
def _(scene: Scene) -> None:
    def part(handler: Handler) -> bool:
        data = scene.image.layers[1]
        start = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data)
        return _stall(handler, b"" if "Range" in handler.headers else start + data[:100_000])

    scene.fault(part, scene.big)


@case("stall: in the middle of a blob, once", comes=True, impatient=True)
def _(scene: Scene) -> None:
    data = scene.image.layers[1]
    start = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data)
    scene.fault(lambda h: _stall(h, start + data[:100_000]), scene.big, times=1)


@_stall_case("stall: at the first question")
def _(scene: Scene) -> None:
    scene.fault(_stall, "/v2/")


@_stall_case("stall: when connecting")
def _(scene: Scene) -> None:
    # a queue that is full: the kernel answers nobody
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(0)
    waiting = []
    for _ in range(4):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(server.getsockname())
        waiting.append(client)
    scene.at_end += [each.close for each in (server, *waiting)]
    scene.host = f"127.0.0.1:{server.getsockname()[1]}"
    scene.on_heal.append(lambda: setattr(scene, "host", ""))


@case("slow: headers byte by byte", SLOW, seconds=20, impatient=True)
def _(scene: Scene) -> None:
    scene.fault(lambda h: drip(h, b"HTTP/1.1 200 OK\r\nX: " + b"y" * 2000), "/manifests/")


@case("slow: a manifest byte by byte", SLOW, seconds=20, impatient=True)
def _(scene: Scene) -> None:
    def slow(handler: Handler) -> bool:
        head(handler, 200, ("Content-Length", 2000))
        return drip(handler, b"{" + b" " * 2000)

    scene.fault(slow, "/manifests/")


@case("slow: a blob byte by byte", SLOW, resumes=True, seconds=20, impatient=True)
def _(scene: Scene) -> None:
    def slow(handler: Handler) -> bool:
        data = scene.image.layers[1]
        if "Range" in handler.headers:
            start = int(handler.headers["Range"].strip("bytes=-").partition("-")[0])
            span = f"bytes {start}-{len(data) - 1}/{len(data)}"
            head(handler, 206, ("Content-Length", len(data) - start), ("Content-Range", span))
        else:
            start = 0
            head(handler, 200, ("Content-Length", len(data)))
        return drip(handler, data[start:])

    scene.fault(slow, scene.big)


@case("reset: at the first question", BROKEN + "|refused|record|wrong version")
def _(scene: Scene) -> None:
    scene.fault(reset, "/v2/")


@case("reset: before the manifest", BROKEN)
def _(scene: Scene) -> None:
    scene.fault(reset, "/manifests/")


@case("reset: before a blob", BROKEN)
def _(scene: Scene) -> None:
    scene.fault(reset, scene.big)


@case("reset: before a blob, once", comes=True)
def _(scene: Scene) -> None:
    scene.fault(reset, scene.big, times=1)


@case("the connection ends after every answer", comes=True)
def _(scene: Scene) -> None:
    def close(handler: Handler) -> bool:
        handler.cut()
        return False

    scene.registry.faults.append(close)
