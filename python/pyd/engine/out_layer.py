"""A layer that leaves this store; apart from `outgoing`, which builds that stay here need not import."""

from __future__ import annotations

from pyd.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyd.oci.descriptor import Descriptor
    from pyd.oci.digest import Digest


class OutLayer(Record):
    blob: Descriptor  # as it is stored
    diff_id: Digest | None  # what people see of it; None in manifests of other platforms
    chain_id: Digest | None  # its unpacked files
    compress: bool = False
