"""How long an answer may take, and how slowly it may come.

The time limits of httpx are for silence: a byte now and then, or one informational answer (1xx) after the
other, would hold a command for ever. Here the whole of an answer's head has one limit, counted from the last
byte of the question, and a body must get on.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

ANSWER = 60.0  # seconds from the question to the end of the answer's headers
PACE = 60.0  # seconds in which at least LEAST bytes of a body must come
LEAST = 4096  # bytes; a transfer that brings fewer has not got on

_answer = threading.local()


class Pace:
    """Counts the bytes of one body. Raises httpx.ReadTimeout when they come too slowly."""

    def __init__(self) -> None:
        self._since, self._bytes = time.monotonic(), 0

    def add(self, count: int) -> None:
        self._bytes += count
        now = time.monotonic()
        if now - self._since > PACE:
            if self._bytes < LEAST:
                raise httpx.ReadTimeout("too slow")
            self._since, self._bytes = now, 0


@contextmanager
def answering() -> Iterator[None]:
    """What is sent inside must be answered in time."""
    _answer.until = time.monotonic() + ANSWER
    try:
        yield
    finally:
        _answer.until = None


class Transport(httpx.HTTPTransport):
    """httpx's own, whose connections know when an answer is late. `tls`: None for plain http."""

    def __init__(
        self, *, tls: ssl.SSLContext | None, proxy: httpx.Proxy | None, limits: httpx.Limits
    ) -> None:
        if tls is None and proxy is None:
            # httpx would make a context all the same, the first of which takes OpenSSL milliseconds
            self._pool = httpcore.ConnectionPool(
                max_connections=limits.max_connections,
                max_keepalive_connections=limits.max_keepalive_connections,
                keepalive_expiry=limits.keepalive_expiry,
            )
        else:
            # netrc and the rest of httpx's trust_env hold passwords for others
            super().__init__(verify=tls or False, proxy=proxy, trust_env=False, limits=limits)
        # httpcore takes a backend from whoever makes the pool, and httpx makes it itself
        self._pool._network_backend = _Backend(self._pool._network_backend)


def passed(response: httpx.Response, count: int) -> bool:
    """Tell h11 that the last `count` bytes of a body were read past it. False where that cannot be told: the
    connection is then closed at the end instead of used again.
    """
    stream: Any = response.stream
    try:
        reader = stream._httpcore_stream._stream._connection._h11_state._reader
        if reader._remaining != count:
            return False
        reader._remaining = 0
    except AttributeError:  # another version of one of the four
        return False
    return True


class _Backend(httpcore.NetworkBackend):
    def __init__(self, backend: httpcore.NetworkBackend) -> None:
        self._backend = backend

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(self._backend.connect_tcp(host, port, timeout, local_address, socket_options))

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._backend.connect_unix_socket(path, timeout, socket_options))

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        until = getattr(_answer, "until", None)
        if until is not None:
            left = until - time.monotonic()
            if left <= 0:
                raise httpcore.ReadTimeout("the answer does not come to its end")
            timeout = left if timeout is None else min(timeout, left)
        return self._stream.read(max_bytes, timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)
        # a long upload is not the other side's delay
        if getattr(_answer, "until", None) is not None:
            _answer.until = time.monotonic() + ANSWER

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
