"""`pyd registry serve --mirror`: fetched once, sent while it comes, never wrong; upstream's word counts."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import http.server
import json
import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.command import Pyd, wait_until
from tests.support.served import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Served, descriptor, sha256
from tests.support.world import World

pytestmark = pytest.mark.usefixtures("world")


class Upstream:
    """A registry of the test's own: `blobs` may lie, wait, or be answered with a status."""

    def __init__(self) -> None:
        upstream = self
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.statuses: dict[str, int] = {}
        self.asked: list[str] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self._connections: list[socket.socket] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                upstream._connections.append(self.request)
                super().setup()

            def do_GET(self) -> None:
                upstream.asked.append(self.path)
                last = self.path.rpartition("/")[2]
                status = upstream.statuses.get(last, 200)
                data = upstream.blobs.get(last) or upstream.manifests.get(last)
                if self.path == "/v2/":
                    data = b"{}"
                if data is None or status != 200:
                    self.send_response(404 if status == 200 else status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Content-Type", OCI_MANIFEST)
                self.end_headers()
                half = len(data) // 2
                self.wfile.write(data[:half])
                self.wfile.flush()
                upstream.go_on.wait(20)
                self.wfile.write(data[half:])

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def image(self, tag: str, layer: bytes) -> str:
        """The digest of its manifest."""
        config = b"{}"
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(config, OCI_CONFIG),
            "layers": [descriptor(layer, OCI_LAYER)],
        }
        data = json.dumps(document).encode()
        self.blobs |= {sha256(config): config, sha256(layer): layer}
        self.manifests |= {tag: data, sha256(data): data}
        return sha256(data)

    def close(self) -> None:
        """Gone for those too that have a connection: threads serve these on."""
        self.go_on.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        for connection in self._connections:
            with contextlib.suppress(OSError):  # it has ended
                connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def upstream(world: World) -> Iterator[Upstream]:
    made = Upstream()
    yield made
    made.close()


@pytest.fixture
def mirror(upstream: Upstream, world: World, request: pytest.FixtureRequest) -> Iterator[Served]:
    served = Served(
        world.directory / f"mirror-{request.node.name}", "--mirror", upstream.url, "--mirror-ttl", "1s"
    )
    yield served
    assert served.stop() == 0
    assert "Traceback" not in served.log.read_text()
    assert not list((served.directory / "uploads").iterdir())


def test_fetched_once_and_sent_while_it_comes(mirror: Served, upstream: Upstream) -> None:
    layer = os.urandom(8 << 20)
    digest = upstream.image("t", layer)
    assert mirror("GET", "/v2/lib/a/manifests/t").headers["Docker-Content-Digest"] == digest
    assert mirror("HEAD", f"/v2/lib/a/blobs/{sha256(layer)}").headers["Content-Length"] == str(len(layer))
    upstream.go_on.clear()
    got: list[bytes] = []
    early: list[bytes] = []

    def fetch() -> None:
        connection = mirror.connection()
        connection.request("GET", f"/v2/lib/a/blobs/{sha256(layer)}")
        response = connection.getresponse()
        first = response.read(1 << 20)
        early.append(first)
        got.append(first + response.read())
        connection.close()

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(early) == 4, 20, "bytes before upstream sent them all")
    assert not list((mirror.directory / "blobs/sha256").iterdir())  # and nothing is shown yet
    upstream.go_on.set()
    for thread in threads:
        thread.join()
    assert [hashlib.sha256(data).digest() for data in got] == [hashlib.sha256(layer).digest()] * 4
    upstream.go_on.set()
    part = mirror("GET", f"/v2/lib/a/blobs/{sha256(layer)}", Range="bytes=10-19")
    assert (part.status, part.body) == (206, layer[10:20])
    assert [path for path in upstream.asked if "/blobs/" in path] == [f"/v2/lib/a/blobs/{sha256(layer)}"]
    # what is here is served without upstream
    upstream.close()
    time.sleep(1.1)
    assert mirror("GET", "/v2/lib/a/manifests/t").status == 200
    assert mirror("GET", f"/v2/lib/a/manifests/{digest}").status == 200
    assert mirror("GET", f"/v2/lib/a/blobs/{sha256(layer)}").body == layer
    assert 'mirror_requests_total{result="stale"} 1' in mirror("GET", "/metrics").body.decode()


@pytest.mark.parametrize("size", [1000, 4 << 20])
def test_wrong_bytes_never_arrive_whole(mirror: Served, upstream: Upstream, size: int) -> None:
    layer = os.urandom(size)
    upstream.image("t", layer)
    upstream.blobs[sha256(layer)] = layer[:-1] + bytes([layer[-1] ^ 1])
    mirror("GET", "/v2/a/manifests/t")
    path = f"/v2/a/blobs/{sha256(layer)}"
    try:
        answer = mirror("GET", path)
        assert answer.status == 502
    except (http.client.IncompleteRead, ConnectionError):
        assert size > 64 << 10
    assert not list((mirror.directory / "blobs/sha256").iterdir())
    upstream.blobs[sha256(layer)] = layer
    assert mirror("GET", path).body == layer


def test_what_upstream_says(mirror: Served, upstream: Upstream) -> None:
    old = upstream.image("t", b"old layer")
    assert mirror("GET", "/v2/a/manifests/t").headers["Docker-Content-Digest"] == old
    new = upstream.image("t", b"new layer")
    assert mirror("GET", "/v2/a/manifests/t").headers["Docker-Content-Digest"] == old  # within its time
    time.sleep(1.1)
    assert mirror("GET", "/v2/a/manifests/t").headers["Docker-Content-Digest"] == new
    assert mirror("GET", "/v2/a/manifests/nosuch").status == 404
    assert mirror("GET", f"/v2/a/blobs/{sha256(b'of no manifest')}").status == 404
    upstream.statuses["secret"] = 403
    assert mirror("GET", "/v2/a/manifests/secret").code == "DENIED"
    upstream.manifests["broken"] = b"<html>"
    assert mirror("GET", "/v2/a/manifests/broken").status == 502
    del upstream.manifests["t"]
    time.sleep(1.1)
    assert mirror("GET", "/v2/a/manifests/t").status == 404
    assert mirror("GET", "/v2/a/tags/list").json()["tags"] == []
    for method, path in (("POST", "blobs/uploads/"), ("PUT", "manifests/t"), ("DELETE", "manifests/t")):
        assert mirror(method, f"/v2/a/{path}").code == "UNSUPPORTED"


def test_pulled_through_by_pyd(
    world: World, pyd: Pyd, images: object, registry: object, upstream: Upstream
) -> None:
    """A whole image from Debian's registry, by pyd's own client."""
    host = registry.host  # type: ignore[attr-defined]
    images("busybox")  # type: ignore[operator]
    served = Served(world.directory / "mirrored", "--mirror", f"http://{host}")
    try:
        pulled = pyd("pull", "-q", f"{served.host}/busybox:latest").out
        assert pulled == f"{served.host}/busybox:latest"
        shown = pyd("image", "inspect", f"{served.host}/busybox:latest").json()[0]["Id"]
        assert shown == pyd("image", "inspect", "busybox").json()[0]["Id"]
        pyd("rmi", f"{served.host}/busybox:latest")
    finally:
        served.stop()
