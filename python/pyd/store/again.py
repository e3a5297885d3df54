"""A layer unpacked again from its blob, to see whether its directory still is what was unpacked."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING

from pyd import _native
from pyd.errors import PydError, from_os_error
from pyd.oci.document import MAX_MANIFEST
from pyd.oci.manifest import Manifest, parse_manifest
from pyd.store.fetching import fetching

if TYPE_CHECKING:
    from pyd.store import Store


def differences(store: Store, chain_id: str, *, locked: bool = False) -> list[str] | None:
    """Paths in which the layer's directory differs from its blob; None where there is no blob to ask.

    `locked`: the caller holds `ingest_lock`.
    """
    rows = store.db.query(
        "SELECT image, position, manifest FROM image_layers JOIN images ON images.id = image "
        "WHERE chain_id = ? LIMIT 1",
        (chain_id,),
    )
    if not rows:
        return None
    image, position = rows[0]["image"], rows[0]["position"]
    try:
        manifest = parse_manifest(store.content.read(rows[0]["manifest"], MAX_MANIFEST))
    except PydError:
        return None  # a finding of its own
    if not isinstance(manifest, Manifest) or position >= len(manifest.layers):
        return None
    layer = manifest.layers[position]
    if store.content.size(layer.digest) != layer.size:
        return None
    below = [store.snapshots.path(chain) for chain, _ in store.images.chain(image)[:position]][::-1]
    blob = store.content.path(layer.digest)
    with nullcontext() if locked else fetching(store):
        return _compare(store, blob, layer.media_type, below, chain_id)


def _compare(store: Store, blob: str, media_type: str, below: list[str], chain_id: str) -> list[str]:
    # a name as of an unpacking that is under way: whoever is killed leaves what the collector removes
    place = f"{store.paths.snapshots}/{chain_id[7:]}.tmp-{os.urandom(4).hex()}"
    dest = f"{place}/fs"
    try:
        os.makedirs(dest, 0o755)
        unpacked = _native.unpack_blob(blob, dest, media_type=media_type)
        _native.settle_layer(unpacked, dest, below)
        found = _native.compare_layers([dest], [store.snapshots.path(chain_id)])
    except OSError as error:
        raise from_os_error(error, f"making {dest}") from error
    finally:
        store.trash.take(place)
    return [f"/{one.path}" for one in found if one.changes != ["mtime"]]
