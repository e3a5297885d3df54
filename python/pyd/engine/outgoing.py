"""What of an image leaves this store: its manifest, the index over it when all of that is here, its blobs.

An image that came from a registry leaves as it came, bit for bit. One that was loaded, imported or committed
with plain layers leaves with compressed ones, so it gets another manifest; its ID, the digest of its config,
stays what it is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence

from pyd.engine.image_pull import check_platform
from pyd.engine.out_layer import OutLayer
from pyd.errors import CorruptData
from pyd.oci.descriptor import INDEXES, MANIFESTS, Descriptor
from pyd.oci.digest import Digest
from pyd.oci.document import MAX_MANIFEST, parse
from pyd.oci.manifest import Index, Manifest, parse_manifest
from pyd.oci.platform import Platform
from pyd.oci.reference import Reference
from pyd.record import Record
from pyd.registry.served import Served
from pyd.store.compress import PLAIN
from pyd.store.pack import gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyd.store import Store
    from pyd.store.images import Image

CHUNK = 1 << 20


class OutManifest(Record):
    served: Served
    manifest: Manifest
    layers: tuple[OutLayer, ...]  # bottom first

    def with_layers(self, sent: Mapping[Digest, Descriptor]) -> Served:
        """The manifest that names what was sent for each stored layer, where that is another blob."""
        if all(sent.get(layer.blob.digest, layer.blob).digest == layer.blob.digest for layer in self.layers):
            return self.served
        document = parse(self.served.data, "manifest")
        for entry, layer in zip(document["layers"], self.layers, strict=True):
            blob = sent.get(layer.blob.digest, layer.blob)
            entry.update(mediaType=blob.media_type, digest=blob.digest, size=blob.size)
        data = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
        return Served(data, self.served.media_type, Digest.of(data))


class Outgoing(Record):
    image: Image
    main: OutManifest
    others: tuple[OutManifest, ...] = ()  # the rest of `index`
    index: Served | None = None
    stripped: Digest | None = None  # the index that stays here because not all of it is


def outgoing(store: Store, image: Image, platform: str = "", name: Reference | None = None) -> Outgoing:
    """`platform`: only the manifest of this one, and the image must be it. `name`: what it is called."""
    if platform:
        actual = Platform.of(image.config.os, image.config.architecture, image.config.variant)
        shown = image.references[0] if image.references else image.id
        check_platform(shown, actual, Platform.parse(platform), True)
    kinds = {blob.digest: blob.media_type for blob in store.images.blobs(image.id)}
    own = _manifest_of(image, kinds, name)
    served = Served(store.content.read(own, MAX_MANIFEST), kinds.get(own, ""), own)
    indexes = [
        (Served(data, kind, Digest(digest)), index)
        for digest, kind in kinds.items()
        if kind in INDEXES
        for data, index in _index(store, digest, kind)
        if any(entry.digest == own for entry in index.manifests)
    ]
    known = {Reference.parse(name).digest for name in image.digests}
    came = own in known or any(one.digest in known for one, _ in indexes)
    main = _out(served, image, may_compress=not came)
    if not indexes or platform:
        return Outgoing(image, main)
    one, index = indexes[-1]
    if any(layer.compress for layer in main.layers):
        return Outgoing(image, main, stripped=one.digest)
    others = _others(store, index, own)
    if others is None:
        return Outgoing(image, main, stripped=one.digest)
    return Outgoing(image, main, others, one)


def _manifest_of(image: Image, kinds: Mapping[str, str], name: Reference | None) -> Digest:
    """The manifest under which the repository of `name` has the image. One config may have several manifests,
    and the image keeps the last that came; so this one may be of another repository.
    """
    if name is not None:
        digests = {
            reference.digest
            for reference in map(Reference.parse, image.digests)
            if reference.repository == name.repository and kinds.get(reference.digest or "") in MANIFESTS
        }
        if len(digests) == 1:
            return digests.pop() or image.manifest
    return image.manifest


def read_blob(store: Store, blob: Descriptor, offset: int) -> Iterator[bytes]:
    """The bytes of a stored blob from `offset` on."""
    try:
        fd = os.open(store.content.path(blob.digest), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise gone(blob) from None
    try:
        while chunk := os.pread(fd, CHUNK, offset):
            offset += len(chunk)
            yield chunk
    finally:
        os.close(fd)


def _index(store: Store, digest: str, kind: str) -> Iterator[tuple[bytes, Index]]:
    data = store.content.read(digest, MAX_MANIFEST)
    document = parse_manifest(data, kind)
    if isinstance(document, Index):
        yield data, document


def _others(store: Store, index: Index, main: Digest) -> tuple[OutManifest, ...] | None:
    """The other manifests of the index if they and their blobs are all here."""
    found = []
    for entry in index.manifests:
        if entry.digest == main:
            continue
        if store.content.size(entry.digest) != entry.size or entry.size > MAX_MANIFEST:
            return None
        out = _out(
            Served(store.content.read(entry.digest, MAX_MANIFEST), entry.media_type, entry.digest),
            None,
            may_compress=False,
        )
        if any(store.content.size(blob.digest) != blob.size for blob in out.manifest.blobs):
            return None
        found.append(out)
    return tuple(found)


def _out(served: Served, image: Image | None, *, may_compress: bool) -> OutManifest:
    manifest = parse_manifest(served.data, served.media_type)
    if not isinstance(manifest, Manifest):
        raise CorruptData(f"{served.digest} in the store is no manifest")
    nothing: tuple[None, ...] = (None,) * len(manifest.layers)
    diff_ids: Sequence[Digest | None] = image.config.diff_ids if image else nothing
    chain: Sequence[Digest | None] = image.layers[::-1] if image else nothing
    if not len(diff_ids) == len(chain) == len(manifest.layers):
        raise CorruptData(f"the manifest has {len(manifest.layers)} layers, the image config {len(diff_ids)}")
    layers = tuple(
        OutLayer(blob, diff_id, chain_id, may_compress and blob.media_type in PLAIN)
        for blob, diff_id, chain_id in zip(manifest.layers, diff_ids, chain, strict=True)
    )
    return OutManifest(served, manifest, layers)
