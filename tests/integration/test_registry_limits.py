"""What hostile and clumsy clients do to `pyd registry serve`: it stays within its limits and goes on."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import socket
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.support.command import wait_until
from tests.support.served import Served, memory, sha256
from tests.support.world import World

pytestmark = pytest.mark.usefixtures("world")


@pytest.fixture(scope="module")
def served(world: World) -> Iterator[Served]:
    made = Served(world.directory / "limits", "--gc-interval", "0")
    yield made
    assert made.stop() == 0
    assert "Traceback" not in made.log.read_text()


def test_large_blobs_need_no_memory(served: Served) -> None:
    """Both ways, by several at once: what the server holds does not grow with them."""
    size = int(os.environ.get("PYD_REGISTRY_BLOB_MB", "96")) << 20
    block = os.urandom(1 << 20)
    assert served.process is not None
    before = memory(served.process.pid)

    def blob(mark: bytes) -> Iterator[bytes]:
        yield from (mark + block[1:] for _ in range(size >> 20))

    def move(mark: bytes) -> None:
        hashed = hashlib.sha256()
        for part in blob(mark):
            hashed.update(part)
        digest = f"sha256:{hashed.hexdigest()}"
        sent = served(
            "POST", f"/v2/large/blobs/uploads/?digest={digest}", blob(mark), Content_Length=str(size)
        )
        assert sent.status == 201
        connection = served.connection(600)
        connection.request("GET", f"/v2/large/blobs/{digest}")
        response, got = connection.getresponse(), hashlib.sha256()
        while part := response.read(1 << 20):
            got.update(part)
        connection.close()
        assert got.digest() == hashed.digest()

    threads = [threading.Thread(target=move, args=(mark,)) for mark in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert memory(served.process.pid) - before < 48 << 20


def test_limits(world: World) -> None:
    served = Served(
        world.directory / "limited", "--quota", "100k", "--repository-quota", "60k", "--max-uploads", "1",
        "--max-connections", "8", "--delete=false",
    )  # fmt: skip
    try:
        served.push_blob("a", os.urandom(50_000))
        answer = served("POST", "/v2/a/blobs/uploads/?digest=" + sha256(b"x"), os.urandom(20_000))
        assert (answer.status, answer.code) == (403, "DENIED")
        served.push_blob("b", os.urandom(50_000))
        # without a length it is noticed on the way
        chunks = iter([os.urandom(1000)] * 10)
        answer = served("POST", f"/v2/c/blobs/uploads/?digest={sha256(b'x')}", chunks)
        assert answer.status == 403
        first = served("POST", "/v2/c/blobs/uploads/").headers["Location"]
        second = served("POST", "/v2/c/blobs/uploads/").headers["Location"]
        slow = served.connection()
        slow.putrequest("PATCH", first)
        slow.putheader("Content-Length", "100")
        slow.endheaders()
        wait_until(lambda: "uploads 1\n" in served("GET", "/metrics").body.decode(), 10)
        refused = served("PATCH", second, b"x")
        assert (refused.status, refused.code, refused.headers["Retry-After"]) == (429, "TOOMANYREQUESTS", "2")
        slow.close()
        wait_until(lambda: served("PATCH", second, b"x").status == 202, 10)
        assert served("DELETE", "/v2/a/manifests/t").code == "UNSUPPORTED"
        crowd = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(8)]
        try:
            with pytest.raises((ConnectionError, http.client.HTTPException)):
                served("GET", "/v2/")
        finally:
            for one in crowd:
                one.close()
        wait_until(lambda: served("GET", "/v2/").status == 200, 10)
    finally:
        served.stop()


def test_hostile_requests(served: Served) -> None:
    """Headers without end, other protocols, bodies that never come: refused or closed, and it goes on."""
    for request in (
        b"GET /v2/ HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\n" + b"".join(b"X%d: y\r\n" % n for n in range(2000)) + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 10 + b"\r\n\r\n",
        b"POST /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b'GET /v2/ HTTP/1.1\r\nHost: a"b\r\n\r\n',
    ):
        with socket.create_connection(("127.0.0.1", served.port), 10) as raw:
            raw.sendall(request)
            head = raw.recv(65536)
            assert head.startswith(b"HTTP/1.1 4") or head.startswith(b"HTTP/1.0 4"), head[:200]
    assert served("GET", "/v2/").status == 200
    assert "a" * 400 not in served.log.read_text()


SHORT = """import sys
from pyd.cli.main import main
from pyd.registry.server import call, serve
serve._HEADERS, serve._STALL, call.STALL = 0.5, 1500, 0.5
sys.exit(main(sys.argv[1:]))
"""


def test_slow_clients(world: World) -> None:
    """Who sends or takes nothing for long is let go; here after half a second and a second and a half."""
    served = Served(world.directory / "slow", program=[sys.executable, "-c", SHORT])
    try:
        digest = served.push_blob("a", os.urandom(32 << 20))
        for beginning in (b"", b"GET /v2/ HTTP/1.1\r\nX: y\r\n"):
            with socket.create_connection(("127.0.0.1", served.port), 10) as slow:
                slow.sendall(beginning)
                assert slow.recv(1) == b""
        location = served("POST", "/v2/a/blobs/uploads/").headers["Location"]
        with contextlib.closing(served.connection()) as slow_body:
            slow_body.putrequest("PATCH", location)
            slow_body.putheader("Content-Length", "100")
            slow_body.endheaders()
            slow_body.send(b"x" * 10)
            assert slow_body.getresponse().status == 408
        assert served("GET", location).headers["Range"] == "0-9"  # what came is kept
        with socket.create_connection(("127.0.0.1", served.port), 10) as lazy:
            lazy.sendall(f"GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            wait_until(lambda: connections(served) == 2, 10)
            wait_until(lambda: connections(served) == 1, 20, "the end of a connection that takes nothing")
    finally:
        served.stop()


def connections(served: Served) -> int:
    text = served("GET", "/metrics").body.decode()
    return next(
        int(line.split()[1]) for line in text.splitlines() if "_connections " in line and line[0] != "#"
    )
