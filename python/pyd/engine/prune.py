"""What a prune would remove, and removing exactly that.

Plans are made first and shown: by --dry-run, or by the question before it is done. `carry_out` then removes
what was planned and is still removable; what was taken into use meanwhile stays. Bytes are those of the disk.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyd.engine.filters import check_names, label_matches, moment
from pyd.errors import InvalidArgument, PydError
from pyd.store.disk import Disk, measure

if TYPE_CHECKING:
    from pyd.engine.build_cache import Entry, Limits
    from pyd.engine.engine import Engine
    from pyd.store import ContainerRecord, Store

Filters = Mapping[str, list[str]]

CONTAINER, NETWORK, VOLUME, IMAGE, LEFTOVER = "container", "network", "volume", "image", "leftover"
CACHE = "cache"
_COMMON = ("until", "label", "label!")


@dataclass(frozen=True, slots=True)
class Item:
    kind: str
    id: str  # of an object, or the path of a leftover
    title: str  # for people: names, state
    bytes: int  # that its removal frees, after the items before it


@dataclass(frozen=True, slots=True)
class Plan:
    items: tuple[Item, ...]
    is_forced: bool = False  # images with a name go too
    cache: tuple[Entry, ...] = ()  # what the items of this kind are

    @property
    def bytes(self) -> int:
        return sum(item.bytes for item in self.items)

    def of(self, kind: str) -> list[Item]:
        return [item for item in self.items if item.kind == kind]


@dataclass(frozen=True, slots=True)
class Done:
    items: tuple[Item, ...]  # those that were removed
    lines: tuple[str, ...]  # Docker's lines about images

    @property
    def bytes(self) -> int:
        return sum(item.bytes for item in self.items)

    def of(self, kind: str) -> list[Item]:
        return [item for item in self.items if item.kind == kind]


def containers(engine: Engine, filters: Filters, disk: Disk | None = None) -> Plan:
    """Those that do not run. Filters: until, label, label!."""
    check_names(filters, _COMMON)
    disk = disk or measure(engine.config.paths)
    return Plan(tuple(_containers(engine, filters, disk)))


def networks(engine: Engine, filters: Filters) -> Plan:
    """Those that a user made and no container uses. Filters: until, label, label!."""
    check_names(filters, _COMMON)
    return Plan(tuple(_networks(engine, filters, frozenset())))


def volumes(engine: Engine, filters: Filters, *, everything: bool = False, disk: Disk | None = None) -> Plan:
    """Anonymous ones that no container uses; `everything` (or the filter all=true): named ones too.

    Filters: label, label!, all.
    """
    check_names(filters, ("label", "label!", "all"))
    everything = everything or "true" in filters.get("all", ()) or "1" in filters.get("all", ())
    disk = disk or measure(engine.config.paths)
    return Plan(tuple(_volumes(engine, filters, disk, everything, frozenset())))


def images(
    store: Store, filters: Sequence[str], *, everything: bool = False, disk: Disk | None = None
) -> Plan:
    """Those without a tag that no container uses; `everything`: with a tag too.

    Filters: until, label, label!, dangling.
    """
    disk = disk or measure(store.paths)
    return _images(store, filters, disk, everything, frozenset())


def system(
    engine: Engine,
    filters: Sequence[str],
    *,
    everything: bool = False,
    with_volumes: bool = False,
    disk: Disk | None = None,
) -> Plan:
    """Containers, networks, images, what builds keep and, with `with_volumes`, anonymous volumes; what the
    removal of one makes removable goes too. Filters: until, label, label!.
    """
    from pyd.engine.filters import parse

    values = parse(filters)
    check_names(values, _COMMON)
    if with_volumes and "until" in values:
        raise InvalidArgument('ERROR: The "until" filter is not supported with "--volumes"')
    disk = disk or measure(engine.config.paths)
    items = _containers(engine, values, disk)
    gone = frozenset(item.id for item in items)
    items += _networks(engine, values, gone)
    if with_volumes:
        items += _volumes(engine, values, disk, False, gone)
    needed = Needed.of(engine.store, gone)
    found = _images(engine.store, filters, disk, everything, gone, needed)
    # what has no labels has not the one that is asked for
    cache = [] if "label" in values else _cache(engine.store, _only(values, "until"), disk, everything)
    items += [*found.items, *_cache_items(cache, disk, needed)]
    return Plan(tuple(items), found.is_forced, tuple(cache))


def builds(
    store: Store,
    filters: Filters,
    *,
    everything: bool = False,
    limits: Limits | None = None,
    disk: Disk | None = None,
) -> Plan:
    """What builds keep and no image has; `everything`: what images have too. Filters: build_cache.FILTERS."""
    disk = disk or measure(store.paths)
    found = _cache(store, filters, disk, everything, limits)
    return Plan(tuple(_cache_items(found, disk, Needed.of(store))), cache=tuple(found))


def _cache(
    store: Store, filters: Filters, disk: Disk, everything: bool, limits: Limits | None = None
) -> list[Entry]:
    from pyd.engine import build_cache

    found = build_cache.entries(store, disk)
    free = build_cache.free_bytes(store.paths.data_root) if limits and limits.free else 0
    return build_cache.prunable(found, filters, everything=everything, limits=limits, free=free)


def _cache_items(found: Sequence[Entry], disk: Disk, needed: Needed) -> Iterator[Item]:
    for entry in found:
        freed = entry.size
        if entry.layer:
            freed = disk.layers.get(entry.layer, 0) if _last(needed.layers, entry.layer) else 0
        yield Item(CACHE, entry.id, entry.description, freed)


def _only(filters: Filters, *names: str) -> Filters:
    return {name: values for name, values in filters.items() if name in names}


def _containers(engine: Engine, filters: Filters, disk: Disk) -> list[Item]:
    wanted = _matcher(filters)
    items = []
    for record in engine.all_settled():
        if record.state in ("running", "paused"):
            continue
        if wanted(record.created, record.config.get("Labels") or {}):
            size = disk.containers.get(record.id, 0) + disk.logs.get(record.id, 0)
            items.append(Item(CONTAINER, record.id, _about(record), size))
    return items


def _about(record: ContainerRecord) -> str:
    return f"{record.name} ({record.image_ref or record.image_id[7:19] or 'rootfs'}, {record.state})"


def _networks(engine: Engine, filters: Filters, gone: frozenset[str]) -> list[Item]:
    wanted = _matcher(filters)
    used = {
        name
        for record in engine.store.containers.list()
        if record.id not in gone
        for name in (record.host["NetworkMode"], record.network.get("id"))
    }
    items = []
    for network in engine.store.networks.list():
        # the default one is made anew by the next container
        if network.name == "bridge" or {network.id, network.name} & used:
            continue
        if set(engine.store.networks.addresses(network.id).values()) - gone:
            continue
        if wanted(network.created, network.config.get("labels") or {}):
            items.append(Item(NETWORK, network.id, network.name, 0))
    return items


def _volumes(
    engine: Engine, filters: Filters, disk: Disk, everything: bool, gone: frozenset[str]
) -> list[Item]:
    wanted = _matcher(filters)
    return [
        Item(VOLUME, record.name, record.name, disk.volumes.get(record.name, 0))
        for record in engine.store.volumes.list()
        if (everything or record.anonymous)
        and not set(engine.store.volumes.users(record.name)) - gone
        and wanted(record.created, record.labels)
    ]


def _matcher(filters: Filters) -> Callable[[str, Mapping[str, str]], bool]:
    """Whether something made at this time with these labels passes `until`, `label` and `label!`."""
    from pyd.runtime.logs import seconds

    until = moment(filters["until"][-1]) if filters.get("until") else None

    def matches(created: str, labels: Mapping[str, str]) -> bool:
        return (
            (until is None or seconds(created) < until)
            and label_matches(filters.get("label", ()), labels)
            and not any(label_matches([text], labels) for text in filters.get("label!", ()))
        )

    return matches


def _images(
    store: Store,
    filters: Sequence[str],
    disk: Disk,
    everything: bool,
    gone: frozenset[str],
    needed: Needed | None = None,
) -> Plan:
    from pyd.engine.image_filters import PRUNE
    from pyd.engine.image_filters import Filters as ImageFilters
    from pyd.engine.image_remove import familiar

    chosen = ImageFilters(store, filters, PRUNE)
    # what counts is what `until` and `label` say; `dangling=false` is another way to say --all
    everything = everything or chosen.dangling is False
    needed = needed or Needed.of(store, gone)
    items = leftovers(store, disk, needed)
    for image in store.images.list():
        if set(needed.users[image.id]) - gone or (image.references and not everything):
            continue
        if not chosen.match(image):
            continue
        names = [familiar(name) for name in (*image.references, *image.digests)]
        title = ", ".join(names) or "<none>"
        items.append(Item(IMAGE, image.id, title, needed.drop(image.id, disk)))
    return Plan(tuple(items), everything)


class Needed:
    """How many images and containers, and whether the build cache, need each layer and blob."""

    def __init__(self) -> None:
        self.layers: dict[str, int] = {}
        self.blobs: dict[str, int] = {}
        self.users: dict[str, list[str]] = {}  # containers of each image
        self._of: dict[str, tuple[list[str], list[str]]] = {}

    @classmethod
    def of(cls, store: Store, gone: frozenset[str] = frozenset()) -> Needed:
        """As if the containers `gone` did not exist."""
        made = cls()
        with store.db.snapshot():
            for row in store.db.query("SELECT id FROM images"):
                made.users[row["id"]], made._of[row["id"]] = [], ([], [])
            for row in store.db.query("SELECT image, chain_id FROM image_layers"):
                made._of[row["image"]][0].append(row["chain_id"])
                made.layers[row["chain_id"]] = made.layers.get(row["chain_id"], 0) + 1
            for row in store.db.query("SELECT image, digest FROM image_blobs"):
                made._of[row["image"]][1].append(row["digest"])
                made.blobs[row["digest"]] = made.blobs.get(row["digest"], 0) + 1
            for row in store.db.query("SELECT container, chain_id FROM container_layers"):
                if row["container"] not in gone:
                    made.layers[row["chain_id"]] = made.layers.get(row["chain_id"], 0) + 1
            for chain_id in store.build_cache.chains():
                made.layers[chain_id] = made.layers.get(chain_id, 0) + 1
            for row in store.db.query("SELECT id, image_id FROM containers"):
                made.users.setdefault(row["image_id"], []).append(row["id"])
        return made

    def drop(self, image_id: str, disk: Disk) -> int:
        """The image is not needed any more; bytes that only it had."""
        layers, blobs = self._of[image_id]
        return sum(
            sizes.get(name, 0)
            for names, counts, sizes in ((layers, self.layers, disk.layers), (blobs, self.blobs, disk.blobs))
            for name in names
            if _last(counts, name)
        )


def _last(counts: dict[str, int], name: str) -> bool:
    counts[name] = counts.get(name, 0) - 1
    return counts[name] == 0


def leftovers(store: Store, disk: Disk, needed: Needed) -> list[Item]:
    """What the next collection removes in any case: layers and blobs that nothing refers to, downloads that
    nobody has resumed for a day, and what lies in the trash.
    """
    from pyd.store.gc import KEEP_PARTIAL

    paths = store.paths
    items = [
        Item(LEFTOVER, store.snapshots.path(chain_id)[: -len("/fs")], "layer that nothing needs", size)
        for chain_id, size in disk.layers.items()
        if chain_id not in needed.layers
    ]
    items += [
        Item(LEFTOVER, store.content.path(digest), "blob that nothing needs", size)
        for digest, size in disk.blobs.items()
        if digest not in needed.blobs
    ]
    oldest = time.time() - KEEP_PARTIAL
    for path, size in disk.partials.items():
        # what an unpacking that was killed has left is known by nobody; a download can be resumed
        in_snapshots = path.startswith(f"{paths.snapshots}/")
        if in_snapshots or not path.endswith(".partial") or _changed(path) < oldest:
            items.append(Item(LEFTOVER, path, "unfinished download", size))
    if disk.trash:
        items.append(Item(LEFTOVER, paths.trash, "trash", disk.trash))
    return items


def _changed(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:
        return time.time()


def carry_out(engine: Engine, plan: Plan) -> Done:
    """Remove what is planned, if it is not in use meanwhile."""
    from pyd.engine import lifecycle

    verbs: dict[str, Callable[[Item], object]] = {
        CONTAINER: lambda item: lifecycle.remove(engine, item.id),
        NETWORK: lambda item: engine.store.networks.delete(item.id),
        VOLUME: lambda item: engine.store.volumes.delete(item.id),
    }
    removed: list[Item] = []
    for item in plan.items:
        if item.kind in verbs:
            try:
                verbs[item.kind](item)
            except PydError:
                continue  # started, taken into use or removed by somebody meanwhile
            removed.append(item)
    cached = _remove_cache(engine.store, plan)
    done = remove_images(engine.store, plan)
    if cached and not done.items:
        engine.store.gc()
    engine.sweep()
    return Done((*removed, *done.items, *cached), done.lines)


def _remove_cache(store: Store, plan: Plan) -> list[Item]:
    if not plan.cache:
        return []
    from pyd.engine import build_cache

    gone = {(entry.kind, entry.id) for entry in build_cache.remove(store, plan.cache)}
    return [
        item for entry, item in zip(plan.cache, plan.of(CACHE), strict=True) if (entry.kind, entry.id) in gone
    ]


def remove_images(store: Store, plan: Plan) -> Done:
    """The part of a plan that is about images, and the collection that ends it."""
    from pyd.engine.image_remove import remove

    removed = plan.of(LEFTOVER)
    lines: list[str] = []
    for item in plan.of(IMAGE):
        try:
            image = store.images.resolve(item.id)
            if store.images.users(item.id) or (image.references and not plan.is_forced):
                continue  # a container was made from it, or it got a name meanwhile
            lines += remove(store, item.id, force=True, prune=False)
        except PydError:
            continue
        removed.append(item)
    if removed:
        store.gc()
    return Done(tuple(removed), tuple(lines))
