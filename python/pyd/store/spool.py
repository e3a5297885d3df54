"""An archive from anywhere as a plain seekable file: decompressed, in a file without a name that dies with
us.
"""

from __future__ import annotations

import bz2
import hashlib
import lzma
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Protocol

from pyd.errors import CorruptData, from_os_error
from pyd.paths import Paths

CHUNK = 1 << 20
_XZ_MEMORY = 256 << 20  # bytes that an xz stream may ask for


class _Decoder(Protocol):
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...


@contextmanager
def spooled(paths: Paths, chunks: Iterable[bytes]) -> Iterator[tuple[BinaryIO, str]]:
    """(file, sha256 hex of it) with the decompressed content of `chunks`."""
    paths.make()
    try:
        # no name: whatever happens to us, nothing is left
        fd = os.open(paths.ingest, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise from_os_error(error, f"making a temporary file in {paths.ingest}") from error
    with os.fdopen(fd, "w+b", buffering=0) as file:
        digest = hashlib.sha256()
        try:
            for chunk in decompressed(chunks):
                digest.update(chunk)
                view = memoryview(chunk)
                while view:
                    view = view[file.write(view) or 0 :]
        except OSError as error:
            raise from_os_error(error, f"writing a temporary file in {paths.ingest}") from error
        file.seek(0)
        yield file, digest.hexdigest()


def is_plain(head: bytes) -> bool:
    """Whether a file that begins like this needs no decompression."""
    return _decoder(head) is None


def decompressed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Plain bytes of a stream that is plain, gzip, bzip2, xz or zstd; at most 1 MiB at a time, however small
    the input.
    """
    stream = iter(chunks)
    head = b""
    for chunk in stream:
        head += chunk
        if len(head) >= 6:
            break
    decoder = _decoder(head)
    if decoder is None:
        if head:
            yield head
        yield from stream
        return
    data: bytes | None = head
    while data is not None:
        while data or not _starved(decoder):
            try:
                plain, data, decoder = _step(decoder, data)
            except (zlib.error, OSError, lzma.LZMAError, EOFError) as error:
                raise CorruptData(f"the archive is damaged: {error}") from None
            if plain:
                yield plain
            elif not data:
                break
        data = next(stream, None)
    if not decoder.eof:
        raise CorruptData("the archive is truncated")


class _Gzip:
    """zlib with the interface of the other two."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    def decompress(self, data: bytes, max_length: int = 0) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data


def _decoder(head: bytes) -> _Decoder | None:
    if head.startswith(b"\x1f\x8b"):
        return _Gzip()
    if head.startswith(b"BZh"):
        return bz2.BZ2Decompressor()
    if head.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
    # a frame, or a skippable one before it (RFC 8878)
    if head.startswith(b"\x28\xb5\x2f\xfd") or (head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50):
        from pyd import _native

        return _native.ZstdDecoder()
    return None


def _starved(decoder: _Decoder) -> bool:
    return decoder.eof or bool(getattr(decoder, "needs_input", True))


def _step(decoder: _Decoder, data: bytes) -> tuple[bytes, bytes, _Decoder]:
    """(plain bytes, input not used yet, decoder for it)"""
    if decoder.eof:
        # several streams one after the other are one archive; zeros behind the last are padding
        rest = data.lstrip(b"\0")
        if not rest:
            return b"", b"", decoder
        following = _decoder(rest)
        if following is None:
            raise CorruptData("the archive has trailing garbage")
        return b"", rest, following
    plain = decoder.decompress(data, CHUNK)
    return plain, decoder.unused_data if decoder.eof else b"", decoder
