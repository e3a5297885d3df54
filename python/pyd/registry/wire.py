"""Whole blobs over plain http without httpx: most pulls from this machine or this room are made of them.

A request through httpx and h11 takes as long as a small layer does to come and to be unpacked. Here Rust
sends it and reads the answer (`LayerIngest.ask`). It knows one answer: 200, and as many bytes as the blob
has. After any other one httpx asks for that blob again, and for all others: redirects, challenges, retries
and errors are its own, and a registry that needs them is spared the second request.

Whoever waits here is not woken by `Transport.stop`: the ingest gives up by itself when its pull is cancelled.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING

import httpx

from pyd.registry import patience
from pyd.registry.proxy import proxy_for

if TYPE_CHECKING:
    from pyd.registry.sink import Sink

_CONNECT = 15  # seconds


class Wire:
    """Connections to the origin of `url`, which speaks plain http. May be used by several threads."""

    def __init__(self, url: httpx.URL) -> None:
        self._address = url.host, url.port or 80
        self._is_good = proxy_for(url) is None
        self._idle: list[socket.socket] = []

    def fetch(self, url: httpx.URL, headers: Mapping[str, str], ingest: Sink) -> int:
        """Put a whole blob, of which nothing is there, into `ingest`: how many bytes came."""
        request = _request(url, headers) if self._is_good else None
        connection = self._connection() if request else None
        if request is None or connection is None:
            self._is_good = False
            return 0
        is_good = False
        try:
            received, is_good = ingest.ask(connection.fileno(), request, patience=patience.ANSWER)
        finally:
            if is_good:
                self._idle.append(connection)
            else:
                connection.close()
                self._is_good = False
        return received

    def close(self) -> None:
        for connection in self._idle:
            connection.close()

    def _connection(self) -> socket.socket | None:
        try:
            return self._idle.pop()
        except IndexError:
            pass
        try:
            return socket.create_connection(self._address, _CONNECT)
        except OSError:
            return None  # httpx meets it too, and says why


def _request(url: httpx.URL, headers: Mapping[str, str]) -> bytes | None:
    """None for a header that could end before its end: h11 refuses it with an error."""
    lines = [f"GET {url.raw_path.decode('ascii')} HTTP/1.1", f"Host: {url.netloc.decode('ascii')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if not all(line.isascii() and line.isprintable() for line in lines):
        return None
    return "\r\n".join((*lines, "", "")).encode("ascii")
