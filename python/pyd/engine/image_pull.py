"""`pull`: an image from its registry into the store."""

from __future__ import annotations

import os
from collections.abc import Iterator

from pyd.errors import ImageNotFound, InvalidArgument, NotSupported
from pyd.oci.descriptor import Descriptor as Layer
from pyd.oci.platform import Platform
from pyd.oci.reference import Reference
from pyd.record import Record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.oci.digest import Digest
    from pyd.registry.pull import Repository, Resolved
    from pyd.store import Store


class Watcher:
    """Who is told how a pull or load gets on; does nothing. Methods with a layer are called from several
    threads.
    """

    def begins(self, reference: Reference, default_tag: bool) -> None: ...

    def exists(self, layer: Layer) -> None: ...

    def waits(self, layer: Layer) -> None: ...

    def fetches(self, layer: Layer, progress: Any) -> None:
        """`progress.done` of `progress.total` bytes have come; both may be read at any time."""

    def fetched(self, layer: Layer) -> None: ...

    def unpacked(self, layer: Layer) -> None: ...

    def ends(self) -> None:
        """Called last, after success and failure."""


class Pulled(Record):
    id: Digest
    digest: Digest  # what the tag points at: an index or a manifest
    reference: Reference
    is_new: bool


def pull(
    store: Store,
    name: str,
    *,
    platform: str = "",
    tls_verify: bool = True,
    watcher: Watcher | None = None,
) -> Pulled:
    """Bring an image here from its registry. Only missing layers are fetched."""
    from pyd.registry.pull import Repository

    reference = Reference.parse(name)
    watcher = watcher or Watcher()
    wanted = wanted_platform(platform)
    repository = Repository(reference.with_default_tag(), tls_verify=tls_verify)
    try:
        return _pull(store, repository, reference, wanted, bool(platform), watcher)
    finally:
        watcher.ends()
        repository.close()


def pull_all(
    store: Store,
    name: str,
    *,
    platform: str = "",
    tls_verify: bool = True,
    watcher: Watcher | None = None,
) -> Iterator[Pulled]:
    """Bring every tag of a repository here, one after the other; the first error ends it."""
    from pyd.registry.pull import Repository

    reference = Reference.parse(name)
    if not reference.is_name_only:
        raise InvalidArgument("tag can't be used with --all-tags/-a")
    watcher = watcher or Watcher()
    wanted = wanted_platform(platform)
    repository = Repository(reference.with_default_tag(), tls_verify=tls_verify)
    try:
        tags = repository.tags()
        if not tags:
            raise ImageNotFound(f"{reference.familiar_repository} has no tags")
        for tag in tags:
            tagged = replace(reference, tag=tag)
            yield _pull(store, repository, tagged, wanted, bool(platform), watcher)
    finally:
        watcher.ends()
        repository.close()


def _pull(
    store: Store,
    repository: Repository,
    reference: Reference,
    wanted: Platform,
    explicit: bool,
    watcher: Watcher,
) -> Pulled:
    full = reference.with_default_tag()
    resolved = repository.resolve(wanted, full)
    watcher.begins(full, reference.is_name_only)
    return _take(store, repository, resolved, full, wanted, explicit, watcher)


def wanted_platform(platform: str) -> Platform:
    """The one that was asked for, else $DOCKER_DEFAULT_PLATFORM, else this host's."""
    text = platform or os.environ.get("DOCKER_DEFAULT_PLATFORM", "")
    return Platform.parse(text) if text else Platform.host()


def _take(
    store: Store,
    repository: Repository,
    resolved: Resolved,
    reference: Reference,
    wanted: Platform,
    explicit: bool,
    watcher: Watcher,
) -> Pulled:
    from pyd.store.fetching import fetching
    from pyd.store.images import NewImage
    from pyd.store.intake import Rules, take_in
    from pyd.store.records import BlobRecord

    manifest = resolved.manifest
    names = [reference.at(resolved.digest).canonical]
    if reference.digest is None:
        names.append(reference.canonical)
    before = store.images.find(reference)
    with fetching(store):
        data, config = _config(store, repository, resolved)
        check_platform(
            reference.familiar, Platform.of(config.os, config.architecture, config.variant), wanted, explicit
        )
        small = [
            *(
                BlobRecord(store.content.put(one.data), len(one.data), _media(one.media_type))
                for one in resolved.served
            ),
            BlobRecord(store.content.put(data), len(data), manifest.config.media_type),
        ]

        def make(snapshots: tuple[Any, ...]) -> NewImage:
            # a layer that was unpacked from another blob, or imported, has none of this digest
            layers = (
                BlobRecord(layer.digest, layer.size, layer.media_type)
                for layer in manifest.layers
                if store.content.size(layer.digest) == layer.size
            )
            return NewImage(
                id=manifest.config.digest,
                manifest=resolved.served[-1].digest,
                config=data,
                blobs=(*small, *layers),
                snapshots=snapshots,
                references=tuple(names),
            )

        settings = repository.settings
        rules = Rules(settings.keep_compressed_layers, settings.max_unpacked_size)
        take_in(store, manifest.layers, config.diff_ids, repository, watcher, make, rules)
    return Pulled(manifest.config.digest, resolved.digest, reference, before != manifest.config.digest)


def _config(store: Store, repository: Repository, resolved: Resolved) -> tuple[bytes, Any]:
    from pyd.oci.document import MAX_MANIFEST
    from pyd.oci.image_config import ImageConfig

    descriptor = resolved.manifest.config
    if store.content.size(descriptor.digest) == descriptor.size <= MAX_MANIFEST:
        data = store.content.read(descriptor.digest, MAX_MANIFEST)
        return data, ImageConfig.parse(data)
    return repository.config(resolved.manifest)


def _media(content_type: str) -> str:
    return content_type.partition(";")[0].strip()


def check_platform(name: str, actual: Platform, wanted: Platform, explicit: bool) -> None:
    """A single manifest has no list to choose from: what it is comes out only now."""
    if actual.os not in ("linux", ""):
        raise NotSupported(f'image operating system "{actual.os}" cannot be used on this platform')
    if explicit and wanted.rank(actual) is None:
        raise ImageNotFound(
            f"image with reference {name} was found but does not match the specified platform: "
            f"wanted {wanted}, actual: {actual}"
        )


__all__ = ["Layer", "Pulled", "Reference", "Watcher", "check_platform", "pull", "pull_all", "wanted_platform"]
