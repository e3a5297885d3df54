"""What pyd keeps: objects in SQLite, blobs and unpacked layers on disk. Opened by many processes at once.

    store = Store(paths)
    store.containers  store.images  store.snapshots  store.volumes  store.networks   rows, each with its verbs
    store.content                                                                    blobs by digest
    store.build_cache                                                                results of build steps
    store.lock(id)          serialise changes to one container between processes
    store.trash.take(path)  remove a directory at once; store.trash.sweep() frees its space
    store.gc()              what no image and no container needs

Making a Store opens nothing: the database is opened at the first question, and each room is imported when it
is entered (`ps` needs no images, and five milliseconds of imports are a twentieth of its time).
"""

from __future__ import annotations

from functools import cached_property

from pyd.store import locks
from pyd.store.db import Database
from pyd.store.records import ContainerRecord, now
from pyd.store.trash import Trash

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Any

    from pyd.paths import Paths
    from pyd.store.build_cache import BuildCache
    from pyd.store.containers import Containers
    from pyd.store.content import Content
    from pyd.store.images import Images
    from pyd.store.networks import Networks
    from pyd.store.resources import NetworkRecord, VolumeRecord
    from pyd.store.snapshots import Snapshots
    from pyd.store.volumes import Volumes

__all__ = ["ContainerRecord", "NetworkRecord", "Store", "VolumeRecord", "now"]


class Store:
    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.db = Database(paths)
        self.trash = Trash(paths)

    @cached_property
    def containers(self) -> Containers:
        from pyd.store.containers import Containers

        return Containers(self.db)

    @cached_property
    def images(self) -> Images:
        from pyd.store.images import Images

        return Images(self.db)

    @cached_property
    def content(self) -> Content:
        from pyd.store.content import Content

        return Content(self.paths)

    @cached_property
    def snapshots(self) -> Snapshots:
        from pyd.store.snapshots import Snapshots

        return Snapshots(self.db, self.paths)

    @cached_property
    def volumes(self) -> Volumes:
        from pyd.store.volumes import Volumes

        return Volumes(self.db, self.paths, self.trash)

    @cached_property
    def networks(self) -> Networks:
        from pyd.store.networks import Networks

        return Networks(self.db)

    @cached_property
    def build_cache(self) -> BuildCache:
        from pyd.store.build_cache import BuildCache

        return BuildCache(self.db)

    def lock(self, container_id: str, *, remove: bool = False) -> AbstractContextManager[None]:
        """Hold the container for a change of its state. `remove` when the container itself goes."""
        return locks.exclusive(f"{self.paths.run_root}/locks/{container_id}", remove=remove)

    def gc(self) -> None:
        """Delete what no image and no container needs, and what killed processes left behind."""
        from pyd.store.gc import collect

        collect(self)

    def close(self) -> None:
        """Close the database for this thread."""
        self.db.close()


def __getattr__(name: str) -> Any:
    if name in ("NetworkRecord", "VolumeRecord"):
        from pyd.store import resources

        return getattr(resources, name)
    raise AttributeError(f"module 'pyd.store' has no attribute {name!r}")
