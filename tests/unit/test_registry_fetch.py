"""How layers come: over several connections, resumed, once for all who want them; what is refused."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from tests.fakes.registry import FakeImage, FakeRegistry, Handler, digest_of

from pyd.engine.images import Images
from pyd.errors import CorruptData, InvalidArgument, NotSupported, PydError, RegistryError
from pyd.paths import Paths
from pyd.registry import client, fetch
from pyd.store import Store, intake

pytestmark = [
    pytest.mark.usefixtures("quick"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: layers keep their owners"),
]

PIECE = 32 << 20
PLAIN = "application/vnd.oci.image.layer.v1.tar"
SMALL = FakeImage.of({"hello": b"1" * 5000}, {"etc/x": b"2"})


def configure(tmp_path: Path, **settings: object) -> None:
    document = {key.replace("_", "-"): value for key, value in settings.items()}
    (tmp_path / "pyd.json").write_text(json.dumps(document))


def pull(store: Store, registry: FakeRegistry, name: str = "a/b") -> str:
    return Images(store).pull(f"{registry.host}/{name}").id


@pytest.fixture(scope="module")
def large() -> FakeImage:
    """One plain layer of three pieces and a bit."""
    image = FakeImage.of({"x": b""})
    content = os.urandom(3 * PIECE + 1000)
    header = bytearray(512)
    header[:3], header[100:107], header[124:135] = b"big", b"0000644", b"%011o" % len(content)
    header[108:115] = header[116:123] = b"0000000"
    header[136:147], header[156:157], header[257:265] = b"00000000000", b"0", b"ustar\x0000"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    image.layers = [bytes(header) + content + bytes(-len(content) % 512 + 1024)]
    image.config["rootfs"]["diff_ids"] = [digest_of(image.layers[0])]
    image.seal()
    image.manifest["layers"][0]["mediaType"] = PLAIN
    return image


class Slow:
    """Serves a blob by ranges, at `rate` bytes a second for each connection, and keeps the books."""

    def __init__(self, data: bytes, rate: float, most: float = float("inf")) -> None:
        self.data, self.rate, self.most = data, rate, most
        self.digest = digest_of(data)
        self.sent = self.now = self.at_once = 0
        self.ranges: list[tuple[int, int]] = []
        self.knows_ranges = True
        self._lock = threading.Lock()

    def __call__(self, handler: Handler) -> bool:
        if self.digest not in handler.path:
            return False
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
        start, end = 0, len(self.data)
        if asked and self.knows_ranges:
            start, end = int(asked[1]), int(asked[2]) + 1 if asked[2] else end
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(self.data)}")
        else:
            handler.send_response(200)
        handler.send_header("Content-Length", str(end - start))
        handler.end_headers()
        with self._lock:
            self.ranges.append((start, end))
            self.now += 1
            self.at_once = max(self.at_once, self.now)
        try:
            for at in range(start, end, 1 << 20):
                chunk = self.data[at : min(end, at + (1 << 20))]
                if self.sent + len(chunk) > self.most:
                    handler.cut()
                    break
                handler.wfile.write(chunk)
                self.sent += len(chunk)
                time.sleep(len(chunk) / self.rate)
        finally:
            with self._lock:
                self.now -= 1
        return True


def test_one_slow_connection_gets_help(
    store: Store, registry: FakeRegistry, large: FakeImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "_SLOW", 0.1)  # whatever this machine is busy with
    registry.add("a/b", large)
    slow = Slow(large.layers[0], 40e6)
    registry.faults.append(slow)
    pull(store, registry)
    assert slow.at_once > 1
    assert slow.sent == len(large.layers[0])  # every byte once
    assert sorted(slow.ranges)[0] == (0, PIECE)
    assert Path(store.content.path(digest_of(large.layers[0]))).read_bytes() == large.layers[0]


def test_pieces_of_an_interrupted_pull_are_kept(
    store: Store, registry: FakeRegistry, large: FakeImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "_SLOW", 0.1)  # whatever this machine is busy with
    registry.add("a/b", large)
    slow = Slow(large.layers[0], 40e6, most=2.2 * PIECE)
    registry.faults.append(slow)
    with pytest.raises(PydError):
        pull(store, registry)
    (partial,) = os.listdir(store.paths.ingest)
    # out of order: there is a ledger behind the blob's own bytes
    assert os.stat(f"{store.paths.ingest}/{partial}").st_size > len(large.layers[0])
    slow.most = float("inf")
    pull(store, registry)
    assert slow.sent <= 1.02 * len(large.layers[0])
    assert Path(store.content.path(digest_of(large.layers[0]))).read_bytes() == large.layers[0]
    assert os.listdir(store.paths.ingest) == []


def test_a_registry_without_ranges_sends_all_at_once(
    store: Store, registry: FakeRegistry, large: FakeImage
) -> None:
    registry.add("a/b", large)
    slow = Slow(large.layers[0], 200e6)
    slow.knows_ranges = False
    registry.faults.append(slow)
    pull(store, registry)
    assert slow.ranges == [(0, len(large.layers[0]))]


def test_a_fast_connection_is_left_alone(
    store: Store, registry: FakeRegistry, large: FakeImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.add("a/b", large)
    slow = Slow(large.layers[0], 1e12)
    registry.faults.append(slow)
    monkeypatch.setattr(fetch, "_SLOW", 1.1)  # whatever this machine is busy with
    pull(store, registry)
    assert slow.at_once == 1 and len(slow.ranges) == 2


def test_one_connection_serves_all_requests(
    store: Store, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though httpx's bodies are read past it: with other versions of it and of h11 that may end."""
    monkeypatch.setattr(intake, "WORKERS", 1)
    monkeypatch.setattr(client.Registry, "whole", lambda *_: 0)
    registry.add("a/b", FakeImage.of(*({f"noise{number}": os.urandom(300_000)} for number in range(3))))
    ports = set()

    def note(handler: Handler) -> bool:
        ports.add(handler.client_address[1])
        return False

    registry.faults.append(note)
    pull(store, registry)
    assert len(registry.requests) == 6  # /v2/, manifest, config, three layers
    assert len(ports) == 1


