"""`pyd registry serve` beyond the conformance suite: names, documents, resumed uploads, pages, garbage."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Pyd, wait_until
from tests.support.served import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Served,
    descriptor,
    sha256,
)
from tests.support.world import World

pytestmark = pytest.mark.usefixtures("world")
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@pytest.fixture(scope="module")
def served(world: World) -> Iterator[Served]:
    made = Served(world.directory / "served", "--gc-interval", "0")
    yield made
    assert made.stop() == 0
    assert "Traceback" not in made.log.read_text()


@pytest.mark.parametrize(
    "path",
    [
        "/v2/../../etc/passwd",
        "/v2/a/../b/manifests/x",
        "/v2/a%2fb/manifests/x",
        "/v2/a/blobs/sha256:../../../etc/passwd",
        "/v2/a/blobs/sha256%3a" + "A" * 64,
        "/v2/a/blobs/sha256:" + "a" * 63,
        "/v2/a/blobs/md5:" + "a" * 32,
        "/v2/A/tags/list",
        "/v2/a//b/tags/list",
        "/v2/-a/tags/list",
        "/v2/" + "a" * 256 + "/tags/list",
        "/v2/a/manifests/" + "t" * 129,
        "/v2/a/manifests/.hidden",
        "/v2/a/blobs/uploads/../../registry.db",
        "/v2/a/blobs/uploads/" + "0" * 32 + "-" + "0" * 16,
        "/etc/passwd",
        "/v2/" + "a/" * 3000 + "tags/list",
    ],
)
def test_names_that_lead_elsewhere(served: Served, path: str) -> None:
    for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE"):
        answer = served(method, path)
        assert 400 <= answer.status < 500, (method, answer)
        if method != "HEAD":
            assert answer.json()["errors"][0]["code"].isupper()


def test_documents_that_lie(served: Served) -> None:
    """Media type against content, two kinds in one (CVE-2021-41190), what is missing, what is too large."""
    good = served.manifest("lies", b"layer")
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    config = good["config"]
    wrong = {
        "both": {**good, "manifests": []},
        "index with config": {**index, "config": config},
        "schema 1": {**good, "schemaVersion": 1},
        "no config": {key: value for key, value in good.items() if key != "config"},
        "media type": {**good, "mediaType": OCI_INDEX},
        "digest": {**good, "config": {**config, "digest": "sha256:../../x"}},
        "negative": {**good, "config": {**config, "size": -1}},
        "size": {**good, "config": {**config, "size": config["size"] + 1}},
        "two sizes": {**good, "layers": [*good["layers"], {**good["layers"][0], "size": 1}]},
        "layers": {**good, "layers": {"a": 1}},
        "annotations": {**good, "annotations": {"a": 1}},
    }
    for why, document in wrong.items():
        answer = served.push_manifest("lies", "t", json.dumps(document).encode(), Content_Type=OCI_MANIFEST)
        assert (answer.status, answer.code) == (400, "MANIFEST_INVALID"), (why, answer)
    raw = {
        "duplicate keys": b'{"schemaVersion":2,"schemaVersion":2}',
        "deep": b"[" * 100_000,
        "no JSON": b"\xff\xfe",
        "list": b"[]",
        "empty": b"",
        "nan": b'{"schemaVersion":NaN}',
    }
    for why, data in raw.items():
        answer = served.push_manifest("lies", "t", data)
        assert (answer.status, answer.code) == (400, "MANIFEST_INVALID"), (why, answer)
    answer = served.push_manifest("lies", "t", json.dumps(good).encode(), Content_Type=DOCKER_MANIFEST)
    assert answer.code == "MANIFEST_INVALID"
    assert served.push_manifest("lies", "t", b" " * ((4 << 20) + 1)).status == 413
    absent = {**good, "layers": [descriptor(b"never pushed", OCI_LAYER)]}
    assert served.push_manifest("lies", "t", absent).code == "MANIFEST_BLOB_UNKNOWN"
    absent_entry = {**index, "manifests": [descriptor(b"{}", OCI_MANIFEST)]}
    assert served.push_manifest("lies", "t", absent_entry).code == "MANIFEST_UNKNOWN"
    assert served.push_manifest("lies", sha256(b"other"), good).code == "DIGEST_INVALID"
    # and the control: nothing of it was kept, the honest one is
    assert served("GET", "/v2/lies/manifests/t").status == 404
    assert served.push_manifest("lies", "t", good).status == 201


def test_wrong_digests_are_not_kept(served: Served) -> None:
    digest = sha256(b"promised")
    answer = served("POST", f"/v2/wrong/blobs/uploads/?digest={digest}", b"sent instead")
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    started = served("POST", "/v2/wrong/blobs/uploads/")
    served("PATCH", started.headers["Location"], b"sent instead")
    answer = served("PUT", f"{started.headers['Location']}?digest={digest}")
    assert answer.code == "DIGEST_INVALID"
    assert served("PUT", f"{started.headers['Location']}?digest={digest}").code == "BLOB_UPLOAD_UNKNOWN"
    for name in (digest, sha256(b"sent instead")):
        assert served("GET", f"/v2/wrong/blobs/{name}").status == 404
    assert not list((served.directory / "uploads").iterdir())


def test_upload_is_resumed_after_a_cut_and_a_restart(world: World) -> None:
    served = Served(world.directory / "resumed")
    try:
        data = os.urandom(5 << 20)
        started = served("POST", "/v2/a/b/blobs/uploads/")
        location = started.headers["Location"]
        connection = served.connection()
        connection.putrequest("PATCH", location)
        connection.putheader("Content-Length", str(len(data)))
        connection.endheaders()
        connection.send(data[: 3 << 20])
        path = served.directory / "uploads" / location.rpartition("/")[2]
        wait_until(lambda: path.stat().st_size == 3 << 20, 20)
        # the client comes back while its old connection still looks alive; out of order first
        late = served("PATCH", location, b"x" * 10, Content_Range="7-16")
        assert (late.status, late.headers["Range"]) == (416, f"0-{(3 << 20) - 1}")
        connection.close()
        served.kill()
        served.start()
        seen = served("GET", location)
        assert (seen.status, seen.headers["Range"]) == (204, f"0-{(3 << 20) - 1}")
        # the session is of one repository
        assert served("GET", location.replace("/a/b/", "/a/c/")).code == "BLOB_UPLOAD_UNKNOWN"
        half = data[3 << 20 : 4 << 20]
        more = served("PATCH", location, half, Content_Range=f"{3 << 20}-{(4 << 20) - 1}")
        assert (more.status, more.headers["Range"]) == (202, f"0-{(4 << 20) - 1}")
        done = served("PUT", f"{location}?digest={sha256(data)}", data[4 << 20 :])
        assert done.status == 201
        assert served("GET", done.headers["Location"]).body == data
        assert served("GET", location).status == 404
        assert not list((served.directory / "uploads").iterdir())
    finally:
        served.stop()


def test_ranges_and_conditions(served: Served) -> None:
    data = os.urandom(100_000)
    path = f"/v2/ranges/blobs/{served.push_blob('ranges', data)}"
    whole = served("GET", path)
    assert whole.body == data and whole.headers["Content-Length"] == "100000"
    tag = whole.headers["ETag"]
    parts = {
        "0-0": data[:1],
        "99999-": data[-1:],
        "-5": data[-5:],
        "10-19": data[10:20],
        "5-999999": data[5:],
    }
    for text, expected in parts.items():
        answer = served("GET", path, Range=f"bytes={text}")
        assert (answer.status, answer.body) == (206, expected), text
        assert answer.headers["Content-Range"].endswith("/100000")
    assert served("GET", path, Range="bytes=100000-").headers["Content-Range"] == "bytes */100000"
    assert served("GET", path, Range="bytes=5-1").status == 416
    for text in ("bytes=0-1,5-6", "bytes=x", "lines=1-2", "bytes=-"):
        assert served("GET", path, Range=text).body == data
    assert served("GET", path, Range="bytes=0-4", If_Range='"other"').status == 200
    assert served("GET", path, Range="bytes=0-4", If_Range=tag).status == 206
    assert served("GET", path, If_None_Match=tag).status == 304
    head = served("HEAD", path)
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", "100000")
    served.push_image("ranges", "t", b"layer")
    manifest = served("GET", "/v2/ranges/manifests/t")
    assert served("GET", "/v2/ranges/manifests/t", If_None_Match=manifest.headers["ETag"]).status == 304


def test_what_is_needed_is_not_deleted(served: Served) -> None:
    digest = served.push_image("needed", "t", b"needed layer")
    entry = served("GET", "/v2/needed/manifests/t")
    index = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [{"mediaType": OCI_MANIFEST, "digest": digest, "size": len(entry.body)}],
    }
    assert served.push_manifest("needed", "list", index).status == 201
    assert served("DELETE", f"/v2/needed/blobs/{sha256(b'needed layer')}").code == "DENIED"
    assert served("DELETE", f"/v2/needed/manifests/{digest}").code == "DENIED"
    for reference in (
        "list",
        served("GET", "/v2/needed/manifests/list").headers["Docker-Content-Digest"],
        digest,
    ):
        assert served("DELETE", f"/v2/needed/manifests/{reference}").status == 202, reference
    assert served("GET", "/v2/needed/manifests/t").status == 404
    assert served("DELETE", f"/v2/needed/blobs/{sha256(b'needed layer')}").status == 202


def test_many_repositories_in_pages(served: Served, world: World) -> None:
    config = b"{}"
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(config, OCI_CONFIG),
        "layers": [],
    }
    count = int(os.environ.get("PYD_REGISTRY_REPOSITORIES", "150"))
    names = [f"many/r{number:05}" for number in range(count)]

    def push(part: list[str]) -> None:
        for name in part:
            served.push_blob(name, config)
            assert served.push_manifest(name, "t", manifest).status == 201

    threads = [threading.Thread(target=push, args=(names[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [
        name for name in walk(served, "/v2/_catalog?n=37", "repositories") if name.startswith("many/")
    ] == names
    tags = [f"v{number:03}" for number in range(60)]
    for start in range(0, 60, 20):
        query = "&".join(f"tag={tag}" for tag in tags[start : start + 20])
        digest = sha256(json.dumps(manifest).encode())
        assert served.push_manifest(names[0], f"{digest}?{query}", manifest).status == 201
    assert walk(served, f"/v2/{names[0]}/tags/list?n=7", "tags") == ["t", *tags]
    assert served("GET", f"/v2/{names[0]}/tags/list?n=0").json()["tags"] == []
    assert served("GET", f"/v2/{names[0]}/tags/list?n=-1").code == "PAGINATION_NUMBER_INVALID"


def walk(served: Served, path: str, key: str) -> list[str]:
    """All pages, as a client follows them."""
    found: list[str] = []
    while path:
        answer = served("GET", path)
        assert len(answer.json()[key]) <= 37
        found += answer.json()[key]
        link = answer.headers.get("Link", "")
        path = link[1 : link.index(">")] if link else ""
    return found


def test_collection_while_it_is_served(world: World, pyd: Pyd) -> None:
    """What nothing refers to goes after its grace; what is being pushed, and what manifests need, stays."""
    served = Served(world.directory / "collected", "--gc-interval", "0")
    try:
        digest = served.push_image("kept", "t", b"kept layer")
        dropped = served.push_blob("dropped", b"no manifest")
        pending = served("POST", "/v2/kept/blobs/uploads/").headers["Location"]
        served("PATCH", pending, b"half")
        stray = served.directory / "blobs/sha256" / ("e" * 64)
        stray.write_bytes(b"left by a kill")
        out = pyd("registry", "gc", "--root", served.directory).stdout
        assert "Deleted blobs: 1\n" in out and not stray.exists()  # the other one is within its grace
        assert served("HEAD", f"/v2/dropped/blobs/{dropped}").status == 200
        pyd("registry", "gc", "--root", served.directory, "--grace", "0")
        assert served("HEAD", f"/v2/dropped/blobs/{dropped}").status == 404
        assert served("GET", f"/v2/kept/manifests/{digest}").status == 200
        assert served("GET", f"/v2/kept/blobs/{sha256(b'kept layer')}").body == b"kept layer"
        assert served("PUT", f"{pending}?digest={sha256(b'half and half')}", b" and half").status == 201
        served.push_manifest("kept", "t", served.manifest("kept", b"newer layer"))
        assert (
            "manifests: 1"
            in pyd("registry", "gc", "--root", served.directory, "--grace", "0", "--delete-untagged").stdout
        )
        assert served("GET", f"/v2/kept/manifests/{digest}").status == 404
        assert served("GET", f"/v2/kept/blobs/{sha256(b'newer layer')}").status == 200
    finally:
        served.stop()


def test_collection_races_with_pushes(world: World, pyd: Pyd) -> None:
    """The same blobs are pushed and collected without a pause: what has a manifest is there."""
    served = Served(world.directory / "raced", "--gc-interval", "0")
    stop = threading.Event()
    failures: list[str] = []

    def push(name: str) -> None:
        for number in range(1000):
            if stop.is_set():
                return
            layer = f"layer {number % 3}".encode()
            document = served.manifest(name, layer)
            answer = served.push_manifest(name, "t", document)
            # without any grace a blob may be collected before its manifest comes; it is said then
            if answer.status == 201:
                got = served("GET", f"/v2/{name}/blobs/{sha256(layer)}")
                if got.body != layer:
                    failures.append(f"{name} {number}: {got}")
            elif answer.code != "MANIFEST_BLOB_UNKNOWN":
                failures.append(f"{name} {number}: {answer}")

    threads = [threading.Thread(target=push, args=(f"race{number}",)) for number in range(2)]
    try:
        for thread in threads:
            thread.start()
        for _ in range(6):
            pyd("registry", "gc", "--root", served.directory, "--grace", "0", "--delete-untagged")
        stop.set()
        for thread in threads:
            thread.join()
        assert not failures
    finally:
        stop.set()
        served.stop()


def test_log_and_metrics(served: Served) -> None:
    served("GET", "/v2/logged/tags/list?secret=canary", User_Agent='evil"\x9b31m')
    line = served.log.read_text().splitlines()[-1]
    assert "127.0.0.1 - GET /v2/logged/tags/list 404" in line and "canary" not in line and "\x9b" not in line
    text = served("GET", "/metrics").body.decode()
    assert 'pyd_registry_requests_total{method="GET",route="tags",status="404"}' in text
    for row in text.splitlines():
        assert row.startswith("#") or float(row.rpartition(" ")[2]) >= 0


def test_refused_command_lines(pyd: Pyd, tmp_path: Path, served: Served) -> None:
    def refused(*words: object) -> str:
        return pyd("registry", "serve", "--root", tmp_path / "r", *words, code=1).stderr

    assert "without TLS" in refused("--listen", "0.0.0.0:0")
    assert "belong together" in refused("--tls-cert", "x")
    assert "invalid address" in refused("--listen", "here")
    assert "--token needs --htpasswd" in refused("--token")
    assert "no such file" in refused("--htpasswd", "/nosuch")
    weak = tmp_path / "weak"
    weak.write_text("user:{SHA}abc\n")
    assert "is not a bcrypt hash" in refused("--htpasswd", weak)
    assert "another program listens there" in refused("--listen", served.host)
    assert "another process serves" in pyd("registry", "serve", "--root", served.directory, code=1).stderr
    assert "there is no registry" in pyd("registry", "ls", "--root", tmp_path / "none", code=1).stderr


def test_looked_after_from_outside(served: Served, pyd: Pyd) -> None:
    digest = served.push_image("outside", "one", b"outside layer")
    served.push_image("outside", "two", b"outside layer")
    root = ("--root", served.directory)
    assert "outside" in pyd("registry", "ls", "-q", *root).lines
    row = next(line for line in pyd("registry", "ls", *root).lines if line.startswith("outside "))
    assert row.split()[1:3] == ["2", "1"]
    assert pyd("registry", "ls", "outside", "-q", *root).lines == ["one", "two"]
    assert digest in pyd("registry", "ls", "outside", *root).stdout
    assert pyd("registry", "rm", "outside:one", *root).out == "Untagged: outside:one"
    assert served("GET", "/v2/outside/manifests/one").status == 404
    assert "no such tag" in pyd("registry", "rm", "outside:one", *root, code=1).stderr
    assert "no such repository" in pyd("registry", "ls", "nosuch", *root, code=1).stderr
    pyd("registry", "rm", f"outside@{digest}", *root)
    pyd("registry", "rm", "outside", *root)
    assert served("GET", "/v2/outside/tags/list").code == "NAME_UNKNOWN"


def test_requests_end_before_it_does(world: World) -> None:
    """SIGTERM: an upload that is under way is answered, then the server ends."""
    served = Served(world.directory / "ended")
    data = os.urandom(1 << 20)
    connection = served.connection()
    connection.putrequest("POST", f"/v2/a/blobs/uploads/?digest={sha256(data)}")
    connection.putheader("Content-Length", str(len(data)))
    connection.endheaders()
    connection.send(data[:1000])
    wait_until(lambda: list((served.directory / "uploads").iterdir()), 10)
    assert served.process is not None
    served.process.terminate()
    time.sleep(0.3)
    connection.send(data[1000:])
    assert connection.getresponse().status == 201
    connection.close()
    assert served.stop() == 0
