"""`pull` against a registry that lies, stutters and points elsewhere: nothing unverified is ever visible."""

from __future__ import annotations

import base64
import json
import os
import threading
from pathlib import Path

import pytest
from tests.fakes.registry import INDEX, MANIFEST, FakeImage, FakeRegistry, Handler, digest_of, serving

from pyd.engine.images import Images
from pyd.errors import PydError, RegistryError, Unauthorized, Unavailable
from pyd.paths import Paths
from pyd.store import Store

pytestmark = [
    pytest.mark.usefixtures("quick"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: layers keep their owners"),
]


IMAGE = FakeImage.of({"hello": b"1" * 5000}, {"etc/x": b"2"}, {"etc/y": b"3" * 100_000})


def pull(store: Store, registry: FakeRegistry, name: str = "a/b", host: str = "") -> str:
    return Images(store).pull(f"{host or registry.host}/{name}").id


def assert_nothing_came(store: Store) -> None:
    assert store.images.list() == ()
    assert os.listdir(store.paths.snapshots) == [] if os.path.isdir(store.paths.snapshots) else True
    for name in os.listdir(store.paths.content) if os.path.isdir(store.paths.content) else ():
        assert digest_of(Path(store.paths.content, name).read_bytes()) == f"sha256:{name}"


def files(store: Store, image_id: str) -> dict[str, bytes]:
    """The merged content of the layers."""
    found: dict[str, bytes] = {}
    for directory in reversed(store.snapshots.lower_dirs(store.images.resolve(image_id).layers)):
        for path in Path(directory).rglob("*"):
            if path.is_file():
                found[str(path.relative_to(directory))] = path.read_bytes()
    return found


def test_an_image_comes_whole(store: Store, registry: FakeRegistry) -> None:
    digest = registry.add("a/b", IMAGE)
    assert pull(store, registry) == IMAGE.id
    assert files(store, IMAGE.id) == {"hello": b"1" * 5000, "etc/x": b"2", "etc/y": b"3" * 100_000}
    assert store.images.resolve(f"{registry.host}/a/b@{digest}").id == IMAGE.id
    for layer in IMAGE.layers:
        assert Path(store.content.path(digest_of(layer))).read_bytes() == layer
    assert os.listdir(store.paths.ingest) == []


def test_what_is_here_is_not_fetched_again(store: Store, registry: FakeRegistry) -> None:
    registry.add("a/b", IMAGE)
    pull(store, registry)
    more = FakeImage.of({"hello": b"1" * 5000}, {"new": b"n"})
    registry.add("a/c", more)
    registry.requests.clear()
    pull(store, registry)
    assert not registry.asked("/blobs/")
    pull(store, registry, "a/c")
    assert {request.path.rpartition("/")[2] for request in registry.asked("/blobs/")} == {
        more.id,
        digest_of(more.layers[1]),
    }


def test_an_index_leads_to_this_platform(store: Store, registry: FakeRegistry) -> None:
    digest = registry.add("a/b", IMAGE, tag="")
    entry = {"mediaType": MANIFEST, "digest": digest, "size": len(IMAGE.manifest_bytes)}
    other = {**entry, "digest": digest_of(b"?"), "platform": {"os": "linux", "architecture": "mips"}}
    host = {"os": "linux", "architecture": os.uname().machine}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [other, {**entry, "platform": host}]}
    registry.add_manifest("a/b", json.dumps(index).encode(), "latest", INDEX)
    assert pull(store, registry) == IMAGE.id
    with pytest.raises(PydError, match="no matching manifest for linux/s390x in the manifest list entries"):
        Images(store).pull(f"{registry.host}/a/b", platform="linux/s390x")


