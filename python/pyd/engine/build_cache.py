"""What builds keep, as `builder du` lists it and `builder prune` removes it.

An entry is a layer with the steps that made it, a step that made none, the directory of a cache mount, or
what is remembered of build contexts. A layer that an image or a container has too is *shared*: it takes no
space of the cache's own, and when its steps are forgotten its files stay. So the private entries are the row
"Build Cache" of `system df`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyd.build.cache_mounts import lock_of, path_of
from pyd.engine.filters import check_names, moment
from pyd.errors import InvalidArgument, from_os_error
from pyd.store.disk import Disk, measure
from pyd.store.locks import try_acquire

if TYPE_CHECKING:
    from pyd.store import Store
    from pyd.store.build_cache import BuildStep, CacheMount

# BuildKit's names of what a record is
LAYER, MOUNT, SOURCE = "regular", "exec.cachemount", "source.local"
FILTERS = (
    "until",
    "unused-for",
    "id",
    "parent",
    "type",
    "description",
    "inuse",
    "shared",
    "private",
    "mutable",
)


@dataclass(frozen=True, slots=True)
class Entry:
    """size: bytes allocated on disk. Times are seconds since the epoch."""

    id: str
    kind: str
    description: str
    size: int
    created: float
    used: float
    parent: str = ""
    is_shared: bool = False
    is_used: bool = False  # by a build that runs
    layer: str = ""  # chainID
    keys: tuple[str, ...] = ()  # of steps
    path: str = ""  # what is removed, of MOUNT and SOURCE

    @property
    def is_mutable(self) -> bool:
        return self.kind != LAYER

    @property
    def own(self) -> int:
        """Bytes that are freed when it goes."""
        return 0 if self.is_shared else self.size


@dataclass(frozen=True, slots=True)
class Limits:
    """What a prune leaves, in bytes; 0: no such limit."""

    reserved: int = 0  # of the cache: so much is always kept
    most: int = 0  # of the cache: no more is kept
    free: int = 0  # of the disk: so much is to be free

    def kept(self, total: int, free: int) -> int:
        """Of `total` bytes, with `free` on the disk, how many stay."""
        if not (self.most or self.free):
            return self.reserved
        keep = min(total, self.most) if self.most else total
        if self.free > free:
            keep = min(keep, total - (self.free - free))
        return max(keep, self.reserved)


def entries(store: Store, disk: Disk | None = None) -> list[Entry]:
    """All there are, the one used last first."""
    disk = disk or measure(store.paths)
    found = [*_layers(store, disk), *_mounts(store, disk), *_sources(store, disk)]
    return sorted(found, key=lambda entry: (-entry.used, entry.id))


def chosen(found: Sequence[Entry], filters: Mapping[str, Sequence[str]]) -> list[Entry]:
    """Those that pass. Raises InvalidArgument."""
    check_names(filters, FILTERS)
    if "until" in filters and "unused-for" in filters:
        raise InvalidArgument('conflicting filters "until" and "unused-for"')
    for name, values in filters.items():
        if len(values) != 1:
            raise InvalidArgument(f"the filter {name!r} takes one value")
    tests = [_test(name, values[0]) for name, values in filters.items()]
    return [entry for entry in found if all(test(entry) for test in tests)]


def prunable(
    found: Sequence[Entry],
    filters: Mapping[str, Sequence[str]],
    *,
    everything: bool = False,
    limits: Limits | None = None,
    free: int = 0,
) -> list[Entry]:
    """What a prune removes, what was not used for longest first. `everything`: shared layers too.

    `free`: bytes that are free on the disk now.
    """
    candidates = [
        entry for entry in chosen(found, filters) if not entry.is_used and (everything or not entry.is_shared)
    ]
    candidates.sort(key=lambda entry: (entry.used, entry.id))
    total = sum(entry.own for entry in found)
    keep = limits.kept(total, free) if limits else -1
    removed = []
    for entry in candidates:
        if total <= keep:
            break
        removed.append(entry)
        total -= entry.own
    return removed


def remove(store: Store, removed: Sequence[Entry]) -> list[Entry]:
    """Those that were removed: not what a build has taken into use meanwhile. The files of layers are left to
    the collector (`store.gc`), which waits for builds and pulls.

    Rows first: whoever is killed then leaves files that no row knows, which the next collection finds.
    """
    keys = [key for entry in removed for key in entry.keys]
    if keys:
        store.build_cache.remove(keys)
    done = [entry for entry in removed if entry.kind == LAYER]
    for entry in removed:
        if entry.kind == MOUNT and _remove_mount(store, entry):
            done.append(entry)
        elif entry.kind == SOURCE:
            store.trash.take(entry.path)
            done.append(entry)
    return done


def is_busy(store: Store) -> bool:
    """Whether a build or a pull runs: files of layers go when it has ended."""
    from pyd.store.gc import ingest_lock

    fd = try_acquire(ingest_lock(store))
    if fd is None:
        return True
    os.close(fd)
    return False


def _remove_mount(store: Store, entry: Entry) -> bool:
    lock = lock_of(store, entry.id)
    fd = try_acquire(lock)
    if fd is None:
        return False
    try:
        store.build_cache.remove_mount(entry.id)
        store.trash.take(entry.path)
        os.unlink(lock)
    finally:
        os.close(fd)
    return True


def _layers(store: Store, disk: Disk) -> Iterator[Entry]:
    shared = {
        row["chain_id"]
        for row in store.db.query(
            "SELECT chain_id FROM image_layers UNION SELECT chain_id FROM container_layers"
        )
    }
    by_chain: dict[str, list[BuildStep]] = {}
    for step in store.build_cache.list():
        by_chain.setdefault(str(step.layer.chain_id) if step.layer else f"key {step.key}", []).append(step)
    for name, steps in by_chain.items():
        layer = steps[0].layer
        digest = str(layer.chain_id) if layer else steps[0].key
        yield Entry(
            id=digest.removeprefix("sha256:")[:25],
            kind=LAYER,
            description=_text(steps[0].structure),
            size=disk.layers.get(name, 0) if layer else 0,
            created=min(step.created for step in steps),
            used=max(step.used for step in steps),
            parent=str(layer.parent or "").removeprefix("sha256:")[:25] if layer else "",
            is_shared=name in shared,
            layer=name if layer else "",
            keys=tuple(step.key for step in steps),
        )


def _text(structure: Mapping[str, Any]) -> str:
    """The instruction, as much of it as is in the key of its step."""
    kind = str(structure.get("kind") or "step")
    words = structure.get("args") or structure.get("sources") or ["…"] * ("dest" in structure)
    words = [*words, *(structure[name] for name in ("dest", "path", "url") if structure.get(name))]
    return " ".join([kind, *map(str, words)]).replace("\n", " ")


def _mounts(store: Store, disk: Disk) -> Iterator[Entry]:
    known = {mount.name: mount for mount in store.build_cache.mounts()}
    for name in dict.fromkeys([*known, *disk.mounts]):
        path = path_of(store, name)
        mount: CacheMount | None = known.get(name)
        at = 0.0 if mount else _changed(path)
        fd = try_acquire(lock_of(store, name))
        if fd is not None:
            os.close(fd)
        yield Entry(
            id=name,
            kind=MOUNT,
            description=f"cached mount {mount.id}" if mount else "cached mount of a build that was killed",
            size=disk.mounts.get(name, 0),
            created=mount.created if mount else at,
            used=mount.used if mount else at,
            is_used=fd is None,
            path=path,
        )


def _sources(store: Store, disk: Disk) -> Iterator[Entry]:
    is_used = bool(disk.build) and is_busy(store)
    for path, size in disk.build.items():
        at = _changed(path)
        name = os.path.basename(path)
        yield Entry(
            id=name,
            kind=SOURCE,
            description=_REMEMBERED.get(name, "remembered by builds"),
            size=size,
            created=at,
            used=at,
            is_used=is_used,
            path=path,
        )


_REMEMBERED = {
    "contexts": "digests of the files of build contexts",
    "listings": "names of the files that steps have read, to tell which of them changed",
}


def _changed(path: str) -> float:
    with suppress(OSError):
        return os.stat(path).st_mtime
    return time.time()


def _test(name: str, value: str) -> Callable[[Entry], bool]:
    if name in ("until", "unused-for"):
        oldest = moment(value)
        return lambda entry: entry.used < oldest
    if name == "id":
        return lambda entry: value in entry.id
    if name == "parent":
        return lambda entry: (
            bool(entry.parent) and entry.parent.startswith(value.removeprefix("sha256:")[:25])
        )
    if name == "type":
        return lambda entry: entry.kind == value
    if name == "description":
        return lambda entry: value in entry.description
    wanted = _truth(name, value)
    if name == "inuse":
        return lambda entry: entry.is_used == wanted
    if name == "mutable":
        return lambda entry: entry.is_mutable == wanted
    return lambda entry: entry.is_shared == (wanted if name == "shared" else not wanted)


def _truth(name: str, value: str) -> bool:
    if value.lower() in ("1", "t", "true"):
        return True
    if value.lower() in ("0", "f", "false"):
        return False
    raise InvalidArgument(f"invalid filter '{name}={value}': must be true or false")


def free_bytes(path: str) -> int:
    try:
        found = os.statvfs(path)
    except OSError as error:
        raise from_os_error(error, f"asking how much is free at {path}") from error
    return found.f_bavail * found.f_frsize
