"""`save`: images become one archive that Docker, Podman and containerd can load.

It is what Docker writes since 25: an OCI image layout (index.json, blobs) with docker-archive's manifest.json
over the same blobs. Every blob is in it once, hashed on its way, and the same images give the same bytes.

Layers leave as they are stored. Docker before 23 reads no zstd: for `docker` such layers are written plain,
under a manifest that says so.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, BinaryIO

from pyd.engine.image_pull import Watcher, check_platform
from pyd.engine.refetch import refetch
from pyd.engine.transports.layout import LAYOUT_FILE, blob_path, encode, index_entry
from pyd.errors import CorruptData, ImageNotFound, InvalidArgument
from pyd.oci.descriptor import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Descriptor, as_oci_layer
from pyd.oci.digest import Digest
from pyd.oci.document import MAX_MANIFEST
from pyd.oci.manifest import Manifest, parse_manifest
from pyd.oci.platform import Platform
from pyd.oci.reference import Reference
from pyd.registry.served import Served
from pyd.registry.upload import Sent
from pyd.store.fetching import fetching
from pyd.store.pack import plain_layer

if TYPE_CHECKING:
    from pyd.store import Store
    from pyd.store.images import Image

FORMATS = ("docker", "oci")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class _Layer:
    blob: Descriptor  # as the image's manifest has it
    diff_id: Digest
    chain_id: Digest
    plain: bool  # written as the tar that it holds


def save(
    store: Store,
    names: Sequence[str],
    out: BinaryIO,
    *,
    format: str = "docker",
    platform: str = "",
    watcher: Watcher | None = None,
) -> None:
    """Write images to `out`. A name without a tag stands for all tags of its repository, an id for no tag.

    A layer whose blob was dropped comes again from its registry, or from its files where that gives the same
    bytes. Raises ImageNotFound, also when neither does.
    """
    if format not in FORMATS:
        raise InvalidArgument(f"unknown format {format!r}", f"known are {' and '.join(FORMATS)}")
    watcher = watcher or Watcher()
    try:
        # the collector waits: nothing that is being read may go
        with fetching(store):
            wanted = _resolve(store, names)
            if platform:
                for image, _ in wanted:
                    _check(image, platform)
            _Writer(store, out, format == "docker", watcher).all(wanted)
    finally:
        watcher.ends()


def check(store: Store, name: str) -> Digest:
    """ID of the (first) image that `save` would take for this name. Raises ImageNotFound."""
    return next(_meant(store, name))[0]


def _check(image: Image, platform: str) -> None:
    actual = Platform.of(image.config.os, image.config.architecture, image.config.variant)
    name = image.references[0] if image.references else image.id
    check_platform(name, actual, Platform.parse(platform), True)


def _resolve(store: Store, names: Sequence[str]) -> list[tuple[Image, list[str]]]:
    """Each image once, with the tags (canonical) under which it was asked for."""
    found: dict[Digest, list[str]] = {}
    for name in names:
        for image_id, tag in _meant(store, name):
            tags = found.setdefault(image_id, [])
            if tag and tag not in tags:
                tags.append(tag)
    return [(store.images.resolve(image_id), tags) for image_id, tags in found.items()]


def _meant(store: Store, name: str) -> Iterator[tuple[Digest, str]]:
    try:
        reference = Reference.parse(name)
    except InvalidArgument:
        reference = None
    if reference is not None and reference.is_name_only:
        prefix = f"{reference.repository}:"
        tags = sorted(
            (tag, image.id)
            for image in store.images.list()
            for tag in image.references
            if tag.startswith(prefix)
        )
        if tags:
            yield from ((image_id, tag) for tag, image_id in tags)
            return
    image_id = store.images.resolve_id(name)
    tag = reference.canonical if reference and reference.tag and not reference.digest else ""
    if tag and store.images.find(Reference.parse(tag)) != image_id:
        tag = ""  # it was the beginning of an id
    yield image_id, tag


class _Writer:
    def __init__(self, store: Store, out: BinaryIO, docker: bool, watcher: Watcher) -> None:
        self._store = store
        self._out = out
        self._docker = docker
        self._watcher = watcher
        self._written: set[str] = set()

    def all(self, images: Sequence[tuple[Image, list[str]]]) -> None:
        entries: list[dict[str, Any]] = []
        listed: list[dict[str, Any]] = []
        for image, tags in images:
            served, layers = self._image(image)
            # Docker writes an entry for each tag
            listed += [index_entry(served, tag) for tag in tags or [""]]
            entries.append(
                {
                    "Config": blob_path(image.id),
                    "RepoTags": [Reference.parse(tag).familiar for tag in tags] or None,
                    "Layers": [blob_path(layer.digest) for layer in layers],
                }
            )
        if self._docker:
            self._small("manifest.json", encode_list(entries))
        self._small("index.json", encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed}))
        self._small("oci-layout", LAYOUT_FILE)
        self._out.write(bytes(2 * tarfile.BLOCKSIZE))
        self._out.flush()

    def _image(self, image: Image) -> tuple[Served, list[Descriptor]]:
        """The manifest as written, and the blobs of its layers."""
        store = self._store
        data = store.content.read(image.manifest, MAX_MANIFEST)
        manifest = parse_manifest(data)
        if not isinstance(manifest, Manifest) or len(manifest.layers) != len(image.config.diff_ids):
            raise CorruptData(f"manifest {image.manifest} in the store is not that of image {image.id}")
        for blob in manifest.layers:
            if store.content.size(blob.digest) != blob.size:
                refetch(store, image, blob)
        layers = [
            _Layer(blob, diff_id, chain_id, self._is_plain(blob))
            for blob, diff_id, chain_id in zip(
                manifest.layers, image.config.diff_ids, reversed(image.layers), strict=True
            )
        ]
        for layer in layers:
            self._watcher.waits(layer.blob)
        written = [self._layer(layer) for layer in layers]
        config = store.content.read(image.id, MAX_MANIFEST)
        self._blob_once(image.id, config)
        if not any(layer.plain for layer in layers):
            served = Served(data, manifest.media_type, image.manifest)
            self._blob_once(image.manifest, data)
            return served, written
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": _json(Descriptor(OCI_CONFIG, image.id, len(config))),
            "layers": [_json(layer) for layer in written],
        }
        data = encode(document)
        self._blob_once(Digest.of(data), data)
        return Served(data, OCI_MANIFEST, Digest.of(data)), written

    def _is_plain(self, blob: Descriptor) -> bool:
        if self._store.content.size(blob.digest) != blob.size:
            return True  # made again from its files, if they give the same bytes
        return self._docker and blob.media_type.endswith("zstd")

    def _layer(self, layer: _Layer) -> Descriptor:
        blob = layer.blob
        if not layer.plain:
            if blob.digest in self._written:
                self._watcher.exists(blob)
            else:
                self._written.add(blob.digest)
                with self._stored(blob) as fd:
                    self._copy(blob, blob.digest, fd, blob.size)
            return as_oci_layer(blob)
        with plain_layer(self._store, blob, layer.diff_id, layer.chain_id) as (fd, size):
            if layer.diff_id in self._written:
                self._watcher.exists(blob)
            else:
                self._written.add(layer.diff_id)
                self._copy(blob, layer.diff_id, fd, size)
        return Descriptor(OCI_LAYER, layer.diff_id, size)

    @contextmanager
    def _stored(self, blob: Descriptor) -> Iterator[int]:
        try:
            fd = os.open(self._store.content.path(blob.digest), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise ImageNotFound(f"blob {blob.digest} was removed meanwhile") from None
        try:
            yield fd
        finally:
            os.close(fd)

    def _copy(self, shown: Descriptor, digest: Digest, fd: int, size: int) -> None:
        """A blob becomes a member, hashed on its way: who saves to keep is to know that it is whole."""
        sent = Sent(size)
        self._watcher.fetches(shown, sent)
        hashed = sha256()
        self._header(blob_path(digest), size)
        offset = 0
        while chunk := os.pread(fd, _CHUNK, offset):
            offset += len(chunk)
            hashed.update(chunk)
            self._out.write(chunk)
            sent.done = offset
        if offset != size or f"sha256:{hashed.hexdigest()}" != digest:
            raise CorruptData(
                f"blob {digest} does not match its name any more", "remove the image and pull it again"
            )
        self._out.write(bytes(-size % tarfile.BLOCKSIZE))
        self._watcher.fetched(shown)
        self._watcher.unpacked(shown)

    def _blob_once(self, digest: Digest, data: bytes) -> None:
        if digest not in self._written:
            self._written.add(digest)
            self._small(blob_path(digest), data)

    def _small(self, name: str, data: bytes) -> None:
        self._header(name, len(data))
        self._out.write(data + bytes(-len(data) % tarfile.BLOCKSIZE))

    def _header(self, name: str, size: int) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = size, 0o644  # no owner, no time: the same image gives the same bytes
        self._out.write(entry.tobuf(tarfile.GNU_FORMAT))


def encode_list(entries: list[dict[str, Any]]) -> bytes:
    import json

    return json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()


def _json(blob: Descriptor) -> dict[str, Any]:
    return {"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size}
