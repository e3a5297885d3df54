"""What a build has made as source of a copy: to a registry, a layout or an archive (engine/transports)."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from pyd.engine.out_layer import OutLayer
from pyd.engine.outgoing import CHUNK, read_blob
from pyd.errors import CorruptData
from pyd.oci.descriptor import Descriptor
from pyd.registry.served import Served
from pyd.store import origins
from pyd.store.pack import plain_layer

if TYPE_CHECKING:
    from pyd.oci.digest import Digest
    from pyd.store import Store


class BuildSource:
    """`documents`: small blobs with their media types, `layers`: all others, by digest.

    Close it; until then the caller holds `intake.fetching`. Layers that are only files are packed when
    they are read, each once, into a file without a name.
    """

    def __init__(
        self,
        store: Store,
        root: Served,
        documents: Mapping[Digest, tuple[str, bytes]],
        layers: Mapping[Digest, OutLayer],
        manifests: Sequence[Served] = (),
    ) -> None:
        self._store = store
        self._root = root
        self._documents = documents
        self._layers = layers
        self._manifests = manifests
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._packed: dict[Digest, int] = {}

    def root(self) -> Served:
        return self._root

    def manifest(self, entry: Descriptor) -> Served:
        for served in self._manifests:
            if served.digest == entry.digest:
                return served
        raise CorruptData(f"manifest {entry.digest} is none of this build")

    def read(self, blob: Descriptor, offset: int) -> Iterator[bytes]:
        known = self._documents.get(blob.digest)
        if known is not None:
            yield known[1][offset:]
            return
        layer = self._layers[blob.digest]
        if self._store.content.size(blob.digest) == blob.size:
            yield from read_blob(self._store, blob, offset)
            return
        fd = self._tar(layer)
        while chunk := os.pread(fd, CHUNK, offset):
            offset += len(chunk)
            yield chunk

    def repositories(self, blob: Descriptor, domain: str) -> Sequence[str]:
        try:
            return origins.repositories(self._store.db, blob.digest, domain)
        finally:
            if threading.current_thread() is not threading.main_thread():
                self._store.db.close()  # this thread's connection

    def stop(self) -> None:
        """Reading a file does not wait for anybody."""

    def close(self) -> None:
        self._stack.close()

    def _tar(self, layer: OutLayer) -> int:
        assert layer.diff_id
        assert layer.chain_id
        with self._lock:
            if layer.blob.digest not in self._packed:
                packing = plain_layer(self._store, layer.blob, layer.diff_id, layer.chain_id)
                fd, size = self._stack.enter_context(packing)
                if (layer.diff_id, size) != (layer.blob.digest, layer.blob.size):
                    from pyd.store.pack import gone

                    raise gone(layer.blob)  # it was compressed, and nobody can make those bytes again
                self._packed[layer.blob.digest] = fd
            return self._packed[layer.blob.digest]