def lies() -> dict[str, FakeRegistry]:
    """Registries of which nothing may be believed."""
    made: dict[str, FakeRegistry] = {}

    def registry(name: str) -> FakeRegistry:
        made[name] = FakeRegistry()
        made[name].add("a/b", IMAGE)
        return made[name]

    layer, good = digest_of(IMAGE.layers[2]), IMAGE.layers[2]
    registry("a byte of a layer is wrong").blobs[layer] = good[:50] + bytes([good[50] ^ 1]) + good[51:]
    registry("a layer is another one").blobs[layer] = IMAGE.layers[0]
    registry("a layer is too long").blobs[layer] = good + b"more"
    registry("a layer is too short").blobs[layer] = good[:-10]
    registry("a layer is missing").blobs.pop(layer)
    registry("the config is another one").blobs[IMAGE.id] = IMAGE.config_bytes.replace(b"PATH", b"EVIL")

    broken = FakeImage.of({"x": b"1"})
    broken.config["rootfs"]["diff_ids"] = [digest_of(b"?")]
    broken.seal()
    registry("a diffID is wrong").add("a/b", broken)
    broken = FakeImage.of({"x": b"1"}, {"y": b"2"})
    broken.config["rootfs"]["diff_ids"].pop()
    broken.seal()
    registry("there are more layers than diffIDs").add("a/b", broken)
    broken = FakeImage.of({"x": b"1"})
    broken.manifest["manifests"] = []
    registry("manifest and index at once").add("a/b", broken)
    broken = FakeImage.of({"x": b"1"})
    broken.manifest["layers"][0]["digest"] = "sha256:../../../etc/passwd"
    registry("a digest with a path").add("a/b", broken)
    broken = FakeImage.of({"x": b"1"})
    broken.manifest["layers"][0]["size"] -= 1
    registry("a size is too small").add("a/b", broken)
    broken = FakeImage.of({"x": b"1"})
    broken.manifest["config"]["size"] = 1 << 40
    registry("a config of a terabyte").add("a/b", broken)
    broken = FakeImage.of({"x": b"1"})
    broken.manifest["layers"][0]["mediaType"] = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
    registry("no container image").add("a/b", broken)
    registry("a huge manifest").add_manifest("a/b", IMAGE.manifest_bytes + b" " * (5 << 20), "latest")
    registry("not JSON").add_manifest("a/b", b"<html>", "latest")
    registry("an index called manifest").add("a/b", IMAGE, kind=INDEX)
    windows = FakeImage.of({"x": b"1"}, os="windows")
    registry("an image for Windows").add("a/b", windows)
    return made


@pytest.mark.parametrize("lie", lies())
def test_nothing_of_a_lie_is_visible(lie: str, store: Store) -> None:
    with serving(lies()[lie]) as registry, pytest.raises(PydError) as caught:
        pull(store, registry)
    assert "\n" not in str(caught.value)
    assert_nothing_came(store)
    # and the truth still gets through afterwards
    with serving() as registry:
        registry.add("a/b", IMAGE)
        assert pull(store, registry) == IMAGE.id


def test_another_manifest_than_the_digest_asked_for(store: Store, registry: FakeRegistry) -> None:
    wanted = digest_of(b"something else")
    registry.add("a/b", IMAGE, tag=wanted)
    with pytest.raises(RegistryError, match="serves another manifest"):
        Images(store).pull(f"{registry.host}/a/b@{wanted}")


def big_image() -> FakeImage:
    return FakeImage.of({"big": os.urandom(3_000_000)}, {"small": b"1"})


def test_a_cut_transfer_goes_on_where_it_was_cut(store: Store, registry: FakeRegistry) -> None:
    image = big_image()
    registry.add("a/b", image)
    sent = 0

    def cut(handler: Handler) -> bool:
        nonlocal sent
        digest = digest_of(image.layers[0])
        if digest not in handler.path:
            return False
        data = image.layers[0]
        start = int(handler.headers.get("Range", "bytes=0-")[6:-1])
        part = data[start : start + 700_000]
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        handler.wfile.write(part)
        sent += len(part)
        handler.cut()
        return True

    registry.faults.append(cut)
    assert pull(store, registry) == image.id
    assert sent == len(image.layers[0])


