"""Uploads to a registry that refuses, stutters, forgets and points elsewhere; credentials stay at home."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from tests.fakes.registry import digest_of
from tests.fakes.uploads import UploadHandler, UploadRegistry, taking

from pyd.errors import (
    Forbidden,
    InvalidArgument,
    NotSupported,
    PydError,
    RegistryError,
    Unauthorized,
    Unavailable,
)
from pyd.oci.descriptor import OCI_MANIFEST, Descriptor
from pyd.oci.digest import Digest
from pyd.oci.reference import Reference
from pyd.registry import transport
from pyd.registry.push import EXISTS, PUSHED, Target
from pyd.registry.served import Served
from pyd.registry.settings import Settings
from pyd.registry.upload import Sent
from pyd.registry.writer import Answer

BIG = random.Random(1).randbytes(3_000_000)
SMALL = b"small"
OCTETS = "application/octet-stream"
Fault = Callable[[UploadHandler], bool]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No waiting between attempts, no configuration of this machine."""
    monkeypatch.setattr(transport, "_FIRST_PAUSE", 0.001)
    for name in ("DOCKER_CONFIG", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("PYD_CONFIG", str(tmp_path / "pyd.json"))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))


@pytest.fixture
def registry() -> Iterator[UploadRegistry]:
    with taking() as registry:
        yield registry


def push(registry: UploadRegistry, data: bytes, sources: tuple[str, ...] = (), path: str = "a/b") -> str:
    """What became of the blob; the registry has it then, whole."""
    blob = Descriptor(OCTETS, Digest.of(data), len(data))
    target = Target(Reference.parse(f"{registry.host}/{path}"))
    sent = Sent(len(data))

    def read(offset: int) -> Iterator[bytes]:
        for start in range(offset, len(data), 100_000):
            yield data[start : start + 100_000]

    try:
        outcome = target.send(blob, read, sent, sources)
    finally:
        target.close()
    assert registry.blobs[digest_of(data)] == data
    if outcome == PUSHED:
        assert sent.done == len(data)
    return outcome


def methods(registry: UploadRegistry) -> list[str]:
    """Of all requests but the first, which looks whether the registry speaks TLS."""
    return [request.method for request in registry.requests if request.path != "/v2/"]


def once(fault: Fault, times: int = 1) -> Fault:
    """The fault, at its first `times` turns only."""
    left = [times]

    def limited(handler: UploadHandler) -> bool:
        if left[0] and fault(handler):
            left[0] -= 1
            return True
        return False

    return limited


def cut_at(count: int, method: str = "PATCH") -> Fault:
    """The connection ends when the registry has `count` bytes of the request's body, which it keeps."""

    def fault(handler: UploadHandler) -> bool:
        if handler.command != method or handler.length <= count:
            return False
        number = handler.path.partition("?")[0].rpartition("/")[2]
        handler.registry.uploads[number] += handler.take(count)
        handler.cut()
        return True

    return fault


def test_small_in_two_requests_large_streamed(registry: UploadRegistry) -> None:
    assert push(registry, SMALL) == PUSHED
    assert methods(registry) == ["HEAD", "POST", "PUT"]
    registry.requests.clear()
    assert push(registry, BIG) == PUSHED
    assert methods(registry) == ["HEAD", "POST", "PATCH", "PUT"]
    # one PATCH has no Content-Range: some registries take it for chunks, which they do not have
    assert "Content-Range" not in registry.requests[-2].headers
    registry.requests.clear()
    assert push(registry, BIG) == EXISTS
    assert methods(registry) == ["HEAD"]
    assert push(registry, b"") == PUSHED


