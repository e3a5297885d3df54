"""What pyd keeps: objects in SQLite, blobs and unpacked layers on disk. Opened by many processes at once.

    store = Store(paths)
    store.containers  store.images  store.snapshots  store.volumes  store.networks   rows, each with its verbs
    store.content                                                                    blobs by digest
    store.lock(id)          serialise changes to one container between processes
    store.trash.take(path)  remove a directory at once; store.trash.sweep() frees its space
    store.gc()              what no image and no container needs

Making a Store opens nothing: the database is opened at the first question.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from pyd.paths import Paths

from . import locks
from .containers import Containers
from .content import Content
from .db import Database
from .images import Image, Images
from .networks import Networks
from .records import ContainerRecord, NetworkRecord, VolumeRecord, now
from .snapshots import Snapshots
from .trash import Trash
from .volumes import Volumes

__all__ = ["ContainerRecord", "Image", "NetworkRecord", "Paths", "Store", "VolumeRecord", "now"]


class Store:
    __slots__ = (
        "containers",
        "content",
        "db",
        "images",
        "networks",
        "paths",
        "snapshots",
        "trash",
        "volumes",
    )

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.db = Database(paths)
        self.trash = Trash(paths)
        self.content = Content(paths)
        self.snapshots = Snapshots(self.db, paths)
        self.images = Images(self.db)
        self.containers = Containers(self.db)
        self.volumes = Volumes(self.db, paths, self.trash)
        self.networks = Networks(self.db)

    def lock(self, container_id: str, *, remove: bool = False) -> AbstractContextManager[None]:
        """Hold the container for a change of its state. `remove` when the container itself goes."""
        return locks.exclusive(f"{self.paths.run_root}/locks/{container_id}", remove=remove)

    def gc(self) -> None:
        """Delete blobs and snapshots that no image and no container needs, and what killed processes left behind."""
        from .gc import collect

        collect(self)

    def close(self) -> None:
        self.db.close()
