"""A plain layer becomes a gzip blob, once: the same bytes at each push, whoever pushes."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING

from pyd.errors import CorruptData, from_os_error
from pyd.oci.descriptor import DOCKER_LAYER, OCI_LAYER, Descriptor
from pyd.oci.digest import Digest
from pyd.store import origins
from pyd.store.locks import exclusive
from pyd.store.pack import gone, packed_changes

if TYPE_CHECKING:
    from pyd.store import Store

PLAIN = {OCI_LAYER: OCI_LAYER + "+gzip", DOCKER_LAYER: DOCKER_LAYER + ".gzip"}
"""Media types of plain layers, and what they are called compressed."""

_CHUNK = 1 << 20


def compressed(store: Store, plain: Descriptor, level: int, seen: Callable[[int], None]) -> Descriptor:
    """The gzip blob of the layer, made now if it was not before; `seen` is told how many bytes were read.

    `plain.digest` is the diffID: the bytes are checked against it on the way. The caller keeps the collector
    away (`intake.fetching`) until an image refers to the blob.
    """
    media_type = PLAIN[plain.media_type]
    # two pushes of one layer at a time would do the work twice
    with exclusive(f"{store.paths.run_root}/locks/compress-{plain.digest.hex}", remove=True):
        known = origins.compressed(store.db, plain.digest)
        if known is not None and store.content.size(known.digest) == known.size:
            seen(plain.size)
            return Descriptor(media_type, known.digest, known.size)
        if store.content.size(plain.digest) != plain.size:
            raise gone(plain)
        made = _compress(store, plain, level, media_type, seen)
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


def _compress(
    store: Store, plain: Descriptor, level: int, media_type: str, seen: Callable[[int], None]
) -> Descriptor:
    store.paths.make()
    partial = f"{store.paths.ingest}/{plain.digest.hex}.{os.urandom(6).hex()}"
    before, after, size = sha256(), sha256(), 0
    # zlib writes neither a name nor a time into the header: the same layer gives the same bytes
    packer = zlib.compressobj(level, zlib.DEFLATED, 31)
    try:
        with (
            open(store.content.path(plain.digest), "rb", buffering=0) as source,
            open(partial, "xb", buffering=0) as target,
        ):
            while chunk := source.read(_CHUNK):
                before.update(chunk)
                seen(len(chunk))
                size += _write(target.fileno(), packer.compress(chunk), after.update)
            size += _write(target.fileno(), packer.flush(), after.update)
            if f"sha256:{before.hexdigest()}" != plain.digest:
                raise CorruptData(
                    f"blob {source.name} does not match its name any more",
                    "remove the image and load it again",
                )
            os.fsync(target.fileno())
        digest = Digest(f"sha256:{after.hexdigest()}")
        store.content.publish(partial, digest)
    except BaseException as error:
        if os.path.lexists(partial):
            os.unlink(partial)
        if isinstance(error, OSError):
            raise from_os_error(error, f"compressing layer {plain.digest}") from error
        raise
    return Descriptor(media_type, digest, size)


def _write(fd: int, data: bytes, hashed: Callable[[bytes], None]) -> int:
    hashed(data)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    return len(data)
