"""Directories go out: as a verified layer blob of the store, or as an archive to a descriptor."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType

from pyd import _native
from pyd.errors import CorruptData, PydError, from_os_error
from pyd.oci.descriptor import OCI_LAYER, Descriptor
from pyd.oci.digest import Digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.store import Store

EMPTY = Digest("sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef")
"""diffID of a layer without entries: 1024 zero bytes."""
_SUFFIX = {"": "", "gzip": "+gzip", "zstd": "+zstd"}


class PackedBlob:
    """A layer that was made here. It lies in `partial`, durable but without a name, until `publish`."""

    def __init__(self, store: Store, partial: str, packed: _native.PackedLayer, compression: str) -> None:
        self._store = store
        self._partial = partial
        self.diff_id = Digest(packed.diff_id)
        self.plain_size = packed.plain_size
        self.blob = Descriptor(OCI_LAYER + _SUFFIX[compression], Digest(packed.digest), packed.size)

    @property
    def is_empty(self) -> bool:
        return self.diff_id == EMPTY

    def publish(self) -> Descriptor:
        """The blob under its digest. The caller keeps the collector away (`intake.fetching`) until an image
        refers to it.
        """
        if self._store.content.size(self.blob.digest) != self.blob.size:
            self._store.content.publish(self._partial, self.blob.digest)
        return self.blob


@contextmanager
def packed_changes(
    store: Store,
    upper: str,
    lowers: Sequence[str],
    *,
    ignored: Sequence[str] = (),
    compression: str = "gzip",
    level: int | None = None,
    progress: _native.Progress | None = None,
    times: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[PackedBlob]:
    """What the upper directory of an overlay changes in `lowers` (top first), as a layer. `ignored`: relative
    paths of mount points that a runtime made for itself. `times`: see `tar_times`. Forgotten at the end
    unless it was published.
    """
    with _partial(store) as (path, fd):
        packed = _native.pack_layer(
            fd,
            upper,
            list(lowers),
            ignored=list(ignored),
            compression=compression,
            level=level,
            progress=progress,
            **times,
        )
        _sync(fd, path)
        yield PackedBlob(store, path, packed, compression)


@contextmanager
def packed_tree(store: Store, layers: Sequence[str], *, compression: str = "gzip") -> Iterator[PackedBlob]:
    """The same of everything that `layers` (top first) show together."""
    with _partial(store) as (path, fd):
        packed = _native.pack_tree(fd, list(layers), compression=compression)
        _sync(fd, path)
        yield PackedBlob(store, path, packed, compression)


@contextmanager
def packed_tar(
    store: Store,
    path: str,
    diff_id: Digest,
    *,
    compression: str = "gzip",
    level: int | None = None,
    progress: _native.Progress | None = None,
) -> Iterator[PackedBlob]:
    """The tar at `path`, compressed. Its digest must be `diff_id`."""
    with _partial(store) as (partial, fd):
        packed = _native.compress_tar(path, fd, compression=compression, level=level, progress=progress)
        if packed.diff_id != diff_id:
            raise CorruptData(
                f"blob {path} does not match its name any more", "remove the image and load it again"
            )
        _sync(fd, partial)
        yield PackedBlob(store, partial, packed, compression)


def export(layers: Sequence[str], fd: int, progress: _native.Progress | None = None) -> None:
    """Write what `layers` (top first) show together to `fd`, as a plain tar."""
    _native.pack_tree(fd, list(layers), progress=progress)


def changes(upper: str, lowers: Sequence[str], ignored: Sequence[str]) -> list[tuple[str, str]]:
    """("A" | "C" | "D", absolute path), by path; names that are no UTF-8 with surrogate escapes."""
    return _native.list_changes(upper, list(lowers), ignored=list(ignored))


@contextmanager
def plain_layer(
    store: Store, blob: Descriptor, diff_id: Digest, chain_id: Digest
) -> Iterator[tuple[int, int]]:
    """(descriptor, bytes) of the layer's tar in a file without a name, checked against its diffID.

    From the blob; where that was dropped, from the unpacked files, which gives the same bytes only if pyd
    itself packed the layer. Raises `gone` otherwise: a tar of another digest is not this layer.
    """
    store.paths.make()
    try:
        fd = os.open(store.paths.ingest, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise from_os_error(error, f"making a temporary file in {store.paths.ingest}") from error
    try:
        if store.content.size(blob.digest) == blob.size:
            found, size = _native.inflate_blob(store.content.path(blob.digest), fd)
        else:
            path = store.snapshots.path(chain_id)
            packed = _native.pack_layer(fd, path, compression="", **tar_times(store, chain_id))
            found, size = packed.diff_id, packed.plain_size
        if found != diff_id:
            raise gone(blob)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd, size
    finally:
        os.close(fd)


@contextmanager
def as_packed(store: Store, chain_ids: Sequence[Digest]) -> Iterator[list[str]]:
    """The directories of snapshots (bottom first), top first, with the times that their tars have: a layer
    whose files still have later ones is unpacked once more, for as long as this lasts.
    """
    found: list[str] = []
    made: list[str] = []
    try:
        for chain_id in chain_ids:
            path = store.snapshots.path(chain_id)
            layer = store.build_cache.layer(chain_id)
            if layer is not None and layer.late is not None:
                made.append(f"{store.paths.snapshots}/{chain_id.hex}.tmp-{os.urandom(4).hex()}")
                path = f"{made[-1]}/fs"
                os.makedirs(path, 0o755)
                plain = Descriptor(OCI_LAYER, layer.diff_id, layer.plain_size)
                with plain_layer(store, plain, layer.diff_id, chain_id) as (fd, _):
                    unpacked = _native.unpack_blob(f"/proc/self/fd/{fd}", path, diff_id=layer.diff_id)
                _native.settle_layer(unpacked, path, found)
            found.insert(0, path)
        yield found
    finally:
        for path in made:
            store.trash.take(path)


def tar_times(store: Store, chain_id: Digest) -> dict[str, Any]:
    """Arguments of `pack_layer` for the snapshot of a build that is still under way: its files may have later
    times than its tar (BuildLayer.late).
    """
    layer = store.build_cache.layer(chain_id)
    return {"epoch": layer.late} if layer is not None and layer.late is not None else {}


def plain_size(store: Store, diff_id: Digest, chain_id: Digest) -> int:
    """Bytes of the tar that the files of a snapshot give. Raises `gone` if it is not the layer's any more."""
    fd = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        path = store.snapshots.path(chain_id)
        packed = _native.pack_layer(fd, path, compression="", **tar_times(store, chain_id))
    finally:
        os.close(fd)
    if packed.diff_id != diff_id:
        raise gone(Descriptor(OCI_LAYER, diff_id, 0))
    return packed.plain_size


def gone(blob: Descriptor) -> PydError:
    from pyd.errors import ImageNotFound

    return ImageNotFound(
        f"blob {blob.digest} is not here any more, no registry gave it, and its files give other bytes",
        'remove the image and pull it again with "keep-compressed-layers" on; `pyd export` needs no blobs',
    )


@contextmanager
def _partial(store: Store) -> Iterator[tuple[str, int]]:
    store.paths.make()
    path = f"{store.paths.ingest}/pack.{os.urandom(8).hex()}"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise from_os_error(error, f"writing {path}") from error
    try:
        yield path, fd
    finally:
        os.close(fd)
        if os.path.lexists(path):
            os.unlink(path)


def _sync(fd: int, path: str) -> None:
    try:
        os.fdatasync(fd)
    except OSError as error:
        raise from_os_error(error, f"writing {path}") from error
