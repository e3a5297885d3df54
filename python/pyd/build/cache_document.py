"""A cache of builds as an OCI artifact: which step gave which layer.

The manifest's layers are the layers of the steps, and after them the directories of cache mounts. Its config
says which key (build/keys.py) has which of them:

    {"version": 1,
     "layers": [{"diff_id": …, "plain_size": …}, …]      in the order of the manifest
     "steps":  [{"key": …, "layer": 0, "value": {}}, …]  no layer: the step changes no file
     "mounts": [{"name": …, "layer": 7}, …]}

Keys are digests: what a step was made of (commands, environments, names of files) is not in it, and whoever
has the same Dockerfile and the same files computes the same key. An image with an inline cache has the same
under a key of its image config, for its own layers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pyd.errors import CorruptData, NotSupported
from pyd.oci.descriptor import OCI_CONFIG, OCI_MANIFEST, Descriptor
from pyd.oci.digest import Digest
from pyd.oci.document import MAX_MANIFEST, Fields, parse
from pyd.oci.manifest import Manifest
from pyd.record import Record

CONFIG = "application/vnd.pyd.buildcache.config.v1+json"
INLINE = "dev.pyd.buildcache.v1"
VERSION = 1
MAX_CONFIG = 32 << 20  # bytes
_MAX_LAYERS = 10_000
_MAX_STEPS = 100_000
_MAX_MOUNTS = 1_000
_MAX_VALUE = 1 << 16  # bytes of JSON
_KEY = re.compile("sha256:[0-9a-f]{64}", re.ASCII)
_NAME = re.compile(r"[0-9a-f]{32}(-[0-9]{1,3})?", re.ASCII)


class CachedLayer(Record):
    """plain_size: bytes of the tar. blob: where it is; None in a document that is being written."""

    diff_id: Digest
    plain_size: int
    blob: Descriptor | None = None


class CachedStep(Record):
    key: str
    layer: int | None  # number of it
    value: Mapping[str, Any]


class CachedMount(Record):
    name: str  # of the directory (build/cache_mounts.py)
    layer: int


class CacheDocument(Record):
    layers: tuple[CachedLayer, ...]
    steps: tuple[CachedStep, ...]
    mounts: tuple[CachedMount, ...] = ()

    def config(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "layers": [{"diff_id": one.diff_id, "plain_size": one.plain_size} for one in self.layers],
            "steps": [
                {
                    "key": one.key,
                    **({"layer": one.layer} if one.layer is not None else {}),
                    **({"value": dict(one.value)} if one.value else {}),
                }
                for one in self.steps
            ],
            **(
                {"mounts": [{"name": one.name, "layer": one.layer} for one in self.mounts]}
                if self.mounts
                else {}
            ),
        }


def encode(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def manifest_of(config: bytes, blobs: Iterable[Descriptor]) -> bytes:
    """The manifest of a cache."""
    return encode(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": CONFIG,
            "config": {"mediaType": CONFIG, "digest": Digest.of(config), "size": len(config)},
            "layers": [
                {"mediaType": one.media_type, "digest": one.digest, "size": one.size} for one in blobs
            ],
        }
    )


def parse_manifest(data: bytes) -> Manifest:
    """A cache may have more layers than an image. Raises CorruptData."""
    document = parse(data, "build cache", MAX_MANIFEST)
    doc = Fields(document, "build cache")
    if doc.number("schemaVersion") != 2 or "config" not in doc or "manifests" in doc:
        raise CorruptData("build cache: not a manifest")
    layers = doc.items("layers")
    if len(layers) > _MAX_LAYERS:
        raise CorruptData(f"build cache: {len(layers)} layers, at most {_MAX_LAYERS} are taken")
    config = Descriptor.of(document["config"], "build cache: config")
    if config.media_type not in (CONFIG, OCI_CONFIG) and not config.media_type.startswith(
        "application/vnd.docker.container.image"
    ):
        raise NotSupported(
            f"this is no cache of pyd's builds, nor an image: its config is {config.media_type!r}",
            "caches of BuildKit (moby.buildkit.cacheconfig) cannot be read: their keys are others",
        )
    return Manifest(
        doc.text("mediaType") or OCI_MANIFEST,
        config,
        tuple(Descriptor.of(item, "build cache: layer") for item in layers),
    )


def parse_config(data: bytes, manifest: Manifest) -> CacheDocument:
    """The document of a cache, or the inline one of an image. An image without has no steps."""
    if manifest.config.media_type == CONFIG:
        return _document(parse(data, "build cache", MAX_CONFIG), manifest.layers)
    inner = Fields(parse(data, "image config"), "image config")
    if INLINE not in inner:
        return CacheDocument((), ())
    # the layers are the image's own: their digests are said once
    rootfs = inner.fields("rootfs").texts("diff_ids")
    document = parse(data, "image config")[INLINE]
    found = _document(document, manifest.layers)
    if [layer.diff_id for layer in found.layers] != list(rootfs):
        raise CorruptData("build cache: its layers are not those of the image")
    return found


def _document(document: Any, blobs: Sequence[Descriptor]) -> CacheDocument:
    doc = Fields(document, "build cache")
    if doc.number("version") != VERSION:
        raise NotSupported(
            f"the build cache is of version {doc.number('version')}, known is {VERSION}",
            "export it again, or use that version of pyd",
        )
    layers = _items(doc, "layers", _MAX_LAYERS)
    if len(layers) != len(blobs):
        raise CorruptData(f"build cache: {len(layers)} layers, the manifest has {len(blobs)}")
    known = tuple(_layer(item, blob) for item, blob in zip(layers, blobs, strict=True))
    return CacheDocument(
        known,
        tuple(_step(item, len(known)) for item in _items(doc, "steps", _MAX_STEPS)),
        tuple(_mount(item, len(known)) for item in _items(doc, "mounts", _MAX_MOUNTS)),
    )


def _items(doc: Fields, key: str, most: int) -> list[Any]:
    items = doc.items(key)
    if len(items) > most:
        raise CorruptData(f"build cache: {len(items)} {key}, at most {most} are taken")
    return items


def _layer(item: Any, blob: Descriptor) -> CachedLayer:
    doc = Fields(item, "build cache: layer")
    blob.check_layer()
    size = doc.number("plain_size", -1)
    if not 0 <= size < 1 << 50:
        raise CorruptData("build cache: the size of a layer is missing or absurd")
    return CachedLayer(Digest.parse(doc.need_text("diff_id")), size, blob)


def _step(item: Any, layers: int) -> CachedStep:
    doc = Fields(item, "build cache: step")
    key = doc.need_text("key")
    if not _KEY.fullmatch(key):
        raise CorruptData("build cache: the key of a step is no digest")
    value = dict(item.get("value") or {}) if isinstance(item.get("value") or {}, dict) else None
    if value is None or len(json.dumps(value)) > _MAX_VALUE:
        raise CorruptData("build cache: the value of a step is no small object")
    return CachedStep(key, _number(doc, layers) if "layer" in doc else None, value)


def _mount(item: Any, layers: int) -> CachedMount:
    doc = Fields(item, "build cache: mount")
    name = doc.need_text("name")
    if not _NAME.fullmatch(name):
        raise CorruptData("build cache: the name of a cache mount is none of pyd's")
    return CachedMount(name, _number(doc, layers))


def _number(doc: Fields, layers: int) -> int:
    number = doc.number("layer", -1)
    if not 0 <= number < layers:
        raise CorruptData("build cache: a layer that is not in the manifest is named")
    return number
