"""The images of this data-root as source and as sink of a copy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from pyd.engine.image_pull import Watcher
from pyd.engine.outgoing import outgoing, read_blob
from pyd.engine.transports.checked import Checked
from pyd.errors import CorruptData, InvalidArgument
from pyd.oci.descriptor import Descriptor
from pyd.oci.digest import Digest
from pyd.oci.document import MAX_MANIFEST
from pyd.oci.image_config import ImageConfig
from pyd.oci.manifest import Manifest, parse_manifest
from pyd.oci.reference import Reference
from pyd.registry.served import Served
from pyd.registry.settings import Settings
from pyd.registry.upload import Sent
from pyd.store import origins
from pyd.store.compress import compressed
from pyd.store.fetching import fetching
from pyd.store.images import NewImage
from pyd.store.intake import take_in
from pyd.store.records import BlobRecord
from pyd.store.snapshots import Snapshot

if TYPE_CHECKING:
    from pyd.engine.transports import Source
    from pyd.store import Store


class StoreSource:
    """An image as `push` would send it."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._stack = ExitStack()
        self._out = outgoing(store, store.images.resolve(name))
        # the collector waits until the copy has ended
        self._stack.enter_context(fetching(store))
        self._level = Settings.load().push_compression_level

    def root(self) -> Served:
        main = self._out.main
        made = {
            layer.blob.digest: compressed(self._store, layer.blob, self._level, chain_id=layer.chain_id)
            for layer in main.layers
            if layer.compress
        }
        return self._out.index or main.with_layers(made)

    def manifest(self, entry: Descriptor) -> Served:
        return Served(self._store.content.read(entry.digest, MAX_MANIFEST), entry.media_type, entry.digest)

    def read(self, blob: Descriptor, offset: int) -> Iterator[bytes]:
        return read_blob(self._store, blob, offset)

    def repositories(self, blob: Descriptor, domain: str) -> Sequence[str]:
        try:
            return origins.repositories(self._store.db, blob.digest, domain)
        finally:
            self._store.db.close()  # this thread's connection

    def stop(self) -> None:
        """Reading a file does not wait for anybody."""

    def close(self) -> None:
        self._stack.close()


class StoreSink:
    """What `pull` does, from any source: verified, unpacked, committed at once."""

    workers = 0

    def __init__(self, store: Store, reference: Reference) -> None:
        if reference.digest:
            raise InvalidArgument("refusing to create a tag with a digest reference")
        self._store = store
        self._reference = reference

    def send(self, blob: Descriptor, source: Source, sent: Sent) -> str:
        raise AssertionError("the store reads the blobs itself")

    def put(self, served: Served) -> None:
        raise InvalidArgument(
            "the store takes one platform of an image", "leave out --all, or choose with --platform"
        )

    def finish(self, root: Served, source: Source) -> None:
        store = self._store
        manifest = parse_manifest(root.data, root.media_type)
        if not isinstance(manifest, Manifest):
            raise InvalidArgument(
                "the store takes one platform of an image", "leave out --all, or choose with --platform"
            )
        manifest.check_image()
        if manifest.config.size > MAX_MANIFEST:
            raise CorruptData(f"the image config is larger than {MAX_MANIFEST} bytes")
        data = b"".join(Checked(source, manifest.config)(0))
        config = ImageConfig.parse(data)
        with fetching(store):
            small = (
                BlobRecord(store.content.put(root.data), len(root.data), root.media_type),
                BlobRecord(store.content.put(data), len(data), manifest.config.media_type),
            )

            def make(snapshots: tuple[Snapshot, ...]) -> NewImage:
                layers = (
                    BlobRecord(layer.digest, layer.size, layer.media_type)
                    for layer in manifest.layers
                    if store.content.size(layer.digest) == layer.size
                )
                return NewImage(
                    id=manifest.config.digest,
                    manifest=Digest.of(root.data),
                    config=data,
                    blobs=(*small, *layers),
                    snapshots=snapshots,
                    references=(self._reference.canonical,),
                )

            take_in(store, manifest.layers, config.diff_ids, source, Watcher(), make)

    def stop(self) -> None: ...

    def close(self) -> None: ...
