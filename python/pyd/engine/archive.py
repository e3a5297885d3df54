"""`load`: images out of an archive, docker-archive (`docker save`) or OCI layout, one or several.

Nothing of the archive is trusted: it is only read at offsets, every document is bounded, manifests and
configs are checked against their digests, layers against the config's diffIDs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, BinaryIO

from pyd.engine.image_pull import Watcher, wanted_platform
from pyd.errors import CorruptData, InvalidArgument
from pyd.oci.descriptor import DOCKER_CONFIG, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Descriptor
from pyd.oci.digest import Digest
from pyd.oci.document import MAX_MANIFEST, Fields
from pyd.oci.image_config import ImageConfig
from pyd.oci.manifest import Index, Manifest, parse_manifest
from pyd.oci.reference import Reference
from pyd.store.images import NewImage
from pyd.store.intake import fetching, take_in
from pyd.store.records import BlobRecord
from pyd.store.snapshots import Snapshot
from pyd.store.spool import CHUNK, is_plain, spooled
from pyd.store.tar_index import TarIndex

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
    store: Store, stream: BinaryIO, *, platform: str = "", watcher: Watcher | None = None
) -> list[Loaded]:
    """All images of the archive. Each is there or not there as a whole, in the archive's order."""
    watcher = watcher or Watcher()
    head = stream.peek(6)[:6] if hasattr(stream, "peek") else b"\x1f\x8b"
    try:
        if stream.seekable() and is_plain(head):
            return _load(store, stream, platform, watcher)
        with spooled(store.paths, iter(lambda: stream.read(CHUNK), b"")) as (file, _):
            return _load(store, file, platform, watcher)
    finally:
        watcher.ends()


def _load(store: Store, file: BinaryIO, platform: str, watcher: Watcher) -> list[Loaded]:
    archive = TarIndex(file)
    if archive.find("manifest.json"):
        images = list(_docker(archive, file))
    elif archive.find("index.json"):
        images = list(_layout(archive, platform))
    else:
        raise InvalidArgument(
            "the archive holds no image: it has neither manifest.json nor index.json",
            "a file system as a tar archive becomes an image with `pyd import`",
        )
    if not images:
        raise InvalidArgument("the archive holds no image")
    return [_take(store, image, archive, file, watcher) for image in images]


def _take(store: Store, found: _Found, archive: TarIndex, file: BinaryIO, watcher: Watcher) -> Loaded:
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

        source = _Members(archive, file, found.files)
        moved = take_in(store, manifest.layers, config.diff_ids, source, watcher, make)
    return Loaded(
        manifest.config.digest,
        tuple(Reference.parse(name).familiar for name in names),
        tuple((Reference.parse(name).familiar, before) for name, before in moved.items()),
    )


class _Members:
    """The layers as members of the archive."""

    def __init__(self, archive: TarIndex, file: BinaryIO, files: dict[Digest, str]) -> None:
        self._archive = archive
        self._fd = file.fileno()
        self._files = files

    def read(self, layer: Descriptor, offset: int) -> Iterator[bytes]:
        member = self._archive.need(self._files[layer.digest])
        position, end = member.offset + offset, member.offset + member.size
        while position < end:
            # pread: several threads read one file
            chunk = os.pread(self._fd, min(CHUNK, end - position), position)
            if not chunk:
                raise CorruptData("the archive is truncated")
            position += len(chunk)
            yield chunk

    def stop(self) -> None:
        """Reading a file does not wait for anybody."""


def _docker(archive: TarIndex, file: BinaryIO) -> Iterator[_Found]:
    """docker-archive: manifest.json is a list of {Config, RepoTags, Layers}."""
    try:
        entries = json.loads(archive.read("manifest.json", MAX_MANIFEST))
    except (ValueError, RecursionError) as error:
        raise CorruptData(f"manifest.json in the archive is not valid JSON: {error}") from None
    if not isinstance(entries, list) or len(entries) > _MAX_IMAGES:
        raise CorruptData(f"manifest.json in the archive is not a list of at most {_MAX_IMAGES} images")
    hashes: dict[str, Descriptor] = {}
    for entry in entries:
        doc = Fields(entry, "manifest.json in the archive")
        config_data = archive.read(doc.need_text("Config"), MAX_MANIFEST)
        config = ImageConfig.parse(config_data)
        paths = doc.texts("Layers")
        if len(paths) != len(config.diff_ids):
            raise CorruptData(
                f"invalid manifest, layers length mismatch: {len(paths)} and {len(config.diff_ids)}"
            )
        layers = [
            _layer(archive, file, path, diff_id, hashes)
            for path, diff_id in zip(paths, config.diff_ids, strict=True)
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
        files = {layer.digest: path for layer, path in zip(layers, paths, strict=True)}
        yield _Found(manifest, ((data, OCI_MANIFEST),), config_data, doc.texts("RepoTags"), files)


def _layer(
    archive: TarIndex, file: BinaryIO, path: str, diff_id: Digest, known: dict[str, Descriptor]
) -> Descriptor:
    if path in known:
        return known[path]
    member = archive.need(path)
    file.seek(member.offset)
    head = file.read(4)
    if head.startswith(b"\x1f\x8b") or head == b"\x28\xb5\x2f\xfd":
        digest = sha256()
        file.seek(member.offset)
        left = member.size
        while left:
            chunk = file.read(min(CHUNK, left))
            if not chunk:
                raise CorruptData("the archive is truncated")
            digest.update(chunk)
            left -= len(chunk)
        suffix = "+gzip" if head.startswith(b"\x1f\x8b") else "+zstd"
        known[path] = Descriptor(OCI_LAYER + suffix, Digest(f"sha256:{digest.hexdigest()}"), member.size)
    else:
        # stored plain: its digest is the diffID, which is checked when it is read
        known[path] = Descriptor(OCI_LAYER, diff_id, member.size)
    return known[path]


def _layout(archive: TarIndex, platform: str) -> Iterator[_Found]:
    """OCI image layout: index.json names manifests in blobs/sha256."""
    index = parse_manifest(archive.read("index.json", MAX_MANIFEST))
    if not isinstance(index, Index) or len(index.manifests) > _MAX_IMAGES:
        raise CorruptData(f"index.json in the archive is not an index of at most {_MAX_IMAGES} images")
    for entry in index.manifests:
        documents = [(_blob(archive, entry), entry.media_type)]
        manifest = parse_manifest(documents[0][0], entry.media_type)
        if isinstance(manifest, Index):
            chosen = manifest.choose(wanted_platform(platform))
            documents.append((_blob(archive, chosen), chosen.media_type))
            manifest = parse_manifest(documents[1][0], chosen.media_type)
            if isinstance(manifest, Index):
                raise CorruptData(f"{chosen.digest} in the archive is an index in an index")
        files = {layer.digest: f"blobs/sha256/{layer.digest.hex}" for layer in manifest.layers}
        for layer in manifest.layers:
            if archive.need(files[layer.digest]).size != layer.size:
                raise CorruptData(
                    f"blob {layer.digest} in the archive has not the size that its manifest says"
                )
        config = _blob(archive, manifest.config)
        yield _Found(manifest, tuple(documents), config, _names(entry), files)


def _blob(archive: TarIndex, descriptor: Descriptor) -> bytes:
    data = archive.read(f"blobs/sha256/{descriptor.digest.hex}", MAX_MANIFEST)
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
