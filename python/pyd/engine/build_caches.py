"""Caches of builds from elsewhere and to elsewhere: `--cache-from`, `--cache-to`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pyd.build import cache_mounts
from pyd.build.cache_document import (
    CONFIG,
    INLINE,
    CachedLayer,
    CachedMount,
    CacheDocument,
    CachedStep,
    encode,
    manifest_of,
)
from pyd.build.cache_options import CacheSource, CacheTarget
from pyd.build.remote_cache import RemoteCache
from pyd.build.result import Built
from pyd.engine.build_image import Tell, silent
from pyd.engine.build_source import BuildSource
from pyd.engine.image_copy import CopyWatcher, send_blobs
from pyd.engine.out_layer import OutLayer
from pyd.engine.transports.layout import Directory, LayoutSink, LayoutSource
from pyd.engine.transports.remote import RegistrySink, RegistrySource
from pyd.errors import Cancelled, InvalidArgument, PydError
from pyd.oci.descriptor import MANIFESTS, OCI_LAYER, OCI_MANIFEST, Descriptor
from pyd.oci.digest import Digest
from pyd.oci.document import MAX_MANIFEST
from pyd.oci.manifest import Index, Manifest, parse_manifest
from pyd.oci.reference import Reference
from pyd.record import Record, replace
from pyd.registry.served import Served
from pyd.registry.settings import Settings
from pyd.store.build_cache import BuildLayer, BuildStep
from pyd.store.compress import Progress, compressed, converted
from pyd.store.locks import acquire
from pyd.store.pack import packed_changes

if TYPE_CHECKING:
    from pyd.engine.transports import Sink, Source
    from pyd.store import Store

_MAX_IMAGES = 20  # of an index with inline caches


def opened(store: Store, sources: Sequence[CacheSource], warn: Callable[[str], None]) -> list[RemoteCache]:
    """Those that can be had: one that is not there, or no cache, is a warning. Close each.

    An index of images stands for the inline caches of all of them.
    """
    found: list[RemoteCache] = []
    for one in sources:
        try:
            found += _open(store, one)
        except Cancelled:
            raise
        except PydError as error:
            warn(f"failed to import cache from {one}: {error.message}")
    return found


def _open(store: Store, one: CacheSource) -> list[RemoteCache]:
    source: Source
    if one.type == "registry":
        source = RegistrySource(Reference.parse(one.place), tls_verify=not one.insecure)
    else:
        source = LayoutSource(Directory(one.place), one.name)
    try:
        found = [
            cache
            for served in _manifests(source)
            for cache in [RemoteCache.read(store, source, served, str(one))]
            if cache.document.steps
        ]
        if not found:
            raise InvalidArgument("it has no build cache", "build it with --cache-to")
    except BaseException:
        source.close()
        raise
    return found


def _manifests(source: Source) -> list[Served]:
    root = source.root()
    if b'"manifests"' not in root.data:
        return [root]
    index = parse_manifest(root.data, root.media_type)
    if not isinstance(index, Index):
        return [root]
    entries = [
        entry
        for entry in index.manifests
        if entry.media_type in MANIFESTS and entry.platform is not None and entry.platform.os != "unknown"
    ]
    return [source.manifest(entry) for entry in entries[:_MAX_IMAGES]]


class CacheJob(Record, kw_only=True):
    """What a build has used, by key, and what it gives."""

    store: Store
    steps: Mapping[str, BuildStep]
    builts: Sequence[Built]
    warn: Callable[[str], None] = lambda text: None
    tell: Tell = silent


def export(job: CacheJob, target: CacheTarget) -> Digest | None:
    """Write the cache; its manifest's digest. None if that failed and does not matter (ignore-error).

    The caller holds `intake.fetching`, and the build has ended.
    """
    try:
        return _export(job, target)
    except Cancelled:
        raise
    except PydError as error:
        if not target.ignore_error:
            raise
        job.warn(f"failed to export cache to {target.place}: {error.message}")
        return None


def with_inline(builts: Sequence[Built], steps: Mapping[str, BuildStep]) -> list[Built]:
    """The same images with the steps that led to their layers in their configs; so they get other ids."""
    return [replace(built, config=_inlined(built, steps)) for built in builts]


def _inlined(built: Built, steps: Mapping[str, BuildStep]) -> bytes:
    numbers = {layer.chain_id: number for number, layer in enumerate(built.layers)}
    document = CacheDocument(
        tuple(CachedLayer(layer.diff_id, layer.plain_size) for layer in built.layers),
        tuple(
            CachedStep(step.key, numbers[step.layer.chain_id] if step.layer else None, step.value)
            for step in _chosen(steps, [built], "min")
        ),
    )
    config: dict[str, Any] = json.loads(built.config)
    config[INLINE] = document.config()
    return json.dumps(config, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()


def _chosen(steps: Mapping[str, BuildStep], builts: Sequence[Built], mode: str) -> list[BuildStep]:
    """By key: the same build gives the same cache."""
    chains = {layer.chain_id for built in builts for layer in built.layers} | {""}
    return [
        step
        for _, step in sorted(steps.items())
        if mode == "max"
        or (step.layer.chain_id if step.layer else step.structure.get("parent", "")) in chains
    ]


def _export(job: CacheJob, target: CacheTarget) -> Digest:
    layers: dict[Digest, CachedLayer] = {}  # by diffID
    sent: dict[Digest, OutLayer] = {}
    steps = _chosen(job.steps, job.builts, target.mode)
    for layer in (step.layer for step in steps if step.layer):
        if layer.diff_id not in layers:
            blob = _blob(job, layer, target)
            layers[layer.diff_id] = CachedLayer(layer.diff_id, layer.plain_size, blob)
            sent[blob.digest] = OutLayer(blob, layer.diff_id, layer.chain_id)
    mounts = list(_mounts(job)) if target.mounts else []
    every = [*layers.values(), *(kept for _, kept in mounts)]
    for _, kept in mounts:
        assert kept.blob is not None
        sent[kept.blob.digest] = OutLayer(kept.blob, kept.diff_id, None)
    numbers = {diff_id: number for number, diff_id in enumerate(layers)}
    document = CacheDocument(
        tuple(every),
        tuple(
            CachedStep(step.key, numbers[step.layer.diff_id] if step.layer else None, step.value)
            for step in steps
        ),
        tuple(CachedMount(name, len(layers) + number) for number, (name, _) in enumerate(mounts)),
    )
    config = encode(document.config())
    blobs = [one.blob for one in every if one.blob is not None]
    data = manifest_of(config, blobs)
    if len(data) > MAX_MANIFEST:
        raise InvalidArgument(
            f"the cache has {len(blobs)} layers, more than registries take in one manifest", "mode=min"
        )
    root = Served(data, OCI_MANIFEST, Digest.of(data))
    head = Descriptor(CONFIG, Digest.of(config), len(config))
    manifest = Manifest(OCI_MANIFEST, head, tuple(blobs))
    _send(job, target, root, manifest, {head.digest: (CONFIG, config)}, sent)
    return root.digest


def _send(
    job: CacheJob,
    target: CacheTarget,
    root: Served,
    manifest: Manifest,
    documents: Mapping[Digest, tuple[str, bytes]],
    layers: Mapping[Digest, OutLayer],
) -> None:
    source = BuildSource(job.store, root, documents, layers)
    sink: Sink
    if target.type == "registry":
        sink = RegistrySink(Reference.parse(target.place), tls_verify=not target.insecure)
    else:
        sink = LayoutSink(target.place, target.tag)
    try:
        send_blobs(source, sink, [manifest], CopyWatcher())
        sink.finish(root, source)
    finally:
        sink.close()
        source.close()


def _blob(job: CacheJob, layer: BuildLayer, target: CacheTarget) -> Descriptor:
    plain = Descriptor(OCI_LAYER, layer.diff_id, layer.plain_size)
    if target.compression == "uncompressed":
        return plain
    progress = Progress(layer.plain_size)
    job.tell(layer.diff_id, 0, layer.plain_size)
    if target.compression == "gzip" and target.level is None:
        level = Settings.load().push_compression_level
        blob = compressed(job.store, plain, level, progress, chain_id=layer.chain_id)
    else:
        blob = converted(
            job.store,
            plain,
            layer.diff_id,
            layer.chain_id,
            compression=target.compression,
            level=target.level,
            progress=progress,
        )
    job.tell(layer.diff_id, layer.plain_size, layer.plain_size)
    return blob


def _mounts(job: CacheJob) -> Iterable[tuple[str, CachedLayer]]:
    """The directories of the cache mounts that its steps have, each while no build has it alone."""
    names = {
        cache_mounts.name_of(mount["id"], mount.get("base", ""))
        for step in job.steps.values()
        for mount in step.structure.get("mounts", ())
        if mount.get("type") == "cache"
    }
    for name in sorted(names):
        directory = f"{cache_mounts.path_of(job.store, name)}/data"
        fd = acquire(cache_mounts.lock_of(job.store, name), shared=True)
        try:
            if not os.path.isdir(directory):
                continue
            with packed_changes(job.store, directory, (), compression="zstd") as packed:
                blob = packed.publish()
                yield name, CachedLayer(packed.diff_id, packed.plain_size, blob)
        except Cancelled:
            raise
        except PydError as error:
            # a name that no layer can have, say: without it the next build begins with an empty directory
            job.warn(f"cache mount {name} is not in the cache: {error.message}")
        finally:
            os.close(fd)
