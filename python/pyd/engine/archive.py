"""`load`: images out of an archive, docker-archive (`docker save`) or OCI layout, one or several.

Nothing of the archive is trusted: it is only read at offsets, every document is bounded, manifests and
configs are checked against their digests, layers against the config's diffIDs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, BinaryIO

from pyd.engine.archive_files import Files, opened
from pyd.engine.image_pull import Watcher, wanted_platform
from pyd.errors import CorruptData, ImageNotFound, InvalidArgument, PydError
from pyd.oci.descriptor import (
    DOCKER_CONFIG,
    INDEXES,
    MANIFESTS,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
)
from pyd.oci.digest import Digest
from pyd.oci.document import Fields
from pyd.oci.image_config import ImageConfig
from pyd.oci.manifest import Index, Manifest, parse_manifest
from pyd.oci.platform import Platform
from pyd.oci.reference import Reference
from pyd.store.fetching import fetching
from pyd.store.images import NewImage
from pyd.store.intake import take_in
from pyd.store.records import BlobRecord
from pyd.store.snapshots import Snapshot

if TYPE_CHECKING:
    from pyd.store import Store

_MAX_IMAGES = 1000


@dataclass(frozen=True, slots=True)
class Loaded:
    id: Digest
    references: tuple[str, ...]  # familiar
    renamed: tuple[tuple[str, str], ...]  # (reference, image id that had it before)


@dataclass(frozen=True, slots=True)
class _Found:
    """An image in the archive. `files`: the member's name for each blob."""

    manifest: Manifest
    documents: tuple[tuple[bytes, str], ...]  # index and manifest, with media types
    config: bytes
    names: tuple[str, ...]
    files: dict[Digest, str]


def load(
    store: Store, source: BinaryIO | str, *, platform: str = "", watcher: Watcher | None = None
) -> list[Loaded]:
    """All images of the archive. Each is there or not there as a whole, in the archive's order."""
    watcher = watcher or Watcher()
    try:
        with opened(store.paths, source) as files:
            images = _found(files, platform)
            return [_take(store, image, files, watcher) for image in images]
    finally:
        watcher.ends()


def _found(files: Files, platform: str) -> list[_Found]:
    if files.has("manifest.json"):
        images = list(_docker(files))
    elif files.has("index.json"):
        images = _merged(_layout(files, platform))
    else:
        raise InvalidArgument(
            "the archive holds no image: it has neither manifest.json nor index.json",
            "a file system as a tar archive becomes an image with `pyd import`",
        )
    if not images:
        raise InvalidArgument("the archive holds no image")
    if platform:
        images = _of_platform(images, Platform.parse(platform))
    return images


def _of_platform(images: Sequence[_Found], wanted: Platform) -> list[_Found]:
    actual = [ImageConfig.parse(image.config) for image in images]
    platforms = [Platform.of(config.os, config.architecture, config.variant) for config in actual]
    chosen = [image for image, one in zip(images, platforms, strict=True) if wanted.rank(one) is not None]
    if not chosen:
        offered = ", ".join(sorted({str(one) for one in platforms}))
        raise ImageNotFound(
            f"requested platform ({wanted}) not found: the archive holds images for {offered}"
        )
    return chosen


def _merged(images: Iterator[_Found]) -> list[_Found]:
    """An index names an image once for each of its tags."""
    found: dict[Digest, _Found] = {}
    for image in images:
        known = found.get(image.manifest.config.digest)
        if known is None:
            found[image.manifest.config.digest] = image
        else:
            names = tuple(dict.fromkeys((*known.names, *image.names)))
            found[image.manifest.config.digest] = replace(known, names=names)
    return list(found.values())


def _take(store: Store, found: _Found, files: Files, watcher: Watcher) -> Loaded:
    config = ImageConfig.parse(found.config)
    manifest = found.manifest
    manifest.check_image()
    names = [Reference.parse(name).with_default_tag().canonical for name in found.names]
    with fetching(store):
        small = [BlobRecord(store.content.put(data), len(data), kind) for data, kind in found.documents]
        small.append(
            BlobRecord(store.content.put(found.config), len(found.config), manifest.config.media_type)
        )

        def make(snapshots: tuple[Snapshot, ...]) -> NewImage:
            layers = (
                BlobRecord(layer.digest, layer.size, layer.media_type)
                for layer in manifest.layers
                if store.content.size(layer.digest) == layer.size
            )
            return NewImage(
                id=manifest.config.digest,
                manifest=Digest.of(found.documents[-1][0]),
                config=found.config,
                blobs=(*small, *layers),
                snapshots=snapshots,
                references=tuple(names),
            )

        moved = take_in(store, manifest.layers, config.diff_ids, _Members(files, found.files), watcher, make)
    return Loaded(
        manifest.config.digest,
        tuple(Reference.parse(name).familiar for name in names),
        tuple((Reference.parse(name).familiar, before) for name, before in moved.items()),
    )


class _Members:
    """The layers as members of the archive."""

    def __init__(self, files: Files, paths: dict[Digest, str]) -> None:
        self._files = files
        self._paths = paths

    def read(self, layer: Descriptor, offset: int) -> Iterator[bytes]:
        return self._files.chunks(self._paths[layer.digest], offset)

    def stop(self) -> None:
        """Reading a file does not wait for anybody."""


