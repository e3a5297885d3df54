"""Manifests that are no manifests, or two things at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.fakes.registry import INDEX, MANIFEST
from tests.hostile.registry.case import NAME, Scene, case

DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"


def _bytes(scene: Scene, data: bytes | Callable[[bytes], bytes], kind: str = MANIFEST) -> None:
    scene.serve_manifest(data if isinstance(data, bytes) else data(scene.image.manifest_bytes), kind)


JSON = "not valid JSON"
for _name, _data, _says in (
    ("empty", b"", JSON),
    ("HTML", b"<html>\x1b[31mlog in</html>", JSON),
    ("binary", bytes(range(256)), JSON),
    ("a list", b"[]", "not a JSON object"),
    ("null", b"null", "not a JSON object"),
    ("a number", b"5", "not a JSON object"),
    ("a string", b'"x"', "not a JSON object"),
    ("an empty object", b"{}", "schemaVersion"),
    ("without a config", b'{"schemaVersion":2}', "config is missing"),
    ("NaN", b'{"schemaVersion":NaN}', JSON),
    ("a depth bomb of lists", b"[" * 100_000, "nested too deeply|not valid JSON"),
    ("a depth bomb of objects", b'{"a":' * 100_000, "nested too deeply|not valid JSON"),
    ("a number of 10000 digits", b'{"schemaVersion":' + b"2" * 10_000 + b"}", JSON),
    ("an infinite number", b'{"schemaVersion":2,"x":1e999}', "too large"),
):
    case(f"manifest: {_name}", _says)(partial(_bytes, data=_data))

for _name, _change, _says in (
    ("truncated", lambda data: data[:-1], JSON),
    ("trailing data", lambda data: data + b"{}", JSON),
    ("a second document behind a newline", lambda data: data + b"\n" + data, JSON),
    ("a BOM", lambda data: b"\xef\xbb\xbf" + data, JSON),
    ("UTF-16", lambda data: data.decode().encode("utf-16"), JSON),
    ("bad UTF-8", lambda data: data.replace(b"layers", b"layer\xff"), JSON),
    ("comments", lambda data: b"/* x */" + data, JSON),
    ("a comma too many", lambda data: data[:-1] + b",}", JSON),
    ("the same key twice", lambda data: data[:-1] + b',"layers":[]}', "same key twice"),
    ("a key in two cases", lambda data: data[:-1] + b',"Layers":[]}', "differ only in case"),
    ("a key in another case", lambda data: data.replace(b'"layers"', b'"LAYERS"'), "is written as"),
    ("half a surrogate pair", lambda data: data[:-1] + b',"x":"\\ud800"}', JSON),
    ("5 MB of spaces", lambda data: data + b" " * (5 << 20), "more than"),
    ("10 MB of annotations", lambda data: data[:-1] + b',"x":"' + b"y" * (10 << 20) + b'"}', "more than"),
):
    case(f"manifest: {_name}", _says)(partial(_bytes, data=_change))


def _changed(scene: Scene, change: Callable[[dict[str, Any]], object], kind: str = MANIFEST) -> None:
    change(scene.image.manifest)
    scene.serve_manifest(json.dumps(scene.image.manifest).encode(), kind)


BOTH = "manifest and an index at the same time"
for _name, _edit, _says in (
    ("manifest and index at once", lambda m: m.update(manifests=[]), BOTH),
    ("manifest and index at once, one in another case", lambda m: m.update(Manifests=[]), "is written as"),
    ("no schemaVersion", lambda m: m.pop("schemaVersion"), "schemaVersion"),
    ("schemaVersion 3", lambda m: m.update(schemaVersion=3), "schemaVersion is not 2"),
    ("schemaVersion 1", lambda m: m.update(schemaVersion=1), "schema 1 is not supported"),
    ("schemaVersion is a string", lambda m: m.update(schemaVersion="2"), "schemaVersion is not an integer"),
    ("schemaVersion is 2.0", lambda m: m.update(schemaVersion=2.0), "schemaVersion is not an integer"),
    ("schemaVersion is true", lambda m: m.update(schemaVersion=True), "schemaVersion is not an integer"),
    ("another mediaType than Content-Type", lambda m: m.update(mediaType=DOCKER), "differs from the Content"),
    ("mediaType of an index", lambda m: m.update(mediaType=INDEX), "differs|does not fit"),
    ("mediaType with an escape", lambda m: m.update(mediaType="\x1b[2J"), "differs|does not fit"),
    ("mediaType is a list", lambda m: m.update(mediaType=[]), "mediaType is not a string"),
    ("config is a list", lambda m: m.update(config=[]), "config is not a JSON object"),
    ("config is null", lambda m: m.update(config=None), "config is missing"),
    ("config of another type", lambda m: m["config"].update(mediaType="text/plain"), "not a container image"),
    ("config of a terabyte", lambda m: m["config"].update(size=1 << 40), "config is larger than"),
    ("config of no size", lambda m: m["config"].pop("size"), "size is missing"),
    ("config of another size", lambda m: m["config"].update(size=7), "wants to send|sends more"),
    ("layers is an object", lambda m: m.update(layers={}), "layers is not a list"),
    ("layers has a string", lambda m: m["layers"].append("x"), "not a JSON object"),
    ("layers is missing", lambda m: m.pop("layers"), "0 layers"),
    ("a layer too few", lambda m: m["layers"].pop(), "1 layers"),
    ("a layer too many", lambda m: m["layers"].append(m["layers"][0]), "3 layers"),
    ("100 thousand layers", lambda m: m.update(layers=m["layers"] * 9_000), "at most 500"),
    ("a layer of no size", lambda m: m["layers"][0].pop("size"), "size is missing"),
    ("a layer of negative size", lambda m: m["layers"][0].update(size=-1), "size is missing or absurd"),
    ("a layer of 2^63 bytes", lambda m: m["layers"][0].update(size=2**63), "size is missing or absurd"),
    ("a layer of 1.5 bytes", lambda m: m["layers"][0].update(size=1.5), "size is not an integer"),
    ("a layer's size is a string", lambda m: m["layers"][0].update(size="5"), "size is not an integer"),
    ("a layer's size is true", lambda m: m["layers"][0].update(size=True), "size is not an integer"),
    ("a layer without a type", lambda m: m["layers"][0].pop("mediaType"), "mediaType is missing"),
    (
        "a layer of an unknown type",
        lambda m: m["layers"][0].update(mediaType="text/html"),
        "unsupported layer",
    ),
    (
        "an encrypted layer",
        lambda m: m["layers"][0].update(mediaType="application/vnd.oci.image.layer.v1.tar+gzip+encrypted"),
        "unsupported layer",
    ),
    (
        "a layer type with a newline",
        lambda m: m["layers"][0].update(mediaType="application/vnd.oci.image.layer.v1.tar\n"),
        "unsupported layer",
    ),
    ("annotations are a list", lambda m: m["layers"][0].update(annotations=[1]), "annotations is not"),
):
    case(f"manifest: {_name}", _says)(partial(_changed, change=_edit))

for _name, _kind, _says in (
    ("an index", INDEX, "differs"),
    ("a list of Docker's", DOCKER_LIST, "differs"),
    ("schema 1", SCHEMA_1, "schema 1 is not supported"),
):
    case(f"Content-Type of the manifest: {_name}", _says)(partial(_changed, change=len, kind=_kind))
# what is no type of manifests says nothing about the document, which says itself what it is
case("Content-Type of the manifest: text", comes=True)(partial(_changed, change=len, kind="text/plain"))
case("Content-Type of the manifest: nothing", comes=True)(partial(_changed, change=len, kind=""))
case("Content-Type of the manifest: with parameters and capitals", comes=True)(
    partial(_changed, change=len, kind=MANIFEST.replace("oci", "OCI") + "; charset=utf-8")
)


@case("manifest: names, labels and annotations that steer a terminal", comes=True)
def _(scene: Scene) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\r\n\u202e\u009b31m"
    scene.image.config["config"]["Labels"] = {evil: evil}
    scene.image.config["author"] = evil
    scene.image.config["history"] = [{"created_by": evil, "comment": evil}] * 2
    scene.image.seal()
    scene.image.manifest["annotations"] = {evil: evil}
    scene.serve()


@case("manifest: under its tag another one at each request", comes=True)
def _(scene: Scene) -> None:
    # whichever came first is the one that is taken: the tag is asked for once
    other = json.dumps({**scene.image.manifest, "annotations": {"x": "y"}}).encode()
    first = scene.registry.manifests[NAME, "latest"]
    answers = iter([first[0]])
    scene.fault(
        lambda h: h.answer(200, next(answers, other), {"Content-Type": MANIFEST}), "/manifests/latest"
    )