def test_chunks_when_the_user_wants_them(registry: UploadRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYD_PUSH_CHUNK_SIZE", "1000000")
    assert push(registry, BIG) == PUSHED
    ranges = [one.headers["Content-Range"] for one in registry.requests if one.method == "PATCH"]
    assert ranges == ["0-999999", "1000000-1999999", "2000000-2999999"]


def test_a_proxy_that_takes_nothing_large(registry: UploadRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyd.registry import upload

    monkeypatch.setattr(upload, "_LEAST_CHUNK", 100_000)

    def fault(handler: UploadHandler) -> bool:
        if handler.command != "PATCH" or handler.length <= 1_000_000:
            return False
        handler.take(handler.length)
        return handler.answer(413, b"<html>too large</html>")

    registry.faults.append(fault)  # type: ignore[arg-type]
    assert push(registry, BIG) == PUSHED
    monkeypatch.setattr(upload, "_LEAST_CHUNK", 5_000_000)
    with pytest.raises(PydError, match="takes nothing that large"):
        push(registry, BIG + b"x")


def test_a_cut_upload_goes_on_where_it_was_cut(registry: UploadRegistry) -> None:
    registry.faults.append(once(cut_at(700_000), 4))  # type: ignore[arg-type]
    assert push(registry, BIG) == PUSHED
    # four cuts, and not a byte was received twice
    assert registry.received == len(BIG)
    ranges = [one.headers.get("Content-Range") for one in registry.requests if one.method == "PATCH"]
    assert ranges == [None, *(f"{start}-2999999" for start in (700_000, 1_400_000, 2_100_000, 2_800_000))]


def test_a_registry_that_forgets_the_upload_gets_a_new_one(registry: UploadRegistry) -> None:
    registry.resumes = False
    registry.faults.append(once(cut_at(700_000), 2))  # type: ignore[arg-type]
    assert push(registry, BIG) == PUSHED
    assert methods(registry).count("POST") == 3


def test_cuts_without_end_are_given_up(registry: UploadRegistry) -> None:
    registry.resumes = False
    registry.faults.append(cut_at(1000))  # type: ignore[arg-type]
    with pytest.raises(Unavailable):
        push(registry, BIG)
    assert methods(registry).count("PATCH") == transport.ATTEMPTS


def test_an_answer_that_is_lost_costs_no_second_upload(registry: UploadRegistry) -> None:
    """The blob was stored, and the connection ended before the registry said so."""

    def fault(handler: UploadHandler) -> bool:
        if handler.command != "PUT":
            return False
        data = handler.take(handler.length)
        handler.registry.blobs[digest_of(data)] = data
        handler.registry.uploads.clear()
        handler.cut()
        return True

    registry.faults.append(once(fault))  # type: ignore[arg-type]
    assert push(registry, SMALL) == PUSHED
    assert methods(registry) == ["HEAD", "POST", "PUT", "GET", "HEAD"]


@pytest.mark.parametrize("method", ["HEAD", "POST", "PATCH", "PUT"])
@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_registry_that_cannot_now(registry: UploadRegistry, method: str, status: int) -> None:
    def fault(handler: UploadHandler) -> bool:
        if handler.command != method:
            return False
        handler.take(handler.length)
        return handler.error(status, "UNAVAILABLE", {"Retry-After": "0"})

    registry.faults.append(once(fault, 2))  # type: ignore[arg-type]
    assert push(registry, BIG) == PUSHED


def test_a_registry_that_asks_to_wait_too_long(registry: UploadRegistry) -> None:
    registry.faults.append(
        lambda handler: (
            handler.command == "HEAD" and handler.error(429, "TOOMANYREQUESTS", {"Retry-After": "3600"})
        )
    )
    with pytest.raises(Unavailable, match="asks to wait 3600 seconds"):
        push(registry, SMALL)


@pytest.mark.parametrize(
    ("status", "code", "error", "words"),
    [
        (403, "DENIED", Forbidden, "denied: no"),
        (405, "UNSUPPORTED", NotSupported, "does not allow that"),
        (400, "NAME_INVALID", RegistryError, "name_invalid: no"),
        (302, "", RegistryError, "status 302"),
    ],
)
def test_refusals(
    registry: UploadRegistry, status: int, code: str, error: type[PydError], words: str
) -> None:
    registry.faults.append(
        lambda handler: handler.command == "POST" and handler.error(status, code, {"Location": "/else"})
    )
    with pytest.raises(error, match=words):
        push(registry, SMALL)


def test_mounts(registry: UploadRegistry) -> None:
    registry.blobs[digest_of(SMALL)] = SMALL
    registry.faults.append(lambda handler: handler.command == "HEAD" and handler.error(404, "BLOB_UNKNOWN"))
    assert push(registry, SMALL, ("a/b", "other")) == "other"
    assert f"mount={digest_of(SMALL).replace(':', '%3A')}&from=other" in registry.requests[-1].path
    # a registry that does not mount begins an upload, which is used
    registry.mounts = False
    registry.requests.clear()
    assert push(registry, SMALL, ("other",)) == PUSHED
    assert methods(registry) == ["HEAD", "POST", "PUT"]
    # one that refuses the other repository gets the bytes
    registry.requests.clear()
    registry.faults.append(lambda handler: "mount=" in handler.path and handler.error(403, "DENIED"))
    assert push(registry, SMALL, ("other",)) == PUSHED
    assert methods(registry) == ["HEAD", "POST", "POST", "PUT"]


def log_in(tmp_path: Path, host: str) -> str:
    pair = base64.b64encode(b"user:canary-password").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {host: {"auth": pair}}}))
    return pair


@pytest.mark.parametrize("basic", [True, False])
def test_a_challenge(registry: UploadRegistry, tmp_path: Path, basic: bool) -> None:
    registry.users, registry.basic = {"user": "canary-password"}, basic
    with pytest.raises(Unauthorized):
        push(registry, BIG)
    log_in(tmp_path, registry.host)
    registry.requests.clear()
    assert push(registry, BIG, ("other",)) == PUSHED
    if not basic:
        scopes = [one.path for one in registry.requests if one.path.startswith("/token")]
        assert "repository%3Aa%2Fb%3Apull%2Cpush" in scopes[0]
        assert any("repository%3Aother%3Apull" in path for path in scopes)
    # the body was never sent to be refused
    assert registry.received == len(BIG)


