"""Whether the layers that builds keep are what their steps made: packed again, each must give its diffID."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pyd import _native
from pyd.errors import PydError, from_os_error
from pyd.oci.digest import Digest

if TYPE_CHECKING:
    from pyd.store import Store
    from pyd.store.build_cache import BuildLayer


def chains(store: Store) -> list[str]:
    return sorted(store.build_cache.chains())


def problem(store: Store, chain_id: str, *, quick: bool) -> tuple[bool, str] | None:
    """(whether its directory is missing, what is wrong); None for a good one, and for one that is not kept
    any more.
    """
    layer = store.build_cache.layer(chain_id)
    if layer is None:
        return None
    path = store.snapshots.path(chain_id)
    if not os.path.isdir(path):
        return True, "its directory does not exist"
    if quick or _is_late(layer):
        return None
    try:
        found = _packed(path)
    except FileNotFoundError:
        return None  # removed while it was read
    except PydError as error:
        return False, error.message
    return None if found == layer.diff_id else (False, "its files are not those that its step made")


def users(store: Store, chain_id: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(images, containers) that have the layer too."""
    images = store.db.query("SELECT DISTINCT image FROM image_layers WHERE chain_id = ?", (chain_id,))
    containers = store.db.query("SELECT container FROM container_layers WHERE chain_id = ?", (chain_id,))
    return tuple(row["image"] for row in images), tuple(row["container"] for row in containers)


def forget(store: Store, chain_id: str) -> None:
    """The steps that made it; the next build does them again."""
    rows = store.db.query("SELECT key FROM build_steps WHERE chain_id = ?", (chain_id,))
    store.build_cache.remove([row["key"] for row in rows])


def _is_late(layer: BuildLayer) -> bool:
    """A build that was killed has left times in its files that the next one sets: they count for its tar."""
    return getattr(layer, "late", None) is not None


def _packed(path: str) -> Digest:
    try:
        fd = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        raise from_os_error(error, f"opening {os.devnull}") from error
    try:
        return Digest(_native.pack_layer(fd, path, compression="").diff_id)
    finally:
        os.close(fd)
