"""The result of a build becomes an image of the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pyd.build.annotations import NONE, Annotations
from pyd.build.result import Built
from pyd.engine.build_image import Form, Ready, ReadyImage, Tell, preferred, prepare, silent
from pyd.errors import ImageNotFound
from pyd.oci.descriptor import INDEXES
from pyd.oci.digest import Digest
from pyd.oci.platform import Platform
from pyd.store.fetching import fetching
from pyd.store.images import NewImage
from pyd.store.records import BlobRecord, now
from pyd.store.snapshots import Snapshot, sync

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyd.build.attestations import Predicate
    from pyd.store import Store

# (image, digest of its root, media types of indexes): other indexes of the image. One that a registry has
# stays, under its digest
_STALE = (
    f"image = ? AND digest != ? AND media_type IN ({', '.join('?' * len(INDEXES))}) "  # noqa: S608 marks only
    "AND NOT EXISTS (SELECT 1 FROM image_references r WHERE r.image = image_blobs.image "
    "AND substr(r.name, -71) = image_blobs.digest)"
)


def store_image(
    store: Store,
    builts: Sequence[Built],
    references: Sequence[str] = (),
    *,
    form: Form | None = None,
    annotations: Annotations = NONE,
    predicates: Mapping[Platform, Sequence[Predicate]] | None = None,
    tell: Tell = silent,
) -> Digest:
    """The id of the image, to which the canonical `references` point from now on. What was called so before
    loses the name.

    Several platforms, or predicates, are kept with the index that a push sends: its layers are compressed
    now, since the digests in an index are those of what is sent. The image is then that of this host's
    platform, or the first. `form`: None is as little work as possible.
    """
    predicates = predicates or {}
    indexed = len(builts) > 1 or any(predicates.values())
    with fetching(store):
        ready = prepare(
            store,
            builts,
            form or Form("gzip" if indexed else "uncompressed"),
            names=references,
            annotations=annotations,
            predicates=predicates,
            tell=tell,
        )
        return add(store, ready, references)


def add(store: Store, ready: Ready, references: Sequence[str]) -> Digest:
    """Commit what was prepared, at once; durable when it returns. The caller holds `intake.fetching`."""
    image = main(ready)
    sync(store)
    blobs = [
        *(BlobRecord(store.content.put(data), len(data), kind) for kind, data in ready.documents.values()),
        *(
            BlobRecord(layer.blob.digest, layer.blob.size, layer.blob.media_type)
            for layer in ready.layers.values()
            # a layer that is only files, or whose blob the base had dropped, has none
            if store.content.size(layer.blob.digest) == layer.blob.size
        ),
    ]
    # The same config may have been built before, with other statements: then what is pushed is the new index
    stale = (image.built.id, ready.root.digest, *INDEXES)
    is_clean = not store.db.query(f"SELECT 1 FROM image_blobs WHERE {_STALE} LIMIT 1", stale)  # noqa: S608 marks only
    if is_clean and store.images.add_again(image.built.id, image.served.digest, blobs, references):
        return image.built.id
    with store.db.write() as tx:
        store.images.add(
            NewImage(
                id=image.built.id,
                manifest=image.served.digest,
                config=image.built.config,
                blobs=tuple(blobs),
                snapshots=tuple(_snapshots(store, image.built)),
                references=tuple(references),
            )
        )
        tx.execute(f"DELETE FROM image_blobs WHERE {_STALE}", stale)  # noqa: S608 marks only
    return image.built.id


def main(ready: Ready) -> ReadyImage:
    """The image of this host's platform if there is one, else the first."""
    return ready.images[preferred([image.built for image in ready.images])]


def _snapshots(store: Store, built: Built) -> Iterator[Snapshot]:
    known = store.snapshots.known([layer.chain_id for layer in built.layers])
    parent: Digest | None = None
    for layer in built.layers:
        if layer.chain_id in known:
            yield store.snapshots.get(layer.chain_id)
        elif store.build_cache.layer(layer.chain_id) is not None:
            yield Snapshot(layer.chain_id, layer.diff_id, parent, layer.size, now())
        else:
            raise ImageNotFound(
                f"No such layer: {layer.chain_id}: it was removed while the image was built", "build it again"
            )
        parent = layer.chain_id