def test_a_token_that_ends_in_mid_upload(registry: UploadRegistry, tmp_path: Path) -> None:
    registry.users = {"user": "canary-password"}
    log_in(tmp_path, registry.host)

    def fault(handler: UploadHandler) -> bool:
        if handler.command != "PATCH":
            return False
        handler.take(handler.length)
        handler.challenge()
        return True

    registry.faults.append(once(fault))  # type: ignore[arg-type]
    with pytest.raises(Unauthorized):  # the fake gives the same token again, and that was refused
        push(registry, BIG)


@pytest.mark.parametrize("way", ["location", "redirect"])
def test_credentials_stay_with_the_registry(registry: UploadRegistry, tmp_path: Path, way: str) -> None:
    """An upload that is to go elsewhere goes there without them."""
    registry.users = {"user": "canary-password"}
    pair = log_in(tmp_path, registry.host)
    with taking(UploadRegistry(blobs=registry.blobs, uploads=registry.uploads)) as other:
        if way == "location":
            registry.elsewhere = other.host
        else:
            registry.faults.append(
                lambda handler: (
                    handler.command in ("PATCH", "PUT")
                    and bool(handler.take(handler.length) or True)  # type: ignore[attr-defined]
                    and handler.answer(307, b"", {"Location": f"http://{other.host}{handler.path}"})
                )
            )
        assert push(registry, BIG) == PUSHED
        assert any(one.method == "PATCH" for one in other.requests)
        for request in other.requests:
            assert "Authorization" not in request.headers
            assert pair not in str(request) and "the-token" not in str(request)
        assert any("Authorization" in one.headers for one in registry.requests)


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("file:///etc/passwd", "neither http nor https"),
        ("gopher://x/", "neither http nor https"),
        ("http://x:port/", "invalid Location"),
        ("", "does not say where"),
    ],
)
def test_a_location_that_is_none(registry: UploadRegistry, location: str, words: str) -> None:
    registry.faults.append(
        lambda handler: (
            handler.command == "POST" and handler.answer(202, b"", {"Location": location} if location else {})
        )
    )
    with pytest.raises(RegistryError, match=words):
        push(registry, SMALL)


def test_a_registry_that_lies(registry: UploadRegistry) -> None:
    def stored_another(handler: UploadHandler) -> bool:
        return (
            handler.command == "PUT"
            and bool(handler.take(handler.length) or True)
            and handler.answer(201, b"", {"Docker-Content-Digest": "sha256:" + "0" * 64})
        )

    registry.faults.append(stored_another)  # type: ignore[arg-type]
    with pytest.raises(RegistryError, match="stored another blob"):
        push(registry, SMALL)
    target = Target(Reference.parse(f"{registry.host}/a/b"))
    with pytest.raises(RegistryError, match="stored another manifest"):
        target.put_manifest(Served(b"{}", OCI_MANIFEST, Digest.of(b"{}")), "latest")
    target.close()
    registry.faults.clear()
    registry.faults.append(lambda handler: handler.command == "HEAD" and handler.answer(200, b"another size"))
    with pytest.raises(RegistryError, match="of 12 bytes, ours has 5"):
        push(registry, SMALL)
    registry.faults.clear()
    registry.faults.append(
        lambda handler: (
            handler.command == "PATCH"
            and bool(handler.take(handler.length) or True)  # type: ignore[attr-defined]
            and handler.answer(202, b"", {"Range": "0-99999999", "Location": handler.path})
        )
    )
    with pytest.raises(RegistryError, match="says that it has 100000000 bytes"):
        push(registry, BIG)


@pytest.mark.parametrize(
    "location",
    [
        "http://registry.example.com/v2/x",
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://169.254.169.254/",
    ],
)
def test_a_registry_in_the_world_points_neither_to_plain_http_nor_to_us(location: str) -> None:
    headers = httpx.Headers({"Location": location})
    answer = Answer(202, headers, b"", httpx.URL("https://registry.example.com/v2/a/blobs/uploads/"))
    with pytest.raises(RegistryError, match="refused"):
        _ = answer.location


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PYD_PUSH_CHUNK_SIZE", "x"),
        ("PYD_PUSH_COMPRESSION_LEVEL", "0"),
        ("PYD_PUSH_COMPRESSION_LEVEL", "10"),
        ("PYD_PUSH_COMPRESSION_LEVEL", "six"),
    ],
)
def test_settings_that_are_none(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidArgument):
        Settings.load()
