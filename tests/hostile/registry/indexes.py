"""Indexes: platforms that are none, cycles, entries that do not fit what they point at."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.fakes.registry import INDEX, MANIFEST, digest_of
from tests.hostile.registry.case import NAME, Scene, case

HERE = {"os": "linux", "architecture": "amd64"}


def _entry(scene: Scene) -> dict[str, Any]:
    data = scene.image.manifest_bytes
    return {"mediaType": MANIFEST, "digest": digest_of(data), "size": len(data), "platform": dict(HERE)}


def _index(scene: Scene, change: Callable[[dict[str, Any], dict[str, Any]], object]) -> None:
    entry = _entry(scene)
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
    change(index, entry)
    scene.arguments = ("--platform", "linux/amd64")
    scene.serve_manifest(json.dumps(index).encode(), INDEX)


def _many(index: dict[str, Any], entry: dict[str, Any]) -> None:
    other = {**entry, "platform": {"os": "o", "architecture": "a"}}
    index["manifests"] = [other] * 20_000


NONE = "no matching manifest"
for _name, _change, _says in (
    ("empty", lambda i, e: i.update(manifests=[]), NONE),
    ("manifests is an object", lambda i, e: i.update(manifests={}), "manifests is not a list"),
    ("manifests has null", lambda i, e: i.update(manifests=[None]), "not a JSON object"),
    ("manifests is missing", lambda i, e: i.pop("manifests"), "does not fit|config is missing"),
    ("layers too", lambda i, e: i.update(layers=[]), "at the same time"),
    ("config too", lambda i, e: i.update(config={"digest": "x"}), "at the same time"),
    ("only other platforms", lambda i, e: e.update(platform={"os": "plan9", "architecture": "mips"}), NONE),
    (
        "a platform with escapes",
        lambda i, e: e.update(platform={"os": "\x1b[2J\n", "architecture": "\r"}),
        NONE,
    ),
    ("a platform is a string", lambda i, e: e.update(platform="linux/amd64"), "platform is not an object"),
    ("an architecture is a list", lambda i, e: e["platform"].update(architecture=[]), "not a string"),
    ("a platform in two cases", lambda i, e: e["platform"].update(OS="windows"), "differ only in case"),
    ("an entry of another size", lambda i, e: e.update(size=5), "the index says 5"),
    ("an entry of negative size", lambda i, e: e.update(size=-5), "size is missing or absurd"),
    ("an entry of another type", lambda i, e: e.update(mediaType="text/html"), NONE),
    ("a nested index only", lambda i, e: e.update(mediaType=INDEX), NONE),
    ("an entry that is not there", lambda i, e: e.update(digest=digest_of(b"?")), "not found"),
    ("20 thousand entries for others", _many, NONE),
    (
        "platforms of a megabyte",
        lambda i, e: e.update(platform={"os": "x" * 1_000_000, "architecture": "y"}),
        NONE,
    ),
):
    case(f"index: {_name}", _says)(partial(_index, change=_change))


@case("index: an entry is an index again", "is an index again|differs")
def _(scene: Scene) -> None:
    inner = json.dumps({"schemaVersion": 2, "manifests": [_entry(scene)]}).encode()
    digest = scene.registry.add_manifest(NAME, inner, "", INDEX)
    entry = {**_entry(scene), "digest": digest, "size": len(inner)}
    scene.arguments = ("--platform", "linux/amd64")
    scene.serve_manifest(json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode(), INDEX)


@case("index: the entry is served as another manifest", "serves another manifest")
def _(scene: Scene) -> None:
    entry = _entry(scene)
    _index(scene, lambda i, e: None)
    scene.registry.manifests[NAME, entry["digest"]] = (b"{}", MANIFEST)


@case("index: two entries suit, the second is a trap", comes=True)
def _(scene: Scene) -> None:
    _index(scene, lambda i, e: i["manifests"].append({**e, "digest": digest_of(b"trap")}))


@case("index: unknown entries beside the right one", comes=True)
def _(scene: Scene) -> None:
    odd = {"platform": {"os": "unknown", "architecture": "unknown"}}
    _index(scene, lambda i, e: i["manifests"].insert(0, {**e, **odd, "digest": digest_of(b"attestation")}))


@case("index: an entry with urls and data", comes=True)
def _(scene: Scene) -> None:
    _index(scene, lambda i, e: e.update(urls=["http://169.254.169.254/"], data="aGVsbG8="))
