"""A TCP proxy that counts what passes from the server to its clients, slows it, and resets connections in the
middle of it.
"""

from __future__ import annotations

import contextlib
import random
import select
import socket
import struct
import threading
import time
from types import TracebackType

_STEP = 16 << 10
_BUFFER = 32 << 10
"""Of each connection to a client: what lies in it when the connection is reset is lost on the way."""


class CuttingProxy:
    """`cuts`: how many connections are reset, each after 1 to `longest` bytes. `rate`: bytes a second of each
    connection, 0 = as fast as it goes.
    """

    def __init__(self, server: int, *, cuts: int = 0, longest: int = 0, rate: int = 0, seed: int = 1) -> None:
        self.passed = 0
        self.cuts_left = cuts
        self._server = server
        self._longest = longest
        self._rate = rate
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.host = f"127.0.0.1:{self.port}"
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> CuttingProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # accept() in another thread wakes by this, not by close()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            server = socket.create_connection(("127.0.0.1", self._server))
            threading.Thread(target=self._serve, args=(server, client), daemon=True).start()

    def _serve(self, server: socket.socket, client: socket.socket) -> None:
        """Both ways in one thread: while another one reads a socket, closing it ends nothing."""
        allowed = self._fate()
        with server, client, contextlib.suppress(OSError):
            while True:
                ready, _, _ = select.select([server, client], [], [])
                if client in ready:
                    data = client.recv(_STEP)
                    if not data:
                        return
                    server.sendall(data)
                if server not in ready:
                    continue
                data = server.recv(_STEP if allowed is None else min(_STEP, allowed))
                if not data:
                    return
                client.sendall(data)
                with self._lock:
                    self.passed += len(data)
                if self._rate:
                    time.sleep(len(data) / self._rate)
                if allowed is not None:
                    allowed -= len(data)
                    if allowed <= 0:
                        with self._lock:
                            self.cuts_left -= 1
                        # close() sends a reset now, and drops what has not left yet
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        return

    def _fate(self) -> int | None:
        with self._lock:
            return self._random.randint(1, self._longest) if self.cuts_left > 0 else None
