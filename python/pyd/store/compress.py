"""A plain layer becomes a gzip blob, once: the same bytes at each push, whoever pushes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyd._native import Progress
from pyd.oci.descriptor import DOCKER_LAYER, OCI_LAYER, Descriptor
from pyd.oci.digest import Digest
from pyd.store import origins
from pyd.store.locks import exclusive
from pyd.store.pack import gone, packed_changes, packed_tar

if TYPE_CHECKING:
    from pyd.store import Store

PLAIN = {OCI_LAYER: OCI_LAYER + "+gzip", DOCKER_LAYER: DOCKER_LAYER + ".gzip"}
"""Media types of plain layers, and what they are called compressed."""


def compressed(store: Store, plain: Descriptor, level: int, progress: Progress | None = None) -> Descriptor:
    """The gzip blob of the layer, made now if it was not before. `progress` counts the bytes read.

    `plain.digest` is the diffID: the bytes are checked against it on the way. The caller keeps the collector
    away (`intake.fetching`) until an image refers to the blob. Raises Cancelled when `progress` is cancelled.
    """
    media_type = PLAIN[plain.media_type]
    # two pushes of one layer at a time would do the work twice
    with exclusive(f"{store.paths.run_root}/locks/compress-{plain.digest.hex}", remove=True):
        known = origins.compressed(store.db, plain.digest)
        if known is not None and store.content.size(known.digest) == known.size:
            return Descriptor(media_type, known.digest, known.size)
        if store.content.size(plain.digest) != plain.size:
            raise gone(plain)
        with packed_tar(store, plain, level=level, progress=progress or Progress(plain.size)) as packed:
            blob = packed.publish()
        made = Descriptor(media_type, blob.digest, blob.size)
        origins.remember(store.db, plain.digest, made)
        return made


def repacked(store: Store, blob: Descriptor, diff_id: Digest, chain_id: Digest) -> Descriptor:
    """A layer whose blob was dropped, made again from its unpacked files.

    Raises `gone` where they do not give the tar that the image names: not everything that a tar says is in a
    directory. The caller keeps the collector away until an image refers to the blob.
    """
    with packed_changes(store, store.snapshots.path(chain_id), ()) as made:
        if made.diff_id != diff_id:
            raise gone(blob)
        packed = made.publish()
    if blob.media_type.startswith(DOCKER_LAYER):
        return Descriptor(DOCKER_LAYER + ".gzip", packed.digest, packed.size)
    return packed


__all__ = ["PLAIN", "Progress", "compressed", "repacked"]
