"""Whole blobs past httpx: the same requests, the same bytes, and every other answer is httpx's again."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.fakes.registry import FakeImage, FakeRegistry, Handler, digest_of

from pyd import _native
from pyd.engine.images import Images
from pyd.errors import Cancelled, CorruptData, ImageNotFound
from pyd.oci.descriptor import Descriptor
from pyd.registry.client import Registry
from pyd.registry.wire import Wire
from pyd.store import Store, intake

pytestmark = [
    pytest.mark.usefixtures("quick"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: layers keep their owners"),
]

IMAGE = FakeImage.of(*({f"noise{number}": os.urandom(50_000 * number)} for number in range(8)))


@pytest.fixture(autouse=True)
def one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests come one after the other."""
    monkeypatch.setattr(intake, "WORKERS", 1)


@pytest.fixture
def registry(registry: FakeRegistry) -> FakeRegistry:
    registry.add("a/b", IMAGE)
    return registry


@pytest.fixture
def by_httpx(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Digests of the blobs that httpx was asked for."""
    asked: list[str] = []
    part = Registry.part

    def noted(self: Registry, path: str, blob: Descriptor, start: int, end: int) -> Any:
        asked.append(blob.digest)
        return part(self, path, blob, start, end)

    monkeypatch.setattr(Registry, "part", noted)
    return asked


def pull(store: Store, registry: FakeRegistry) -> None:
    Images(store).pull(f"{registry.host}/a/b")
    for layer in IMAGE.layers:
        assert Path(store.content.path(digest_of(layer))).read_bytes() == layer


def times(registry: FakeRegistry) -> list[int]:
    """How often each layer was asked for."""
    return [len(registry.asked(digest_of(layer))) for layer in IMAGE.layers]


def test_layers_come_past_httpx_with_its_own_headers(
    store: Store, registry: FakeRegistry, by_httpx: list[str]
) -> None:
    registry.users, registry.anonymous = {"a": "b"}, True
    ports = set()
    layers = {digest_of(layer) for layer in IMAGE.layers}

    def note(handler: Handler) -> bool:
        if handler.path.rpartition("/")[2] in layers:
            ports.add(handler.client_address[1])
        return False

    registry.faults.append(note)
    pull(store, registry)
    assert len(ports) == 1
    assert by_httpx == [digest_of(IMAGE.config_bytes)]
    assert times(registry) == [1] * len(IMAGE.layers)
    (config,) = registry.asked(digest_of(IMAGE.config_bytes))
    assert config.headers["Authorization"] == "Bearer the-token"
    for layer in IMAGE.layers:
        assert registry.asked(digest_of(layer))[0].headers == config.headers


def answer_chunked(handler: Handler, data: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data))


def answer_and_end(handler: Handler, data: bytes) -> None:
    handler.answer(200, data)
    handler.cut()


def answer_as_1_0(handler: Handler, data: bytes) -> None:
    handler.protocol_version = "HTTP/1.0"
    handler.answer(200, data)
    handler.cut()


def redirect(handler: Handler, data: bytes) -> None:
    handler.answer(307, b"moved", {"Location": f"/elsewhere/{digest_of(data)}"})


def with_a_continue(handler: Handler, data: bytes) -> None:
    handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    handler.answer(200, data)


def with_a_long_head(handler: Handler, data: bytes) -> None:
    handler.answer(200, data, {f"X-{number}": "x" * 1000 for number in range(20)})


@pytest.mark.parametrize(
    "odd",
    [answer_chunked, answer_and_end, answer_as_1_0, redirect, with_a_continue, with_a_long_head],
    ids=lambda odd: odd.__name__,
)  # fmt: skip
def test_after_another_answer_httpx_asks_for_the_rest(
    odd: Callable[[Handler, bytes], None], store: Store, registry: FakeRegistry, by_httpx: list[str]
) -> None:
    blobs = {digest_of(layer): layer for layer in IMAGE.layers}

    def fault(handler: Handler) -> bool:
        found = re.fullmatch(r"/(v2/a/b/blobs|elsewhere)/(sha256:.*)", handler.path)
        if not found or found[2] not in blobs:
            return False
        if found[1] == "elsewhere":
            return handler.answer(200, blobs[found[2]])
        odd(handler, blobs[found[2]])
        return True

    registry.faults.append(fault)
    pull(store, registry)
    # the first may have come whole before its connection showed what it is
    assert len(by_httpx) - 1 in (len(IMAGE.layers), len(IMAGE.layers) - 1)
    assert sum(times(registry)) <= len(IMAGE.layers) + (2 if odd is not redirect else len(IMAGE.layers) + 1)


def test_bytes_that_nobody_asked_for_are_not_taken_for_the_next_answer(
    store: Store, registry: FakeRegistry, by_httpx: list[str]
) -> None:
    layer = IMAGE.layers[2]

    def add(handler: Handler) -> bool:
        if digest_of(layer) not in handler.path or len(registry.asked(digest_of(layer))) > 1:
            return False
        handler.answer(200, layer)
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad")
        return True

    registry.faults.append(add)
    pull(store, registry)
    assert len(by_httpx) > 1


def test_a_blob_that_was_cut_goes_on_where_it_was_cut(store: Store, registry: FakeRegistry) -> None:
    layer = IMAGE.layers[5]

    def cut(handler: Handler) -> bool:
        if digest_of(layer) not in handler.path or "Range" in handler.headers:
            return False
        handler.answer(200, layer[:70_000], {"Content-Length": str(len(layer))})
        handler.cut()
        return True

    registry.faults.append(cut)
    pull(store, registry)
    whole, rest = registry.asked(digest_of(layer))
    assert "Range" not in whole.headers
    assert rest.headers["Range"] == "bytes=70000-"


@pytest.mark.parametrize(
    ("status", "data", "error"), [(404, b"{}", ImageNotFound), (200, b"too short", CorruptData)]
)
def test_errors_are_those_of_httpx(
    status: int, data: bytes, error: type[Exception], store: Store, registry: FakeRegistry
) -> None:
    registry.faults.append(
        lambda handler: digest_of(IMAGE.layers[3]) in handler.path and handler.answer(status, data)
    )
    with pytest.raises(error):
        pull(store, registry)
    assert store.images.list() == ()


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"], ids=["nothing", "half"])
def test_an_answer_that_does_not_come_is_not_waited_for_longer_than_patience(
    said: bytes, tmp_path: Path
) -> None:
    ours, theirs = socket.socketpair()

    def answer() -> None:
        assert theirs.recv(3) == b"GET"
        theirs.sendall(said)

    with ours, theirs:
        peer = threading.Thread(target=answer)
        peer.start()
        ingest = new_ingest(tmp_path)
        assert ingest.claim() == (0, 5)
        began = time.monotonic()
        assert ingest.ask(ours.fileno(), b"GET", patience=0.3) == (0, False)
        assert 0.3 <= time.monotonic() - began < 30
        ingest.abort()
        peer.join()
    assert os.path.getsize(tmp_path / "partial") == 0


def test_a_pull_that_is_cancelled_waits_for_no_answer(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    progress = _native.Progress(5)
    with ours, theirs:
        ingest = new_ingest(tmp_path, progress)
        assert ingest.claim() == (0, 5)
        threading.Timer(0.2, progress.cancel).start()
        began = time.monotonic()
        with pytest.raises(Cancelled):
            ingest.ask(ours.fileno(), b"GET", patience=60)
        assert time.monotonic() - began < 30


def new_ingest(directory: Path, progress: _native.Progress | None = None) -> _native.LayerIngest:
    return _native.LayerIngest(
        directory / "partial", None, media_type="", digest=digest_of(b"hello"), size=5, progress=progress
    )


class Untouched:
    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


def test_a_header_that_could_end_early_is_not_sent(registry: FakeRegistry) -> None:
    url = httpx.URL(f"http://{registry.host}/v2/a/b/blobs/x")
    wire = Wire(url)
    assert wire.fetch(url, {"X-Meta": "a\r\nX-Other: b"}, Untouched()) == 0
    assert registry.requests == []


def test_a_proxy_is_not_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    url = httpx.URL("http://registry.example/v2/a/b/blobs/x")
    assert Wire(url).fetch(url, {}, Untouched()) == 0