@pytest.mark.parametrize("content_range", ["bytes 5-99/200", "bytes 0-1/7", "bytes x", ""])
def test_another_range_than_asked_for_is_refused(
    content_range: str, store: Store, registry: FakeRegistry
) -> None:
    registry.add("a/b", SMALL)
    layer = SMALL.layers[0]
    store.paths.make()
    Path(store.paths.ingest, f"{digest_of(layer)[7:]}.partial").write_bytes(layer[:4])

    def lie(handler: Handler) -> bool:
        if digest_of(layer) not in handler.path:
            return False
        assert handler.headers["Range"] == "bytes=4-"
        return handler.answer(206, b"x" * 95, {"Content-Range": content_range})

    registry.faults.append(lie)
    with pytest.raises(RegistryError, match="another part of blob"):
        pull(store, registry)
    assert store.images.list() == ()


def test_a_partial_that_lost_its_bytes_is_fetched_again(store: Store, registry: FakeRegistry) -> None:
    registry.add("a/b", SMALL)
    store.paths.make()
    layer = SMALL.layers[0]
    # as after a power cut: the length is there, the bytes are not
    Path(store.paths.ingest, f"{digest_of(layer)[7:]}.partial").write_bytes(
        layer[:20] + bytes(len(layer) - 25)
    )
    assert pull(store, registry) == SMALL.id


