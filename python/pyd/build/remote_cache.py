"""`--cache-from`: steps that were done elsewhere, and their layers when they are needed.

The cache is trusted in what it says of the steps: that a key has this layer. Whoever names it gives that
trust, as with an image. All else is checked: blobs against their digests, tars against their diffIDs and
sizes, and that the unpacked files give the same tar again, without which the image could not be pushed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from pyd import _native
from pyd.build import layers as build_layers
from pyd.build.cache_document import MAX_CONFIG, CachedLayer, CacheDocument, parse_config, parse_manifest
from pyd.build.result import State
from pyd.build.room import free
from pyd.errors import CorruptData, from_os_error
from pyd.oci.descriptor import Descriptor
from pyd.oci.digest import Digest, chain_ids
from pyd.store.build_cache import BuildLayer, BuildStep
from pyd.store.pack import plain_size

if TYPE_CHECKING:
    from pyd.registry.served import Served
    from pyd.store import Store

_SLACK = 1 << 20  # bytes behind the end of a tar


class Source(Protocol):
    """Where the cache is; of engine/transports. `read` is called from several threads."""

    def root(self) -> Served: ...

    def manifest(self, entry: Descriptor) -> Served: ...

    def read(self, blob: Descriptor, offset: int) -> Iterator[bytes]: ...

    def close(self) -> None: ...


class RemoteCache:
    """build.steps.Remote. `name`: in messages. May be used by several threads."""

    def __init__(self, store: Store, source: Source, document: CacheDocument, name: str) -> None:
        self.name = name
        self.document = document
        self._store = store
        self._source = source
        self._steps = {step.key: step for step in document.steps}
        self._mounts = {mount.name: mount for mount in document.mounts}

    @classmethod
    def read(cls, store: Store, source: Source, served: Served, name: str) -> RemoteCache:
        """The cache that a manifest is or has. Raises CorruptData, NotSupported, and what a read raises."""
        manifest = parse_manifest(served.data)
        if manifest.config.size > MAX_CONFIG:
            raise CorruptData(f"build cache: its config is larger than {MAX_CONFIG} bytes")
        data = b""
        for chunk in source.read(manifest.config, 0):
            data += chunk
            if len(data) > manifest.config.size:
                break  # its digest is another one then
        if Digest.of(data) != manifest.config.digest:
            raise CorruptData(f"build cache: its config does not match the digest {manifest.config.digest}")
        return cls(store, source, parse_config(data, manifest), name)

    def find(self, key: str) -> BuildStep | None:
        """The step, whose layer is not here yet: its chainID is known when it is brought."""
        step = self._steps.get(key)
        if step is None:
            return None
        layer = None
        if step.layer is not None:
            cached = self.document.layers[step.layer]
            layer = BuildLayer(cached.diff_id, cached.diff_id, None, cached.plain_size, 0)
        return BuildStep(key, "", {}, layer, step.value, 0.0, 0.0)

    def bring(self, step: BuildStep, below: State) -> BuildLayer | None:
        """The layer of a step that `find` gave, on top of `below`, unpacked and known to the store. None for
        a step without one. The caller holds `intake.fetching`.
        """
        if step.layer is None:
            return None
        store = self._store
        number = self._steps[step.key].layer
        assert number is not None
        cached = self.document.layers[number]
        chain_id = chain_ids([*(layer.diff_id for layer in below.layers), cached.diff_id])[-1]
        parent = below.layers[-1].chain_id if below.layers else None
        known = store.build_cache.layer(chain_id)
        if known is None and store.snapshots.known([chain_id]):
            size = plain_size(store, cached.diff_id, chain_id)
            known = BuildLayer(chain_id, cached.diff_id, parent, size, store.snapshots.get(chain_id).size)
            store.build_cache.add_layer(known)
        if known is not None:
            return known
        with build_layers.upper(store) as made:
            unpacked = self._unpack(cached, made.fs)
            _native.settle_layer(unpacked, made.fs, build_layers.lowers(store, below))
            packed = self._packed(made.fs)
            if packed.diff_id != cached.diff_id:
                raise CorruptData(
                    f"layer {cached.diff_id} of the build cache {self.name} cannot be made again from files",
                    "it was not made by a build; build without this --cache-from",
                )
            layer = BuildLayer(chain_id, cached.diff_id, parent, packed.plain_size, unpacked.unpacked_size)
            build_layers.place(store, made, layer)
        return layer

    def restore_mount(self, name: str, directory: str) -> bool:
        """Unpack what a cache mount held into the empty `directory`; False if it is not in the cache."""
        mount = self._mounts.get(name)
        if mount is None:
            return False
        unpacked = self._unpack(self.document.layers[mount.layer], directory)
        _native.settle_layer(unpacked, directory, [])
        return True

    def close(self) -> None:
        self._source.close()

    def _unpack(self, layer: CachedLayer, dest: str) -> _native.UnpackedLayer:
        blob, store = layer.blob, self._store
        assert blob is not None
        allowance = _native.Allowance(min(layer.plain_size + _SLACK, free(store.paths.snapshots)))
        if store.content.size(blob.digest) == blob.size:
            return _native.unpack_blob(
                store.content.path(blob.digest),
                dest,
                media_type=blob.media_type,
                diff_id=layer.diff_id,
                allowance=allowance,
            )
        with self._partial(blob) as partial:
            ingest = _native.LayerIngest(
                partial,
                dest,
                media_type=blob.media_type,
                digest=blob.digest,
                size=blob.size,
                diff_id=layer.diff_id,
                allowance=allowance,
            )
            try:
                at = 0
                for chunk in self._source.read(blob, 0):
                    ingest.write(chunk, at)
                    at += len(chunk)
                return ingest.finish(sync=False)
            finally:
                ingest.abort()

    @contextmanager
    def _partial(self, blob: Descriptor) -> Iterator[str]:
        """A file for the bytes as they come. It is not kept: what is needed again is its content."""
        path = f"{self._store.paths.ingest}/{blob.digest.hex}.{os.urandom(6).hex()}"
        try:
            yield path
        finally:
            if os.path.lexists(path):
                os.unlink(path)

    def _packed(self, directory: str) -> _native.PackedLayer:
        fd = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        try:
            return _native.pack_layer(fd, directory, compression="")
        except OSError as error:
            raise from_os_error(error, f"reading {directory}") from error
        finally:
            os.close(fd)
