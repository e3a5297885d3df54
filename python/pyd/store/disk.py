"""How much of the disk each part of the data-root takes: every byte that du(1) counts is in one of them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pyd import _native
from pyd.paths import Paths

_HEX = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes allocated, directories too. Nothing of it says whether a row knows the thing."""

    layers: Mapping[str, int]  # by chainID
    blobs: Mapping[str, int]  # by digest
    containers: Mapping[str, int]  # by id, without the logs
    logs: Mapping[str, int]  # by id of the container
    volumes: Mapping[str, int]  # by name
    mounts: Mapping[str, int]  # by name: what `RUN --mount=type=cache` keeps
    build: Mapping[str, int]  # by path: what else builds keep beside their layers
    partials: Mapping[str, int]  # by path: what is being fetched or unpacked
    trash: int
    database: int
    registry: int  # of `pyd registry serve`; what it shares with the images by hard links is counted here
    other: int

    @property
    def total(self) -> int:
        """What `du -sx DATA_ROOT` says."""
        parts = (
            *(self.layers, self.blobs, self.containers, self.logs, self.volumes, self.partials),
            *(self.mounts, self.build),
        )
        return sum(sum(part.values()) for part in parts) + sum(
            (self.trash, self.database, self.registry, self.other)
        )


def measure(paths: Paths) -> Disk:
    """Walks the whole data-root, but for what is mounted in it; what changes meanwhile may be missed."""
    rooms = (
        paths.snapshots,
        paths.content,
        paths.ingest,
        paths.containers,
        paths.volumes,
        paths.trash,
        paths.build,
        f"{paths.build}/mounts",
    )
    # the directories themselves, with those that lead to them
    own = {paths.data_root, os.path.dirname(paths.content), *rooms}
    database = [f"{paths.db}{suffix}" for suffix in ("", "-wal", "-shm")]
    registry = f"{paths.data_root}/registry"
    inside = {room: _names(room) for room in rooms}
    logs = {name: paths.log(name) for name in inside[paths.containers]}
    others = [
        f"{directory}/{name}"
        for directory in (paths.data_root, os.path.dirname(paths.content))
        for name in _names(directory)
        if f"{directory}/{name}" not in own and f"{directory}/{name}" not in database
    ]
    entries = [f"{room}/{name}" for room in rooms for name in inside[room] if f"{room}/{name}" not in own]
    # in this order: a blob that the registry has too is not freed when the images give it up
    wanted = [*others, *entries, *logs.values(), *database]
    found = {path: usage[0] for path, usage in zip(wanted, _native.disk_usage(wanted), strict=True)}
    layers, partials = {}, {f"{paths.ingest}/{name}": 0 for name in inside[paths.ingest]}
    for name in inside[paths.snapshots]:
        if _HEX.fullmatch(name):
            layers[f"sha256:{name}"] = found[f"{paths.snapshots}/{name}"]
        else:
            partials[f"{paths.snapshots}/{name}"] = 0
    blobs = {}
    for name in inside[paths.content]:
        if _HEX.fullmatch(name):
            blobs[f"sha256:{name}"] = found[f"{paths.content}/{name}"]
        else:
            others.append(f"{paths.content}/{name}")
    return Disk(
        layers=layers,
        blobs=blobs,
        # a log is in its container's directory and was counted with it
        containers={name: max(0, found[paths.container(name)] - found[log]) for name, log in logs.items()},
        logs={name: found[log] for name, log in logs.items()},
        volumes={name: found[f"{paths.volumes}/{name}"] for name in inside[paths.volumes]},
        mounts={name: found[f"{rooms[-1]}/{name}"] for name in inside[rooms[-1]]},
        build={
            path: found[path]
            for path in (f"{paths.build}/{name}" for name in inside[paths.build])
            if path in found
        },
        partials={path: found[path] for path in partials},
        trash=sum(found[f"{paths.trash}/{name}"] for name in inside[paths.trash]),
        database=sum(found[path] for path in database),
        registry=found.get(registry, 0),
        other=sum(found[path] for path in others if path != registry) + sum(map(_own, own)),
    )


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _own(path: str) -> int:
    """Of a directory alone."""
    try:
        return os.lstat(path).st_blocks * 512
    except FileNotFoundError:
        return 0
