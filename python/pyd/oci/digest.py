"""Digests: `sha256:` and 64 lower-case hex digits, nothing else.

The string becomes a path in the content store, so it is checked where it enters (CVE-2024-3727) and carried
as a type that cannot hold anything else.
"""

from __future__ import annotations

from collections.abc import Iterable

from pyd.errors import CorruptData

try:
    from _sha2 import sha256 as _own  # type: ignore[import-not-found]  # since Python 3.12
except ImportError:
    try:
        from _sha256 import sha256 as _own  # type: ignore[import-not-found]
    except ImportError:
        _own = None

_LONG = 1 << 20  # bytes
_LENGTH = len("sha256:") + 64


class Digest(str):
    """The hash of bytes as stored or sent, `sha256:<hex>` (OCI image spec, descriptor.md#digests)."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Raises CorruptData for any other algorithm, length or case."""
        if len(text) != _LENGTH or not text.startswith("sha256:") or text[7:].strip("0123456789abcdef"):
            shown = text if len(text) <= 80 else text[:77] + "..."
            raise CorruptData(
                f"invalid digest {shown!r}: only sha256 with 64 lower-case hex digits is accepted"
            )
        return cls(text)

    @classmethod
    def of(cls, data: bytes) -> Digest:
        return cls("sha256:" + sha256_hex(data))

    @property
    def hex(self) -> str:
        return self[7:]

    @property
    def short(self) -> str:
        """The twelve digits that people see."""
        return self[7:19]


def sha256_hex(data: bytes) -> str:
    """hashlib's sha256 is OpenSSL's, whose library takes four milliseconds to load; the interpreter's own is
    slower for what is long.
    """
    if len(data) < _LONG and _own is not None:
        return str(_own(data).hexdigest())
    from hashlib import sha256

    return sha256(data).hexdigest()


def chain_ids(diff_ids: Iterable[str]) -> tuple[Digest, ...]:
    """The chainID of each layer, bottom first (OCI image spec, config.md#layer-chainid)."""
    chain: list[Digest] = []
    for diff_id in diff_ids:
        chain.append(Digest.of(f"{chain[-1]} {diff_id}".encode()) if chain else Digest(diff_id))
    return tuple(chain)