def test_a_range_that_is_ignored_costs_only_time(store: Store, registry: FakeRegistry) -> None:
    image = big_image()
    registry.add("a/b", image)
    count = 0

    def cut_once(handler: Handler) -> bool:
        nonlocal count
        data = image.layers[0]
        if digest_of(data) not in handler.path:
            return False
        count += 1
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:1_000_000] if count == 1 else data)
        handler.cut()
        return True

    registry.faults.append(cut_once)
    assert pull(store, registry) == image.id
    assert count == 2


def test_the_next_pull_takes_up_what_the_last_one_left(store: Store, registry: FakeRegistry) -> None:
    image = big_image()
    registry.add("a/b", image)
    data = image.layers[0]

    def half(handler: Handler) -> bool:
        if digest_of(data) not in handler.path or "Range" in handler.headers:
            return False
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:2_000_000])
        handler.cut()
        return True

    def dead(handler: Handler) -> bool:
        if digest_of(data) in handler.path and "Range" in handler.headers:
            handler.error(403, "DENIED")
            return True
        return False

    registry.faults += [half, dead]
    with pytest.raises(PydError):
        pull(store, registry)
    assert_nothing_came(store)
    registry.faults.clear()
    registry.requests.clear()
    assert pull(store, registry) == image.id
    (request,) = registry.asked(digest_of(data))
    assert request.headers.get("Range") == "bytes=2000000-"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_registry_that_is_busy_is_asked_again(status: int, store: Store, registry: FakeRegistry) -> None:
    registry.add("a/b", IMAGE)
    left = {"manifests": 3, "blobs": 3}

    def busy(handler: Handler) -> bool:
        kind = next((kind for kind in left if f"/{kind}/" in handler.path and left[kind]), None)
        if kind is None:
            return False
        left[kind] -= 1
        handler.error(status, "BUSY", {"Retry-After": "0"})
        return True

    registry.faults.append(busy)
    assert pull(store, registry) == IMAGE.id
    assert left == {"manifests": 0, "blobs": 0}


def test_a_long_retry_after_is_told_and_not_waited_for(store: Store, registry: FakeRegistry) -> None:
    registry.faults.append(
        lambda handler: "manifests" in handler.path and handler.error(429, "X", {"Retry-After": "9999"})
    )
    with pytest.raises(Unavailable, match="asks to wait 9999 seconds"):
        pull(store, registry)


