"""A plain layer becomes a compressed blob: the same bytes at each push, whoever pushes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pyd._native import Progress
from pyd.oci.descriptor import DOCKER_LAYER, OCI_LAYER, Descriptor
from pyd.oci.digest import Digest
from pyd.store import origins
from pyd.store.locks import exclusive
from pyd.store.pack import PackedBlob, gone, packed_changes, packed_tar, plain_layer, tar_times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyd.store import Store

PLAIN = {OCI_LAYER: OCI_LAYER + "+gzip", DOCKER_LAYER: DOCKER_LAYER + ".gzip"}
"""Media types of plain layers, and what they are called compressed."""


def compressed(
    store: Store,
    plain: Descriptor,
    level: int,
    progress: Progress | None = None,
    *,
    chain_id: Digest | None = None,
) -> Descriptor:
    """The gzip blob of the layer, made now if it was not before. `progress` counts the bytes read.

    `plain.digest` is the diffID: the bytes are checked against it on the way. They come from the blob, or
    from the files of the snapshot `chain_id` where nobody has made one (layers of builds). The caller keeps
    the collector away (`intake.fetching`) until an image refers to the blob. Raises Cancelled when `progress`
    is cancelled.
    """
    media_type = PLAIN[plain.media_type]
    # two pushes of one layer at a time would do the work twice
    with exclusive(f"{store.paths.run_root}/locks/compress-{plain.digest.hex}", remove=True):
        known = origins.compressed(store.db, plain.digest)
        if known is not None and store.content.size(known.digest) == known.size:
            return Descriptor(media_type, known.digest, known.size)
        with _packed(store, plain, chain_id, "gzip", level, progress) as packed:
            blob = packed.publish()
        made = Descriptor(media_type, blob.digest, blob.size)
        origins.remember(store.db, plain.digest, made)
        return made


def converted(
    store: Store,
    blob: Descriptor,
    diff_id: Digest,
    chain_id: Digest,
    *,
    compression: str,
    level: int | None,
    progress: Progress | None = None,
) -> Descriptor:
    """The layer in another compression ("" for none, gzip, zstd) and level, made anew; conditions as above.

    `blob` is what the layer is now, plain or not, here or not.
    """
    if not compression:
        with plain_layer(store, blob, diff_id, chain_id) as (_, size):
            return Descriptor(OCI_LAYER, diff_id, size)
    if blob.digest == diff_id:
        with _packed(store, blob, chain_id, compression, level, progress) as packed:
            return packed.publish()
    with (
        plain_layer(store, blob, diff_id, chain_id) as (fd, _),
        packed_tar(
            store,
            f"/proc/self/fd/{fd}",
            diff_id,
            compression=compression,
            level=level,
            progress=progress,
        ) as packed,
    ):
        return packed.publish()


@contextmanager
def _packed(
    store: Store,
    plain: Descriptor,
    chain_id: Digest | None,
    compression: str,
    level: int | None,
    progress: Progress | None,
) -> Iterator[PackedBlob]:
    if store.content.size(plain.digest) == plain.size:
        with packed_tar(
            store,
            store.content.path(plain.digest),
            plain.digest,
            compression=compression,
            level=level,
            progress=progress,
        ) as packed:
            yield packed
    elif chain_id is None:
        raise gone(plain)
    else:
        path = store.snapshots.path(chain_id)
        times = tar_times(store, chain_id)
        with packed_changes(
            store, path, (), compression=compression, level=level, progress=progress, times=times
        ) as packed:
            if packed.diff_id != plain.digest:
                raise gone(plain)
            yield packed


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


__all__ = ["PLAIN", "Progress", "compressed", "converted", "repacked"]
