"""`system df`: what the objects take of the disk, and what a prune of each kind would free.

The rows add up to what du(1) says of the data-root, because every byte is counted for one of them. The first
four are Docker's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pyd.engine import build_cache, prune
from pyd.engine.image_views import NONE
from pyd.oci.reference import Reference
from pyd.store.disk import Disk, measure

if TYPE_CHECKING:
    from pyd.engine.build_cache import Entry
    from pyd.engine.engine import Engine
    from pyd.store import ContainerRecord, VolumeRecord
    from pyd.store.images import ImageSummary


@dataclass(frozen=True, slots=True)
class Row:
    """Bytes allocated on disk. `reclaimable`: what `prune` (image prune -a, container prune, volume prune -a)
    frees of it.
    """

    kind: str
    total: int  # how many there are
    active: int  # how many are in use
    size: int
    reclaimable: int


@dataclass(frozen=True, slots=True)
class ImageUse:
    image: ImageSummary
    shared: int  # layers and blobs that other images have too
    unique: int


@dataclass(frozen=True, slots=True)
class ContainerUse:
    record: ContainerRecord
    size: int  # what it wrote, and its directory
    log: int


@dataclass(frozen=True, slots=True)
class VolumeUse:
    record: VolumeRecord
    links: int
    size: int


@dataclass(frozen=True, slots=True)
class Report:
    rows: tuple[Row, ...]
    images: tuple[ImageUse, ...]
    containers: tuple[ContainerUse, ...]
    volumes: tuple[VolumeUse, ...]
    cache: tuple[Entry, ...]
    total: int  # what du(1) says of the data-root
    reclaimable: int  # what `system prune --all --volumes` frees


def report(engine: Engine) -> Report:
    """Measures the whole data-root."""
    disk = measure(engine.config.paths)
    records = tuple(engine.all_settled())
    images = _images(engine, disk)
    containers = tuple(
        ContainerUse(record, disk.containers.get(record.id, 0), disk.logs.get(record.id, 0))
        for record in records
    )
    volumes = tuple(
        VolumeUse(record, len(engine.store.volumes.users(record.name)), disk.volumes.get(record.name, 0))
        for record in engine.store.volumes.list()
    )
    cache = tuple(build_cache.entries(engine.store, disk))
    everything = prune.system(engine, (), everything=True, with_volumes=True, disk=disk)
    return Report(
        rows=_rows(engine, disk, images, containers, volumes, cache),
        images=images,
        containers=containers,
        volumes=volumes,
        cache=cache,
        total=disk.total,
        reclaimable=everything.bytes,
    )


def _images(engine: Engine, disk: Disk) -> tuple[ImageUse, ...]:
    owners: dict[str, int] = {}
    parts: dict[str, list[str]] = {}
    # the same digest may name a plain layer and its blob: they are two things on disk
    for table, column, kind in (("image_layers", "chain_id", "layer"), ("image_blobs", "digest", "blob")):
        for row in engine.store.db.query(f"SELECT DISTINCT image, {column} AS name FROM {table}"):  # noqa: S608 names of ours
            key = f"{kind} {row['name']}"
            owners[key] = owners.get(key, 0) + 1
            parts.setdefault(row["image"], []).append(key)
    sizes = {f"layer {name}": size for name, size in disk.layers.items()}
    sizes |= {f"blob {name}": size for name, size in disk.blobs.items()}
    found = []
    for image in engine.store.images.list():
        shared = sum(sizes.get(key, 0) for key in parts.get(image.id, ()) if owners[key] > 1)
        unique = sum(sizes.get(key, 0) for key in parts.get(image.id, ()) if owners[key] == 1)
        found.append(ImageUse(image, shared, unique))
    return tuple(found)


def _rows(
    engine: Engine,
    disk: Disk,
    images: tuple[ImageUse, ...],
    containers: tuple[ContainerUse, ...],
    volumes: tuple[VolumeUse, ...],
    cache: tuple[Entry, ...],
) -> tuple[Row, ...]:
    needed = prune.Needed.of(engine.store)
    # a layer that an image or a container has too is counted for the images
    cached = sum(entry.own for entry in cache)
    layers_of_builds = sum(entry.own for entry in cache if entry.layer)
    garbage = [item.id for item in prune.leftovers(engine.store, disk, needed)]
    unused = [use.image.id for use in images if not use.image.containers]
    for image_id in unused:
        needed.drop(image_id, disk)
    # whatever is needed no more now, or never was
    layers = sum(size for name, size in disk.layers.items() if not needed.layers.get(name))
    blobs = sum(size for name, size in disk.blobs.items() if not needed.blobs.get(name))
    stopped = [use for use in containers if use.record.state not in ("running", "paused")]
    logs = [use for use in containers if use.log]
    used = [use for use in volumes if use.links]
    partials = sum(size for path, size in disk.partials.items() if path in garbage)
    return (
        Row(
            "Images",
            len(images),
            len(images) - len(unused),
            sum(disk.layers.values()) - layers_of_builds,
            layers,
        ),
        Row(
            "Containers",
            len(containers),
            len(containers) - len(stopped),
            sum(disk.containers.values()),
            sum(use.size for use in stopped),
        ),
        Row(
            "Local Volumes",
            len(volumes),
            len(used),
            sum(disk.volumes.values()),
            sum(use.size for use in volumes if not use.links),
        ),
        Row(
            "Build Cache",
            len(cache),
            sum(entry.is_used for entry in cache),
            cached,
            sum(entry.own for entry in cache if not entry.is_used),
        ),
        Row(
            "Image Blobs",
            len(disk.blobs),
            sum(1 for name in disk.blobs if needed.blobs.get(name)),
            sum(disk.blobs.values()),
            blobs,
        ),
        Row(
            "Container Logs",
            len(logs),
            sum(1 for use in logs if use not in stopped),
            sum(disk.logs.values()),
            sum(use.log for use in stopped),
        ),
        Row("Downloads", len(disk.partials), 0, sum(disk.partials.values()), partials),
        Row("Trash", 0, 0, disk.trash, disk.trash),
        Row("Database", 1, 1, disk.database, 0),
        Row("Registry", 1 if disk.registry else 0, 1 if disk.registry else 0, disk.registry, 0),
        Row("Other", 0, 0, disk.other, 0),
    )


def name_of(image: ImageSummary) -> tuple[str, str]:
    """(repository, tag), <none> where there is none."""
    for key in (*image.references, *image.digests):
        reference = Reference.parse(key)
        return reference.familiar_repository, reference.tag or NONE
    return NONE, NONE


def cache_document(entry: Entry) -> dict[str, Any]:
    """An entry of the build cache, as the Engine API names its fields; times RFC 3339."""
    return {
        "ID": entry.id,
        "Parents": [entry.parent] if entry.parent else [],
        "Type": entry.kind,
        "Description": entry.description,
        "InUse": entry.is_used,
        "Shared": entry.is_shared,
        "Mutable": entry.is_mutable,
        "Size": entry.size,
        "CreatedAt": _time(entry.created),
        "LastUsedAt": _time(entry.used),
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def document(found: Report) -> dict[str, Any]:
    """All of it as one JSON object; sizes in bytes."""
    return {
        "Total": found.total,
        "Reclaimable": found.reclaimable,
        "Rows": [
            {
                "Type": row.kind,
                "TotalCount": row.total,
                "Active": row.active,
                "Size": row.size,
                "Reclaimable": row.reclaimable,
            }
            for row in found.rows
        ],
        "Images": [
            {
                "ID": use.image.id,
                "RepoTags": [Reference.parse(name).familiar for name in use.image.references],
                "Created": use.image.created,
                "Size": use.shared + use.unique,
                "SharedSize": use.shared,
                "UniqueSize": use.unique,
                "Containers": use.image.containers,
            }
            for use in found.images
        ],
        "Containers": [
            {
                "ID": use.record.id,
                "Name": use.record.name,
                "Image": use.record.image_ref,
                "State": use.record.state,
                "Size": use.size,
                "LogSize": use.log,
            }
            for use in found.containers
        ],
        "Volumes": [{"Name": use.record.name, "Links": use.links, "Size": use.size} for use in found.volumes],
        "BuildCache": [cache_document(entry) for entry in found.cache],
    }