def test_several_who_want_the_same_fetch_it_once(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.add("a/b", SMALL)
    registry.add("a/c", FakeImage.of({"hello": b"1" * 5000}, {"other": b"3"}))
    found: list[str] = []

    def one(name: str) -> None:
        mine = Store(Paths(str(tmp_path / "data"), str(tmp_path / "run")))
        try:
            found.append(pull(mine, registry, name))
        finally:
            mine.close()

    threads = [threading.Thread(target=one, args=(name,)) for name in ("a/b", "a/c") * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    for layer in SMALL.layers:
        assert len(registry.asked(digest_of(layer))) == 1


def test_a_bomb_ends_where_the_allowance_does(
    store: Store, registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = FakeImage.of({"zeros": bytes(30_000_000)}, {"more": bytes(30_000_000)})
    registry.add("a/b", bomb)
    configure(tmp_path, max_unpacked_size="40m")
    with pytest.raises(CorruptData, match="unpacks to more than the 41943040 bytes") as caught:
        pull(store, registry)
    assert "max-unpacked-size" in (caught.value.hint or "")
    assert store.images.list() == () and os.listdir(store.paths.snapshots) == []
    # what was fetched is right, and is used by whoever raises the limit
    registry.requests.clear()
    monkeypatch.setenv("PYD_MAX_UNPACKED_SIZE", "1g")
    pull(store, registry)
    assert all("Range" in request.headers for request in registry.asked(digest_of(bomb.layers[0])))


def test_more_than_the_disk_has_is_not_begun(store: Store, registry: FakeRegistry) -> None:
    image = FakeImage.of({"x": b"1"})
    image.manifest["layers"][0]["size"] = 1 << 49
    registry.add("a/b", image)
    with pytest.raises(PydError, match="no space left on device"):
        pull(store, registry)
    assert not registry.asked(digest_of(image.layers[0]))


def test_compressed_layers_may_be_dropped(store: Store, registry: FakeRegistry, tmp_path: Path) -> None:
    registry.add("a/b", SMALL)
    configure(tmp_path, keep_compressed_layers=False)
    pull(store, registry)
    assert [store.content.size(digest_of(layer)) for layer in SMALL.layers] == [None, None]
    assert store.content.size(SMALL.id) is not None
    assert os.listdir(store.paths.ingest) == []
    registry.requests.clear()
    pull(store, registry)
    assert not registry.asked("/blobs/")


@pytest.mark.parametrize("kind", ["media type", "urls"])
def test_foreign_layers_are_refused(kind: str, store: Store, registry: FakeRegistry, tmp_path: Path) -> None:
    image = FakeImage.of({"x": b"1"})
    layer = image.manifest["layers"][0]
    if kind == "urls":
        layer["urls"] = [f"http://{registry.host}/elsewhere"]
    else:
        layer["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    registry.add("a/b", image)
    with pytest.raises(NotSupported, match="is a foreign one"):
        pull(store, registry)
    configure(tmp_path, foreign_layers=True)
    assert pull(store, registry) == image.id
    assert not registry.asked("elsewhere")


def tags_of(pages: Mapping[str, tuple[object, str]]) -> Callable[[Handler], bool]:
    """A fault that answers /tags/list: query -> (tags, Link header)."""

    def answer(handler: Handler) -> bool:
        path, _, query = handler.path.partition("?")
        if not path.endswith("/tags/list"):
            return False
        tags, link = pages[query]
        return handler.answer(200, json.dumps({"name": "a/b", "tags": tags}).encode(), {"Link": link})

    return answer


def test_all_tags_of_all_pages(store: Store, registry: FakeRegistry) -> None:
    other = FakeImage.of({"y": b"2"})
    registry.add("a/b", SMALL, "v1")
    registry.add("a/b", other, "v2")
    registry.add("a/b", SMALL, "v3")
    pages = {
        "n=1000": (["v1", "v2"], '</v2/a/b/tags/list?last=v2&n=1000>; rel="next"'),
        "last=v2&n=1000": (["v3"], ""),
    }
    registry.faults.append(tags_of(pages))
    pulled = list(Images(store).pull_all(f"{registry.host}/a/b"))
    assert [(one.reference.tag, one.id) for one in pulled] == [
        ("v1", SMALL.id),
        ("v2", other.id),
        ("v3", SMALL.id),
    ]
    with pytest.raises(InvalidArgument, match="tag can't be used with --all-tags/-a"):
        list(Images(store).pull_all(f"{registry.host}/a/b:v1"))


def test_lists_of_tags_are_not_believed(
    store: Store, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.add("a/b", SMALL, "v1")
    images, name = Images(store), f"{registry.host}/a/b"
    # a next page that is the same one, at another host
    pages = {"n=1000": (["v1"], '<http://169.254.169.254/x?n=1000>; rel="next"')}
    registry.faults.append(tags_of(pages))
    assert len(list(images.pull_all(name))) == 1
    monkeypatch.setattr(client, "MAX_TAGS", 2)
    for tags, why in (
        (["v1", "../x"], "invalid tags"),
        (["v1", 3], "invalid tags"),
        ({"v1": 1}, "invalid tags"),
        (["a", "b", "c"], "more than 2 tags"),
    ):
        registry.faults[-1] = tags_of({"n=1000": (tags, "")})
        with pytest.raises(RegistryError, match=why):
            list(images.pull_all(name))