def _docker(files: Files) -> Iterator[_Found]:
    """docker-archive: manifest.json is a list of {Config, RepoTags, Layers}."""
    try:
        entries = json.loads(files.small("manifest.json"))
    except (ValueError, RecursionError) as error:
        raise CorruptData(f"manifest.json in the archive is not valid JSON: {error}") from None
    if not isinstance(entries, list) or len(entries) > _MAX_IMAGES:
        raise CorruptData(f"manifest.json in the archive is not a list of at most {_MAX_IMAGES} images")
    hashes: dict[str, Descriptor] = {}
    beside = _beside(files)
    for entry in entries:
        doc = Fields(entry, "manifest.json in the archive")
        config_data = files.small(doc.need_text("Config"))
        config = ImageConfig.parse(config_data)
        paths = doc.texts("Layers")
        if len(paths) != len(config.diff_ids):
            raise CorruptData(
                f"invalid manifest, layers length mismatch: {len(paths)} and {len(config.diff_ids)}"
            )
        original = beside.get(Digest.of(config_data))
        if original is not None and len(original.manifest.layers) == len(paths):
            yield replace(original, names=doc.texts("RepoTags"))
            continue
        layers = [
            _layer(files, path, diff_id, hashes) for path, diff_id in zip(paths, config.diff_ids, strict=True)
        ]
        descriptor = Descriptor(DOCKER_CONFIG, Digest.of(config_data), len(config_data))
        # docker-archive has no manifest of its own: this is the one under which the image is kept and pushed
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": _json(OCI_CONFIG, descriptor.digest, descriptor.size),
            "layers": [_json(layer.media_type, layer.digest, layer.size) for layer in layers],
        }
        data = json.dumps(document, separators=(",", ":")).encode()
        manifest = parse_manifest(data)
        assert isinstance(manifest, Manifest)
        places = {layer.digest: path for layer, path in zip(layers, paths, strict=True)}
        yield _Found(manifest, ((data, OCI_MANIFEST),), config_data, doc.texts("RepoTags"), places)


def _beside(files: Files) -> dict[Digest, _Found]:
    """Images of an OCI layout around the docker-archive (Docker since 25, pyd), by the digests of their
    configs: with their own manifests they keep the digests that a registry knows. Only those that are whole.
    """
    if not (files.has("index.json") and files.has("oci-layout")):
        return {}
    try:
        return {image.manifest.config.digest: image for image in _layout(files, "", partial=True)}
    except PydError:
        return {}  # manifest.json says everything that is needed


def _layer(files: Files, path: str, diff_id: Digest, known: dict[str, Descriptor]) -> Descriptor:
    if path in known:
        return known[path]
    size = files.size(path)
    head = next(files.chunks(path), b"")[:4]
    if head.startswith(b"\x1f\x8b") or head == b"\x28\xb5\x2f\xfd":
        digest = sha256()
        for chunk in files.chunks(path):
            digest.update(chunk)
        suffix = "+gzip" if head.startswith(b"\x1f\x8b") else "+zstd"
        known[path] = Descriptor(OCI_LAYER + suffix, Digest(f"sha256:{digest.hexdigest()}"), size)
    else:
        # stored plain: its digest is the diffID, which is checked when it is read
        known[path] = Descriptor(OCI_LAYER, diff_id, size)
    return known[path]


def _layout(files: Files, platform: str, *, partial: bool = False) -> Iterator[_Found]:
    """OCI image layout: index.json names manifests in blobs/sha256. `partial`: leave out what is not whole,
    and what an index offers for other platforms.
    """
    index = parse_manifest(files.small("index.json"))
    if not isinstance(index, Index) or len(index.manifests) > _MAX_IMAGES:
        raise CorruptData(f"index.json in the archive is not an index of at most {_MAX_IMAGES} images")
    for entry in index.manifests:
        if entry.media_type not in (*INDEXES, *MANIFESTS) and len(index.manifests) > 1:
            continue  # an artifact beside the images
        try:
            found = _image(files, entry, platform)
        except PydError:
            if partial:
                continue
            raise
        yield found


def _image(files: Files, entry: Descriptor, platform: str) -> _Found:
    documents = [(_blob(files, entry), entry.media_type)]
    manifest = parse_manifest(documents[0][0], entry.media_type)
    if isinstance(manifest, Index):
        chosen = manifest.choose(wanted_platform(platform))
        documents.append((_blob(files, chosen), chosen.media_type))
        manifest = parse_manifest(documents[1][0], chosen.media_type)
        if isinstance(manifest, Index):
            raise CorruptData(f"{chosen.digest} in the archive is an index in an index")
    places = {layer.digest: f"blobs/sha256/{layer.digest.hex}" for layer in manifest.layers}
    for layer in manifest.layers:
        if files.size(places[layer.digest]) != layer.size:
            raise CorruptData(f"blob {layer.digest} in the archive has not the size that its manifest says")
    config = _blob(files, manifest.config)
    return _Found(manifest, tuple(documents), config, _names(entry), places)


def _blob(files: Files, descriptor: Descriptor) -> bytes:
    data = files.small(f"blobs/sha256/{descriptor.digest.hex}")
    if Digest.of(data) != descriptor.digest:
        raise CorruptData(f"blob {descriptor.digest} in the archive does not match its digest")
    return data


def _names(entry: Descriptor) -> tuple[str, ...]:
    """The annotation of containerd and Docker is a whole name; the OCI's own is often a tag alone, which
    names nothing.
    """
    annotations: dict[str, str] = dict(entry.annotations)
    name = annotations.get("io.containerd.image.name") or annotations.get(
        "org.opencontainers.image.ref.name", ""
    )
    return (name,) if ":" in name or "/" in name else ()


def _json(media_type: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def message(loaded: Sequence[Loaded]) -> list[str]:
    """Docker's lines."""
    lines: list[str] = []
    for image in loaded:
        for reference, before in image.renamed:
            lines.append(
                f"The image {reference} already exists, renaming the old one with ID {before} to empty string"
            )
        lines += [f"Loaded image: {reference}" for reference in image.references]
        if not image.references:
            lines.append(f"Loaded image ID: {image.id}")
    return lines
