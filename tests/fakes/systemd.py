"""systemd's manager on a bus of its own: takes the calls that a container runtime makes, and records them.

Types and layout of messages: D-Bus specification, "Type System" and "Message Protocol". It makes no control
groups; a runtime that finds none makes them itself.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ERROR = "org.freedesktop.systemd1."


class Refused(Exception):
    """Answered with an error of this name."""


@dataclass
class FakeSystemd:
    """Serves until `close`. `calls` holds (method, arguments) in their order."""

    path: Path
    version: str = "252.39-1~deb12u1"
    result: str = "done"  # of jobs
    calls: list[tuple[str, list[Any]]] = field(default_factory=list)
    units: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)  # units that exist until they are reset
    uids: list[int] = field(default_factory=list)  # of the peers

    def __post_init__(self) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    @property
    def address(self) -> str:
        return f"unix:path={self.path},guid=0123456789abcdef0123456789abcdef"

    def named(self, member: str) -> list[list[Any]]:
        return [arguments for name, arguments in self.calls if name == member]

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join(5)
        self.listener.close()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            with peer:
                credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
                self.uids.append(struct.unpack("3i", credentials)[1])
                try:
                    _Connection(self, peer).serve()
                except (EOFError, ConnectionError):
                    pass

    def answer(self, member: str, arguments: list[Any]) -> tuple[str, list[Any]]:
        """Signature and values of the return; raises `Refused`."""
        if member == "Hello":
            return "s", [":1.7"]
        if member == "AddMatch":
            return "", []
        if member == "Get":
            text = {"Version": self.version, "ControlGroup": "/user.slice/user@1.service"}[arguments[1]]
            return "v", [text]
        self.calls.append((member, arguments))
        unit = arguments[0]
        if member == "StartTransientUnit" and unit in self.units | self.failed:
            raise Refused("UnitExists")
        if (
            member in ("StopUnit", "SetUnitProperties", "ResetFailedUnit")
            and unit not in self.units | self.failed
        ):
            raise Refused("NoSuchUnit")
        if member == "StartTransientUnit":
            self.units.add(unit)
        if member == "StopUnit":
            self.units.discard(unit)
        if member == "ResetFailedUnit":
            self.failed.discard(unit)
        return (
            ("o", ["/org/freedesktop/systemd1/job/1"])
            if member.endswith("tUnit") or member == "StopUnit"
            else ("", [])
        )


class _Connection:
    def __init__(self, fake: FakeSystemd, peer: socket.socket) -> None:
        self.fake, self.peer, self.serial = fake, peer, 0

    def serve(self) -> None:
        assert self._read(1) == b"\0"
        assert self._line() == b"AUTH EXTERNAL"
        self.peer.sendall(b"DATA\r\n")
        assert self._line() == b"DATA"
        self.peer.sendall(b"OK 0123456789abcdef0123456789abcdef\r\n")
        assert self._line() == b"BEGIN"
        while True:
            self._call()

    def _call(self) -> None:
        head = self._read(16)
        order, kind, _, version, size, serial, fields = struct.unpack("<cBBBIII", head)
        assert (order, kind, version) == (b"l", 1, 1), head
        rest = self._read(-(-fields // 8) * 8 + size)
        headers = dict(_Reader(head[12:16] + b"\0\0\0\0" + rest[:fields], 0).value("a(yv)", fields_at=8))
        reader = _Reader(rest[-(-fields // 8) * 8 :], 0)
        arguments = [reader.value(one) for one in _split(headers.get(8, ""))]
        assert reader.at == size, "the body is longer than its signature"
        member = headers[3]
        if member not in ("Hello", "AddMatch"):
            assert headers[6] == "org.freedesktop.systemd1" and headers[1] == "/org/freedesktop/systemd1"
        try:
            signature, values = self.fake.answer(member, arguments)
        except Refused as refused:
            self._send(
                3,
                {4: ("s", ERROR + str(refused)), 5: ("u", serial)},
                "s",
                [f"Unit {arguments[0]}: {refused}."],
            )
            return
        job = signature == "o"
        unrelated = {1: ("o", "/x"), 2: ("s", "x.y"), 3: ("s", "JobRemoved")}
        # a signal of somebody else's job, and of one without any argument, come in between
        self._send(4, unrelated, "uoss", [9, "/org/freedesktop/systemd1/job/9", "other.scope", "failed"])
        self._send(4, unrelated, "", [])
        self._send(2, {5: ("u", serial)}, signature, values)
        if job:
            done = [1, values[0], str(arguments[0]), self.fake.result]
            self._send(4, unrelated, "uoss", done)

    def _send(self, kind: int, fields: dict[int, tuple[str, Any]], signature: str, values: list[Any]) -> None:
        self.serial += 1
        body = bytearray()
        for one, value in zip(_split(signature), values, strict=True):
            _write(body, one, value)
        if signature:
            fields = {**fields, 8: ("g", signature)}
        out = bytearray(struct.pack("<cBBBII", b"l", kind, 1, 1, len(body), self.serial) + b"\0\0\0\0")
        for code, (one, value) in fields.items():
            _pad(out, 8)
            out += bytes([code, 1]) + one.encode() + b"\0"
            _write(out, one, value)
        out[12:16] = struct.pack("<I", len(out) - 16)
        _pad(out, 8)
        self.peer.sendall(out + body)

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.peer.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\r\n"):
            line += self._read(1)
        return line[:-2]


def _pad(out: bytearray, to: int) -> None:
    out += bytes(-len(out) % to)


def _write(out: bytearray, kind: str, value: Any) -> None:
    if kind == "u":
        _pad(out, 4)
        out += struct.pack("<I", value)
    elif kind in "so":
        _pad(out, 4)
        out += struct.pack("<I", len(value)) + value.encode() + b"\0"
    elif kind == "g":
        out += bytes([len(value)]) + value.encode() + b"\0"
    else:
        assert kind == "v"
        out += b"\x01s\0"
        _write(out, "s", value)


def _split(signature: str) -> list[str]:
    """The complete types of a signature: `sa(sv)u` is `s`, `a(sv)`, `u`."""
    found, start, depth = [], 0, 0
    for at, letter in enumerate(signature):
        depth += (letter == "(") - (letter == ")")
        if depth == 0 and letter != "a":
            found.append(signature[start : at + 1])
            start = at + 1
    return found


ALIGNMENT = {"y": 1, "g": 1, "v": 1, "b": 4, "u": 4, "s": 4, "o": 4, "a": 4, "t": 8, "(": 8}


@dataclass
class _Reader:
    data: bytes
    at: int

    def number(self, form: str, size: int) -> int:
        self.at += -self.at % size
        (value,) = struct.unpack_from(form, self.data, self.at)
        self.at += size
        return int(value)

    def text(self, size: int) -> str:
        raw = self.data[self.at : self.at + size + 1]
        assert len(raw) == size + 1 and raw[-1] == 0, "a text that does not end"
        self.at += size + 1
        return raw[:-1].decode()

    def value(self, kind: str, fields_at: int | None = None) -> Any:
        if kind in "ut":
            return self.number("<I", 4) if kind == "u" else self.number("<Q", 8)
        if kind == "y":
            return self.number("<B", 1)
        if kind == "b":
            number = self.number("<I", 4)
            assert number in (0, 1)
            return bool(number)
        if kind in "so":
            return self.text(self.number("<I", 4))
        if kind == "g":
            return self.text(self.number("<B", 1))
        if kind == "v":
            return self.value(self.text(self.number("<B", 1)))
        if kind[0] == "(":
            self.at += -self.at % 8
            return tuple(self.value(one) for one in _split(kind[1:-1]))
        assert kind[0] == "a", kind
        size = self.number("<I", 4)
        self.at += -self.at % ALIGNMENT[kind[1]]
        if fields_at is not None:
            self.at = fields_at
        end, values = self.at + size, []
        while self.at < end:
            values.append(self.value(kind[1:]))
        assert self.at == end, "an array that is longer than it says"
        return bytes(values) if kind == "ay" else values


if __name__ == "__main__":
    fake = FakeSystemd(Path(f"/tmp/fake-systemd-{os.getpid()}"))
    print(fake.address, flush=True)
    fake.thread.join()
