"""Bytes on their way from a source to a sink, hashed as they pass."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import TYPE_CHECKING

from pyd.errors import CorruptData
from pyd.oci.descriptor import Descriptor

if TYPE_CHECKING:
    from pyd.engine.transports import Source


class Checked:
    """`read(offset)` of one blob for an upload, which may ask again from where it was cut.

    The last chunk is handed on only when the digest of all bytes is right, so that a sink never gets to the
    end of a wrong blob. What is read again before the hashed part's end is passed over by the hash.
    """

    def __init__(self, source: Source, blob: Descriptor) -> None:
        self._source = source
        self._blob = blob
        self._hash = sha256()
        self._hashed = 0

    def __call__(self, offset: int) -> Iterator[bytes]:
        blob = self._blob
        if offset > self._hashed:
            # the registry has bytes that we have not seen: of another upload
            raise CorruptData(f"blob {blob.digest}: the upload is further than what was sent")
        position = offset
        for chunk in self._source.read(blob, offset):
            end = position + len(chunk)
            if end > blob.size:
                raise CorruptData(f"blob {blob.digest} has more than the {blob.size} bytes of its descriptor")
            if end > self._hashed:
                self._hash.update(chunk[self._hashed - position :] if position < self._hashed else chunk)
                self._hashed = end
            position = end
            if position == blob.size:
                self._check()
            yield chunk
        if position < blob.size:
            raise CorruptData(f"blob {blob.digest} has {position} bytes, its descriptor says {blob.size}")
        if not blob.size:
            self._check()

    def _check(self) -> None:
        found = f"sha256:{self._hash.hexdigest()}"
        if found != self._blob.digest:
            raise CorruptData(f"blob {self._blob.digest} of the source has the digest {found}")
