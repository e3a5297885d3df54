"""Images as every front door sees them. Each verb is a module of its own, imported when it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from pyd.errors import ImageNotFound, InvalidArgument
from pyd.oci.platform import Platform
from pyd.oci.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

    from pyd.engine.archive import Loaded
    from pyd.engine.image_copy import Copied, CopyWatcher
    from pyd.engine.image_diff import Difference
    from pyd.engine.image_explore import Explored
    from pyd.engine.image_pull import Pulled, Watcher
    from pyd.engine.image_push import Pushed, PushWatcher
    from pyd.engine.image_views import Branch, HistoryLine, Row
    from pyd.oci.digest import Digest
    from pyd.store import Store
    from pyd.store.images import Image

POLICIES = ("missing", "always", "never")


class Images:
    """The images of one store. `name` is a reference, an id or the beginning of an id."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # asked for a Watcher whenever `ensure` has to pull, so that `run` can show what it waits for
        self.on_pull: Callable[[], Watcher] | None = None

    def pull(
        self,
        name: str,
        *,
        platform: str | None = None,
        tls_verify: bool = True,
        watcher: Watcher | None = None,
    ) -> Pulled:
        """Bring an image here from its registry; only missing layers are fetched.

        `tls_verify=False`: plain http and unverified certificates will do.
        """
        from pyd.engine.image_pull import pull

        return pull(self._store, name, platform=platform or "", tls_verify=tls_verify, watcher=watcher)

    def pull_all(
        self,
        name: str,
        *,
        platform: str | None = None,
        tls_verify: bool = True,
        watcher: Watcher | None = None,
    ) -> Iterator[Pulled]:
        """Bring every tag of a repository here, each when the iterator is asked for it."""
        from pyd.engine.image_pull import pull_all

        return pull_all(self._store, name, platform=platform or "", tls_verify=tls_verify, watcher=watcher)

    def push(
        self,
        name: str,
        *,
        all_tags: bool = False,
        platform: str | None = None,
        tls_verify: bool = True,
        watcher: PushWatcher | None = None,
    ) -> Sequence[Pushed]:
        """Push a tag, or all tags of a repository, to the registry in its name; one result for each tag."""
        from pyd.engine.image_push import push

        return push(
            self._store,
            name,
            all_tags=all_tags,
            platform=platform or "",
            tls_verify=tls_verify,
            watcher=watcher,
        )

    def copy(
        self,
        source: str,
        destination: str,
        *,
        platform: str | None = None,
        everything: bool = False,
        source_tls_verify: bool = True,
        destination_tls_verify: bool = True,
        watcher: CopyWatcher | None = None,
    ) -> Copied:
        """Copy an image bit for bit between registries, layouts, archives and this store (engine/transports).

        `everything`: all platforms of an index, not only `platform` (default: this host's).
        """
        from pyd.engine.image_copy import copy

        return copy(
            self._store,
            source,
            destination,
            platform=platform or "",
            everything=everything,
            source_tls_verify=source_tls_verify,
            destination_tls_verify=destination_tls_verify,
            watcher=watcher,
        )

    def ensure(self, name: str, *, pull: str = "missing", platform: str | None = None) -> Image:
        """The image for a container, pulled when it is missing and `pull` (missing, always, never) allows
        that.
        """
        if pull not in POLICIES:
            raise InvalidArgument(
                f'invalid pull option: \'{pull}\': must be one of "always", "missing" or "never"'
            )
        if pull != "always":
            try:
                return self._here(name, platform)
            except ImageNotFound:
                if pull == "never":
                    raise
        pulled = self.pull(name, platform=platform, watcher=self.on_pull() if self.on_pull else None)
        return self._store.images.resolve(pulled.id)

    def _here(self, name: str, platform: str | None) -> Image:
        image = self._store.images.resolve(name)
        if platform:
            from pyd.engine.image_pull import check_platform

            actual = Platform.of(image.config.os, image.config.architecture, image.config.variant)
            check_platform(name, actual, Platform.parse(platform), True)
        return image

    def check(self, name: str) -> Digest:
        """ID of the image; raises ImageNotFound, also when the name is that of a repository without tags."""
        from pyd.engine.save import check

        return check(self._store, name)

    def save(
        self,
        names: Sequence[str],
        out: BinaryIO,
        *,
        format: str = "docker",
        platform: str | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        """Write images to a tar archive: `docker` (an OCI layout that `docker load` reads as well) or `oci`.

        A name without a tag stands for all tags of its repository. Raises ImageNotFound.
        """
        from pyd.engine.save import save

        save(self._store, names, out, format=format, platform=platform or "", watcher=watcher)

    def load(
        self, source: BinaryIO | str, *, platform: str | None = None, watcher: Watcher | None = None
    ) -> Sequence[Loaded]:
        """All images of an archive: docker-archive or OCI layout, plain, gzip, bzip2, xz or zstd.

        `source`: an open file, or the path of a file or of a layout's directory.
        """
        from pyd.engine.archive import load

        return load(self._store, source, platform=platform or "", watcher=watcher)

    def import_(
        self,
        source: str | BinaryIO | Iterable[bytes],
        *,
        name: str = "",
        changes: Sequence[str] = (),
        message: str = "",
        platform: str | None = None,
    ) -> Digest:
        """An image of one layer from a tar archive: an http(s) URL, a path, an open file or chunks of bytes.

        `changes` are Dockerfile instructions that set its defaults (CMD, ENV, ...).
        """
        from pyd.engine.image_import import import_image, opened

        with opened(source) as (chunks, label):
            return import_image(
                self._store,
                chunks,
                name=name,
                source=label,
                changes=changes,
                message=message,
                platform=platform or "",
            )

    def named(self, name: str) -> Digest | None:
        """ID of the image that has this name now; None if there is none."""
        from pyd.oci.reference import Reference

        return self._store.images.find(Reference.parse(name))

    def list(self, *, name: str = "", filters: Sequence[str] = ()) -> Sequence[Row]:
        """A row for each name of each image, newest first. `name`: only this repository or repository:tag."""
        from pyd.engine.image_views import rows

        return rows(self._store, name=name, filters=filters)

    def tree(self, *, name: str = "", filters: Sequence[str] = ()) -> Sequence[Branch]:
        """The images by what is built on what."""
        from pyd.engine.image_views import tree

        return tree(self._store, name=name, filters=filters)

    def shared_sizes(self) -> dict[str, int]:
        """Bytes of each image (by id) in layers that other images have too."""
        from pyd.engine.image_views import shared_sizes

        return shared_sizes(self._store)

    def history(self, name: str) -> Sequence[HistoryLine]:
        """How it was made, newest step first."""
        from pyd.engine.image_views import history

        return history(self._store, name)

    def inspect(self, name: str) -> dict[str, Any]:
        """The object of Docker's API."""
        from pyd.engine.image_views import inspect

        return inspect(self._store, name)

    def inspect_remote(
        self, name: str, *, platform: str | None = None, tls_verify: bool = True
    ) -> dict[str, Any]:
        """What its registry says of an image, without pulling it."""
        from pyd.engine.remote_images import inspect

        return inspect(name, platform=platform or "", tls_verify=tls_verify)

    def raw(self, name: str, *, remote: bool = False, tls_verify: bool = True) -> bytes:
        """The bytes of the manifest: the stored one, or what the registry has under this name."""
        from pyd.engine.remote_images import raw

        return raw(self._store, name, remote=remote, tls_verify=tls_verify)

    def diff(self, before: str, after: str, *, mtime: bool = False) -> Difference:
        """In what two images differ. `mtime`: also files whose time alone does."""
        from pyd.engine.image_diff import diff

        return diff(self._store, before, after, mtime=mtime)

    def explore(self, name: str, *, copies: bool = True) -> Explored:
        """What each layer adds and wastes. `copies`: look for files with the same content, reading them."""
        from pyd.engine.image_explore import explore

        return explore(self._store, name, copies=copies)

    def tag(self, source: str, target: str) -> None:
        """Give an image another name."""
        reference = Reference.parse(target)
        if reference.digest:
            raise InvalidArgument("refusing to create a tag with a digest reference")
        self._store.images.tag(self._store.images.resolve_id(source), reference.with_default_tag().canonical)

    def remove(self, name: str, *, force: bool = False, prune: bool = True) -> Sequence[str]:
        """Untag, and delete when no name is left; gives back Docker's lines.

        `prune=False` leaves blobs and layers to the next collection.
        """
        from pyd.engine.image_remove import remove

        return remove(self._store, name, force=force, prune=prune)

    def prune(self, *, everything: bool = False, filters: Sequence[str] = ()) -> tuple[Sequence[str], int]:
        """Remove images that no container uses, those without a tag or `everything`: (lines, bytes of disk).

        `pyd.engine.prune` says beforehand what that would be.
        """
        from pyd.engine import prune

        done = prune.remove_images(self._store, prune.images(self._store, filters, everything=everything))
        return done.lines, done.bytes

    def sweep(self) -> None:
        """Free what was removed, and what killed processes left."""
        self._store.gc()
