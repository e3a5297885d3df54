"""`rmi`: names go, and with the last one the image."""

from __future__ import annotations

from collections.abc import Sequence

from pyd.errors import Conflict, InvalidArgument
from pyd.oci.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyd.store import Store
    from pyd.store.images import Image


def remove(store: Store, name: str, *, force: bool = False, prune: bool = True) -> list[str]:
    """Untag, and delete the image when no name is left. Returns Docker's lines, `Untagged: x` and `Deleted:
    y`.

    By name: only that name goes, as long as there are others. By id: all names go, but only if they are of
    one repository or `force` is set. `prune=False` leaves blobs and layers for the next collection.
    """
    image = store.images.resolve(name)
    reference = _named(image, name)
    users = store.images.users(image.id)
    others = [key for key in image.references if reference is None or key != reference.canonical]
    if reference is not None and reference.digest is None and others:
        store.images.untag([reference.canonical])
        return [f"Untagged: {reference.familiar}"]
    if reference is None:
        _check_by_id(image, users, force)
    elif users and not force:
        raise Conflict(
            f'conflict: unable to remove repository reference "{name}" (must force) - container '
            f"{users[0][0][:12]} is using its referenced image {image.id.short}"
        )
    untagged = [f"Untagged: {familiar(key)}" for key in (*image.references, *image.digests)]
    running = next((user for user, state in users if state in ("running", "paused")), None)
    if running is not None:
        # forced: the container keeps its layers and, as in Docker, the image stays without a name
        store.images.untag((*image.references, *image.digests))
        return untagged
    layers = [chain_id for chain_id, _ in store.images.chain(image.id)]
    store.images.delete(image.id)
    kept = store.snapshots.used(layers)
    deleted = [image.id, *(chain_id for chain_id in reversed(layers) if chain_id not in kept)]
    if prune:
        store.gc()
    return [*untagged, *(f"Deleted: {digest}" for digest in deleted)]


def _named(image: Image, name: str) -> Reference | None:
    """The reference that `name` is; None when it is an id."""
    try:
        reference = Reference.parse(name).with_default_tag()
    except InvalidArgument:
        return None
    return reference if reference.canonical in (*image.references, *image.digests) else None


def _check_by_id(image: Image, users: Sequence[tuple[str, str]], force: bool) -> None:
    for user, state in users:
        if state in ("running", "paused"):
            raise Conflict(
                f"conflict: unable to delete {image.id.short} (cannot be forced) - "
                f"image is being used by running container {user[:12]}"
            )
        if not force:
            raise Conflict(
                f"conflict: unable to delete {image.id.short} (must be forced) - "
                f"image is being used by stopped container {user[:12]}"
            )
    repositories = {Reference.parse(key).repository for key in image.references}
    if len(repositories) > 1 and not force:
        raise Conflict(
            f"conflict: unable to delete {image.id.short} (must be forced) - image is referenced in multiple "
            "repositories"
        )


def familiar(canonical: str) -> str:
    """docker.io/library/a:b as people see it: a:b"""
    return Reference.parse(canonical).familiar
