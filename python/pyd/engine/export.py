"""`export` and `diff`: the files of a container, running or not, read from its layers. Nothing is mounted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyd.engine.start import readable_layers
from pyd.errors import NotSupported
from pyd.runtime import defaults
from pyd.store import pack

if TYPE_CHECKING:
    from pyd.engine.engine import Engine


def export(engine: Engine, name: str, fd: int) -> None:
    """Write the container's file system to `fd` as a tar: what it sees, without volumes and other mounts."""
    pack.export(readable_layers(engine, engine.settled(name)), fd)


def diff(engine: Engine, name: str) -> Sequence[tuple[str, str]]:
    """("A" added, "C" changed, "D" deleted; path) of everything that differs from the image."""
    record = engine.settled(name)
    layers = readable_layers(engine, record)
    if len(layers) == 1 and record.host["pyd"]["rootfs"]:
        raise NotSupported(
            f"container {record.name} writes into the directory {layers[0]} itself: "
            "there is nothing that it differs from",
            "start it with --rootfs DIR:O to keep the directory as it is",
        )
    return pack.changes(layers[0], layers[1:], defaults.MOUNT_POINTS)
