"""Carrying bytes between the caller's stdio and a container: frames on one side, descriptors or buffers on
the other.

One thread, one poll loop, both directions non-blocking towards the shim: a container that is slow to read
its stdin must not keep us from reading its output, or `pyd run -i x cat < big` would stand still for ever.
"""

from __future__ import annotations

import json
import os
import select
import struct
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.runtime.connection import Connection

STDIN, STDOUT, STDERR, CONTROL = 0, 1, 2, 3
_HEADER = struct.Struct(">BxxxI")
_CHUNK = 65536
_PENDING = 1 << 20
DETACH_KEYS = "ctrl-p,ctrl-q"


def parse_detach_keys(text: str) -> bytes:
    """ "ctrl-p,ctrl-q" or "ctrl-x,y" to the bytes of the keys. Raises ValueError."""
    keys = b""
    for key in text.split(","):
        if len(key) == 1 and key.isascii():
            keys += key.encode()
        elif key.startswith("ctrl-") and len(key) == 6 and key[5] in "abcdefghijklmnopqrstuvwxyz@[\\]^_":
            keys += bytes([ord(key[5].upper()) - 64])
        else:
            raise ValueError(f"Unknown character: '{key}'")
    return keys


class Pump:
    """Moves bytes until the container ends, the user detaches or the monitor is gone.

    stdin: descriptor to read, None = none. write: called with (STDOUT | STDERR, bytes).
    detach_keys: watched for in what stdin gives; b"" = never.
    leave_at_eof: the end of stdin is not handed on, it ends the pump when all before it is sent.
    """

    def __init__(
        self,
        connection: Connection,
        write: Callable[[int, bytes], None],
        *,
        stdin: int | None = None,
        detach_keys: bytes = b"",
        received: bytes = b"",
        leave_at_eof: bool = False,
    ) -> None:
        self.leave_at_eof = leave_at_eof
        self.connection = connection
        self.write = write
        self.stdin = stdin
        self.keys = detach_keys
        self.matched = 0  # how many of the detach keys were just typed
        self.inbox = bytearray(received)
        self.outbox = bytearray()
        self.exit: dict[str, Any] | None = None
        self.detached = False
        self.left = False  # at the end of stdin

    def run(self) -> dict[str, Any] | None:
        """The exit record of the container or exec; None when detached or when the shim is gone."""
        self.connection.setblocking(False)
        poll = select.poll()
        poll.register(self.connection, select.POLLIN)
        self._take()
        reading_stdin = False
        while self.exit is None and not self.detached and not (self.left and not self.outbox):
            wants_stdin = self.stdin is not None and len(self.outbox) < _PENDING
            if wants_stdin != reading_stdin and self.stdin is not None:
                if wants_stdin:
                    poll.register(self.stdin, select.POLLIN)
                else:
                    poll.unregister(self.stdin)
                reading_stdin = wants_stdin
            poll.modify(self.connection, select.POLLIN | (select.POLLOUT if self.outbox else 0))
            for fd, events in poll.poll():
                if fd == self.stdin:
                    if not self._read_stdin():
                        poll.unregister(fd)
                        self.stdin, reading_stdin = None, False
                else:
                    if events & select.POLLOUT:
                        self._send()
                    if events & (select.POLLIN | select.POLLHUP | select.POLLERR) and not self._receive():
                        return self.exit
        return self.exit

    def _receive(self) -> bool:
        """Read what there is; False when the other side is gone."""
        try:
            data = self.connection.recv(_CHUNK * 4)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        if not data:
            return False
        self.inbox += data
        self._take()
        return True

    def _take(self) -> None:
        """Hand on all whole frames of the inbox."""
        position = 0
        while len(self.inbox) - position >= _HEADER.size:
            stream, length = _HEADER.unpack_from(self.inbox, position)
            end = position + _HEADER.size + length
            if len(self.inbox) < end:
                break
            payload = bytes(self.inbox[position + _HEADER.size : end])
            position = end
            if stream == CONTROL:
                self.exit = json.loads(payload).get("exit", self.exit)
            else:
                self.write(stream, payload)
        del self.inbox[:position]

    def _read_stdin(self) -> bool:
        """Read from the caller and queue it; False at its end."""
        assert self.stdin is not None
        try:
            data = os.read(self.stdin, _CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            data = b""  # a terminal that hung up
        if not data:
            if self.leave_at_eof:
                self.left = True
            else:
                self._queue(STDIN, b"")
            return False
        data = self._watch_keys(data) if self.keys else data
        if data:
            self._queue(STDIN, data)
        return True

    def _watch_keys(self, data: bytes) -> bytes:
        """What goes on to the container: all but a complete sequence of detach keys, or its beginning so
        far.
        """
        out = bytearray()
        for byte in data:
            if byte == self.keys[self.matched]:
                self.matched += 1
                if self.matched == len(self.keys):
                    self.detached = True
                    return bytes(out)
                continue
            out += self.keys[: self.matched]
            self.matched = 0
            if byte == self.keys[0]:
                self.matched = 1
            else:
                out.append(byte)
        return bytes(out)

    def _queue(self, stream: int, payload: bytes) -> None:
        self.outbox += _HEADER.pack(stream, len(payload)) + payload
        self._send()

    def _send(self) -> None:
        try:
            sent = self.connection.send(self.outbox)
        except BlockingIOError:
            return
        except OSError:
            self.outbox.clear()  # the exit frame, if any, is still to be read
            return
        del self.outbox[:sent]


def to_descriptors(stdout: int | None, stderr: int | None) -> Callable[[int, bytes], None]:
    """A `write` for Pump that fills two descriptors; None throws away."""

    def write(stream: int, data: bytes) -> None:
        fd = stderr if stream == STDERR else stdout
        if fd is None:
            return
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(fd, view) :]
            except BlockingIOError:
                select.select(
                    [], [fd], []
                )  # stdout shares its file description with somebody who set O_NONBLOCK

    return write
