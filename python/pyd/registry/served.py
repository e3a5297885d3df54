"""A document as a registry serves it; apart from the client, which imports httpx."""

from __future__ import annotations

from pyd.oci.digest import Digest
from pyd.record import Record


class Served(Record):
    """A manifest or index as a registry served it; the digest is that of these bytes."""

    data: bytes
    media_type: str
    digest: Digest
