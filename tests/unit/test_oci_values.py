"""Digests, references, platforms, documents: what is accepted, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyd.errors import CorruptData, InvalidArgument, NotFound, NotSupported
from pyd.oci.digest import Digest, chain_ids
from pyd.oci.document import parse
from pyd.oci.image_config import ImageConfig
from pyd.oci.manifest import Index, Manifest, parse_manifest
from pyd.oci.platform import Platform
from pyd.oci.reference import Reference

HEX = "a" * 64
GOOD = f"sha256:{HEX}"


@pytest.mark.parametrize(
    "text",
    ["", "sha256:", "sha256:../../x", f"sha256:{'A' * 64}", f"sha256:{'a' * 63}", f"sha256:{'a' * 65}",
     f"sha512:{'a' * 128}", f"md5:{'a' * 32}", f"{GOOD}\n", f" {GOOD}", f"sha256:{chr(0x430) * 64}", HEX],
)  # fmt: skip
def test_a_digest_is_sha256_and_64_lower_case_digits(text: str) -> None:
    with pytest.raises(CorruptData):
        Digest.parse(text)


def test_chain_ids_are_those_of_the_specification() -> None:
    first, second = Digest.of(b"1"), Digest.of(b"2")
    assert chain_ids([first]) == (first,)
    assert chain_ids([first, second])[1] == Digest.of(f"{first} {second}".encode())
    assert chain_ids([]) == ()


@pytest.mark.parametrize(
    ("text", "canonical", "familiar"),
    [
        ("ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
        ("a/b", "docker.io/a/b:latest", "a/b:latest"),
        ("docker.io/ubuntu:22.04", "docker.io/library/ubuntu:22.04", "ubuntu:22.04"),
        ("index.docker.io/a/b", "docker.io/a/b:latest", "a/b:latest"),
        ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
        ("localhost:5000/x:y", "localhost:5000/x:y", "localhost:5000/x:y"),
        ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
        ("ghcr.io/a/b/c:1", "ghcr.io/a/b/c:1", "ghcr.io/a/b/c:1"),
        (f"a:tag@{GOOD}", f"docker.io/library/a@{GOOD}", f"a@{GOOD}"),
        ("a__b.c-d---e", "docker.io/library/a__b.c-d---e:latest", "a__b.c-d---e:latest"),
    ],
)
def test_references_are_read_as_docker_reads_them(text: str, canonical: str, familiar: str) -> None:
    reference = Reference.parse(text).with_default_tag()
    assert (reference.canonical, reference.familiar) == (canonical, familiar)
    assert Reference.parse(reference.canonical) == Reference.parse(reference.familiar)


@pytest.mark.parametrize(
    "text",
    ["", ":", "a:", ":b", "a::b", "A", "a/B", "-a", "a-", "a//b",
     "/a", "a/", "a b", "a@sha256:x", HEX,
     "a..b", "a___b", f"a:{'t' * 129}", "a" * 300, "a\n", "a:b/c:d:e", "../a",
     "host:port/x", "ä", "a@" + GOOD + "@" + GOOD],
)  # fmt: skip
def test_other_references_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        Reference.parse(text)


@given(st.text(max_size=80))
def test_no_text_breaks_the_reference_parser(text: str) -> None:
    try:
        reference = Reference.parse(text).with_default_tag()
    except InvalidArgument:
        return
    assert Reference.parse(reference.canonical) == Reference.parse(reference.familiar)
    assert ".." not in reference.path.split("/")


def test_platforms_have_one_spelling() -> None:
    assert str(Platform.parse("linux/aarch64")) == "linux/arm64"
    assert str(Platform.parse("arm64/v8".replace("arm64/v8", "linux/arm64/v8"))) == "linux/arm64"
    assert str(Platform.parse("arm")) == "linux/arm/v7"
    for text in ("", "linux/", "a/b/c/d", "nonsense", "linux//v7", "../x"):
        with pytest.raises(InvalidArgument):
            Platform.parse(text)


def test_an_older_variant_will_do_a_newer_will_not() -> None:
    v7 = Platform.parse("linux/arm/v7")
    assert v7.rank(Platform.parse("linux/arm/v7")) == 0
    assert v7.rank(Platform.parse("linux/arm/v6")) == 1
    assert v7.rank(Platform.parse("linux/arm/v8")) is None
    assert v7.rank(Platform.parse("linux/arm64")) is None


def descriptor(**changes: Any) -> dict[str, Any]:
    return {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": GOOD, "size": 2, **changes}


def manifest(**changes: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, "config": descriptor(), "layers": [], **changes}).encode()


def test_a_manifest_is_not_also_an_index() -> None:
    assert isinstance(parse_manifest(manifest()), Manifest)
    with pytest.raises(CorruptData, match="at the same time"):
        parse_manifest(manifest(manifests=[]))


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (manifest(mediaType="application/vnd.oci.image.index.v1+json"), ""),
        (
            manifest(mediaType="application/vnd.oci.image.manifest.v1+json"),
            "application/vnd.oci.image.index.v1+json",
        ),
        (manifest(), "application/vnd.oci.image.index.v1+json"),
        (manifest(schemaVersion=3), ""),
        (manifest(config=None), ""),
        (manifest(config=descriptor(size=-1)), ""),
        (manifest(config=descriptor(size=True)), ""),
        (manifest(config=descriptor(size="2")), ""),
        (manifest(config=descriptor(size=1 << 60)), ""),
        (manifest(config=descriptor(digest="sha256:../../x")), ""),
        (manifest(layers={}), ""),
        (manifest(layers=[3]), ""),
        (manifest(layers=[descriptor()] * 501), ""),
        (manifest() + b"{}", ""),
        (manifest()[:-1], ""),
        (b'{"schemaVersion":2,"schemaVersion":2,"config":{},"layers":[]}', ""),
        (b"[" * 100_000, ""),
        (b'{"a":' * 100_000, ""),
        (b"\xff\xfe", ""),
        (b'{"schemaVersion":NaN}', ""),
        (b"[]", ""),
        (b" " * (4 * 1024 * 1024 + 1), ""),
    ],
)
def test_bad_manifests_are_refused(data: bytes, kind: str) -> None:
    with pytest.raises(CorruptData):
        parse_manifest(data, kind)


def test_schema_1_is_named() -> None:
    with pytest.raises(NotSupported, match="schema 1"):
        parse_manifest(b'{"schemaVersion":1,"fsLayers":[]}')


def test_an_index_gives_the_platform_that_was_asked_for() -> None:
    kind = "application/vnd.oci.image.manifest.v1+json"
    entries = [
        descriptor(mediaType=kind, digest=Digest.of(name.encode()), platform={"os": os, "architecture": name})
        for os, name in (("unknown", "unknown"), ("windows", "amd64"), ("linux", "arm64"), ("linux", "amd64"))
    ]
    index = parse_manifest(json.dumps({"schemaVersion": 2, "manifests": entries}).encode())
    assert isinstance(index, Index)
    assert index.choose(Platform.parse("linux/arm64")).digest == Digest.of(b"arm64")
    with pytest.raises(NotFound, match="no matching manifest for linux/s390x in the manifest list entries"):
        index.choose(Platform.parse("linux/s390x"))


def test_an_image_has_no_say_about_the_hosts_environment() -> None:
    config = ImageConfig.parse(
        b'{"config":{"Env":["A=1","PATH","AWS_SECRET*","=x","B="]},"rootfs":{"diff_ids":[]}}'
    )
    assert config.defaults.env == ("A=1", "B=")


@pytest.mark.parametrize(
    "text",
    ['{"config":{"Env":"A=1"}}', '{"config":{"Labels":{"a":1}}}', '{"config":[]}',
     '{"rootfs":{"diff_ids":["x"]}}',
     '{"rootfs":{"type":"other"}}', '{"history":{}}',
     '{"config":{"User":0}}', '{"config":{"Cmd":[1]}}'],
)  # fmt: skip
def test_configs_of_wrong_types_are_refused(text: str) -> None:
    with pytest.raises(CorruptData):
        ImageConfig.parse(text.encode())


@given(st.binary(max_size=200))
def test_no_bytes_break_the_document_parser(data: bytes) -> None:
    try:
        parse(data, "document")
    except CorruptData:
        pass