def test_two_pulls_of_one_image_share_the_work(store: Store, registry: FakeRegistry) -> None:
    image = big_image()
    registry.add("a/b", image)
    stores = [Store(store.paths) for _ in range(4)]
    threads = [threading.Thread(target=pull, args=(each, registry)) for each in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.images.resolve(image.id).id == image.id
    assert len(registry.asked(digest_of(image.layers[0]))) == 1


def log_in(tmp_path: Path, registry: FakeRegistry, user: str = "me", password: str = "secret") -> None:
    entry = {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}
    (tmp_path / "docker").mkdir(exist_ok=True)
    (tmp_path / "docker" / "config.json").write_text(json.dumps({"auths": {registry.host: entry}}))


@pytest.mark.parametrize("basic", [False, True])
def test_who_is_logged_in_gets_in(basic: bool, store: Store, registry: FakeRegistry, tmp_path: Path) -> None:
    registry.add("a/b", IMAGE)
    registry.users, registry.basic = {"me": "secret"}, basic
    with pytest.raises(Unauthorized):
        pull(store, registry)
    log_in(tmp_path, registry)
    assert pull(store, registry) == IMAGE.id
    assert len(registry.asked("/token")) == (0 if basic else 2)


def test_an_identity_token_is_exchanged(store: Store, registry: FakeRegistry, tmp_path: Path) -> None:
    registry.add("a/b", IMAGE)
    registry.users = {}
    (tmp_path / "docker").mkdir()
    config = {"auths": {registry.host: {"identitytoken": "it"}}}
    (tmp_path / "docker" / "config.json").write_text(json.dumps(config))
    assert pull(store, registry) == IMAGE.id


def test_a_credential_helper_is_asked(
    store: Store, registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.add("a/b", IMAGE)
    registry.users = {"me": "secret"}
    helper = tmp_path / "docker-credential-fake"
    helper.write_text('#!/bin/sh\ncat >/dev/null\necho \'{"Username":"me","Secret":"secret"}\'\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "docker").mkdir()
    config = {"credHelpers": {registry.host: "fake"}}
    (tmp_path / "docker" / "config.json").write_text(json.dumps(config))
    assert pull(store, registry) == IMAGE.id
    helper.write_text("#!/bin/sh\necho 'credentials not found in native keychain'; exit 1\n")
    with pytest.raises(Unauthorized):
        pull(Store(Paths(str(tmp_path / "data2"), str(tmp_path / "run2"))), registry)


def test_a_redirect_carries_no_credentials_away(store: Store, registry: FakeRegistry, tmp_path: Path) -> None:
    registry.add("a/b", IMAGE)
    registry.users, registry.basic = {"me": "secret"}, True
    log_in(tmp_path, registry)
    with serving() as storage:
        storage.add("a/b", IMAGE)

        def away(handler: Handler) -> bool:
            if "/blobs/" in handler.path and "Authorization" in handler.headers:
                handler.answer(307, b"", {"Location": f"http://{storage.host}{handler.path}"})
                return True
            return False

        registry.faults.append(away)
        assert pull(store, registry) == IMAGE.id
        assert storage.asked("/blobs/")
        assert not [request for request in storage.requests if "Authorization" in request.headers]


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://x/", "http:///", "gopher://x", "//", "/v2/loop"]
)
def test_redirects_lead_nowhere_strange(target: str, store: Store, registry: FakeRegistry) -> None:
    registry.add("a/b", IMAGE)
    registry.faults.append(
        lambda handler: (
            ("/blobs/" in handler.path or "loop" in handler.path)
            and handler.answer(302, b"", {"Location": target})
        )
    )
    with pytest.raises(PydError):
        pull(store, registry)
    assert_nothing_came(store)


def test_mirrors_come_first_and_get_no_credentials(
    store: Store, registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.add("library/bb", IMAGE)
    (tmp_path / "docker").mkdir()
    entry = {"auth": base64.b64encode(b"me:secret").decode()}
    config = {"auths": {"https://index.docker.io/v1/": entry}}
    (tmp_path / "docker" / "config.json").write_text(json.dumps(config))
    monkeypatch.setenv("PYD_REGISTRY_MIRRORS", f"http://127.0.0.1:1 http://{registry.host}/")
    assert Images(store).pull("bb").reference.familiar == "bb:latest"
    assert store.images.resolve("bb").id == IMAGE.id
    assert not [request for request in registry.requests if "Authorization" in request.headers]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a/nosuch", "manifest for {host}/a/nosuch:latest not found: manifest unknown"),
        ("a/b:nosuch", "manifest for {host}/a/b:nosuch not found: manifest unknown"),
    ],
)
def test_what_is_not_there_is_said_in_dockers_words(
    name: str, says: str, store: Store, registry: FakeRegistry
) -> None:
    registry.add("a/b", IMAGE)
    with pytest.raises(PydError, match=says.format(host=registry.host)):
        pull(store, registry, name)


def test_a_registry_that_wants_a_login(store: Store, registry: FakeRegistry) -> None:
    registry.users, registry.anonymous = {"a": "b"}, True
    registry.faults.append(
        lambda handler: "/manifests/" in handler.path and handler.error(401, "UNAUTHORIZED")
    )
    with pytest.raises(Unauthorized, match=r"pull access denied for .*/a/b, repository does not"):
        pull(store, registry)


def test_nobody_answers(store: Store) -> None:
    with pytest.raises(Unavailable, match="connection refused"):
        Images(store).pull("127.0.0.1:1/a/b")
