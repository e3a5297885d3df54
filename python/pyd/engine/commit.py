"""`commit`: what a container has written becomes a layer, and its settings the defaults of a new image.

The container is frozen while its files are read (unless the caller says no), by a connection to its monitor:
when that ends, however it ends, the container goes on. Unpacking the new layer comes after the thaw.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from pyd.engine.changes import apply
from pyd.engine.image_pull import Watcher
from pyd.errors import Conflict, CorruptData, ImageNotFound, InvalidArgument, PydError
from pyd.oci.descriptor import OCI_CONFIG, OCI_MANIFEST, Descriptor, as_oci_layer
from pyd.oci.digest import Digest
from pyd.oci.document import MAX_MANIFEST
from pyd.oci.manifest import Manifest, parse_manifest
from pyd.oci.platform import Platform
from pyd.oci.reference import Reference
from pyd.runtime import defaults
from pyd.store.fetching import fetching
from pyd.store.images import NewImage
from pyd.store.intake import take_in
from pyd.store.pack import PackedBlob, packed_changes, packed_tree
from pyd.store.records import BlobRecord, now

if TYPE_CHECKING:
    from pyd.engine.engine import Engine
    from pyd.store import ContainerRecord
    from pyd.store.images import Image
    from pyd.store.snapshots import Snapshot

# of Docker's Config what belongs to an image (OCI image spec, config.md)
_KEPT = (
    *("User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal"),
    "Healthcheck",
)


def commit(
    engine: Engine,
    name: str,
    reference: str = "",
    *,
    author: str = "",
    message: str = "",
    changes: Sequence[str] = (),
    pause: bool = True,
) -> Digest:
    """The id of the new image. `changes` are Dockerfile instructions (CMD, ENV, ...).

    Raises ContainerNotFound, InvalidArgument for a bad name or change, Conflict when it is being removed.
    """
    target = Reference.parse(reference).with_default_tag() if reference else None
    if target and target.digest:
        raise InvalidArgument("refusing to create a tag with a digest reference")
    record = engine.settled(name)
    if record.state in ("dead", "removing"):
        raise Conflict(f"You cannot commit container {record.id} which is {record.state}")
    base = _base(engine, record)
    settings = _settings(record, base, changes)
    with fetching(engine.store), _packed(engine, record, pause) as packed:
        return _add(engine, record, base, settings, packed, target, author, message)


@contextmanager
def _packed(engine: Engine, record: ContainerRecord, pause: bool) -> Iterator[PackedBlob]:
    from pyd.engine.start import readable_layers

    store = engine.store
    layers = readable_layers(engine, record)
    # a container on a directory has no image below: all of it is the layer
    whole = bool(record.host["pyd"]["rootfs"])
    with _frozen(engine, record) if pause else nullcontext():
        making = (
            packed_tree(store, layers)
            if whole
            else packed_changes(store, layers[0], layers[1:], ignored=defaults.MOUNT_POINTS)
        )
        packed = making.__enter__()
    try:
        yield packed
    finally:
        making.__exit__(None, None, None)


@contextmanager
def _frozen(engine: Engine, record: ContainerRecord) -> Iterator[None]:
    """Holds the container's lock too: nobody is to unpause, stop or remove it meanwhile."""
    with engine.store.lock(record.id):
        record = engine.settled(record.id, locked=True)
        if record.state != "running":
            yield
            return
        task = engine.task(record)
        try:
            held = task.open("pause", hold=True)
        except Conflict:
            yield  # it has just ended
            return
        try:
            yield
        finally:
            held.close()
            # the monitor does it when it sees the end of the connection: this is to know that it is done
            with suppress(Conflict):
                task.call("resume")


def _base(engine: Engine, record: ContainerRecord) -> Image | None:
    """The image of the container; None for one on a directory."""
    if not record.image_id:
        return None
    try:
        return engine.store.images.resolve(record.image_id)
    except ImageNotFound:
        raise ImageNotFound(
            f"No such image: {record.image_ref}: the image of container {record.name} was removed",
            "pull or load it again, or save the files with `pyd export`",
        ) from None


def _settings(record: ContainerRecord, base: Image | None, changes: Sequence[str]) -> dict[str, Any]:
    """The `config` object of the new image: the container's, changed; what a change empties comes back from
    the container, as Docker has it (moby daemon/commit.go, merge).
    """
    before = base.config.raw.get("config") or {} if base else {}
    own = {key: record.config[key] for key in _KEPT if record.config.get(key)}
    # what pyd fills in for every container was said by nobody
    for key, filled in (("WorkingDir", "/"), ("StopSignal", defaults.STOP_SIGNAL)):
        if own.get(key) == filled and not before.get(key):
            own.pop(key, None)
    if before.get("Healthcheck"):
        own.setdefault("Healthcheck", before["Healthcheck"])
    settings: dict[str, Any] = json.loads(json.dumps(own))
    apply(settings, changes)
    if not settings.get("Entrypoint") and not settings.get("Cmd") and own.get("Cmd"):
        settings["Cmd"] = own["Cmd"]
    return {key: value for key, value in settings.items() if value}


def _add(
    engine: Engine,
    record: ContainerRecord,
    base: Image | None,
    settings: dict[str, Any],
    packed: PackedBlob,
    target: Reference | None,
    author: str,
    message: str,
) -> Digest:
    store = engine.store
    layers = _layers(engine, base)
    diff_ids = list(base.config.diff_ids) if base else []
    if not packed.is_empty:
        layers.append(packed.publish())
        diff_ids.append(packed.diff_id)
    data = encode(_config(record, base, settings, diff_ids, packed.is_empty, author, message))
    manifest = encode(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": Digest.of(data), "size": len(data)},
            "layers": [
                {"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size}
                for layer in layers
            ],
        }
    )
    documents = (
        BlobRecord(store.content.put(data), len(data), OCI_CONFIG),
        BlobRecord(store.content.put(manifest), len(manifest), OCI_MANIFEST),
    )

    def make(snapshots: tuple[Snapshot, ...]) -> NewImage:
        here = (
            BlobRecord(layer.digest, layer.size, layer.media_type)
            for layer in layers
            if store.content.size(layer.digest) == layer.size
        )
        return NewImage(
            id=Digest.of(data),
            manifest=Digest.of(manifest),
            config=data,
            blobs=(*documents, *here),
            snapshots=snapshots,
            references=(target.canonical,) if target else (),
        )

    take_in(store, layers, diff_ids, _Here(), Watcher(), make)
    return Digest.of(data)


def _layers(engine: Engine, base: Image | None) -> list[Descriptor]:
    if base is None:
        return []
    manifest = parse_manifest(engine.store.content.read(base.manifest, MAX_MANIFEST))
    if not isinstance(manifest, Manifest):
        raise CorruptData(f"{base.manifest} in the store is no manifest")
    return [as_oci_layer(layer) for layer in manifest.layers]


def _config(
    record: ContainerRecord,
    base: Image | None,
    settings: dict[str, Any],
    diff_ids: Sequence[Digest],
    is_empty: bool,
    author: str,
    message: str,
) -> dict[str, Any]:
    created = now()
    host = Platform.host()
    before = base.config.raw if base else {"architecture": host.architecture, "os": host.os}
    step = {
        "created": created,
        **({"author": author} if author else {}),
        "created_by": " ".join(record.config.get("Cmd") or ()),
        **({"comment": message} if message else {}),
        **({"empty_layer": True} if is_empty else {}),
    }
    return {
        "created": created,
        **({"author": author} if author else {}),
        **{
            key: before[key]
            for key in ("architecture", "variant", "os", "os.version", "os.features")
            if before.get(key)
        },
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        "history": [*(before.get("history") or ()), step],
    }


def encode(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


class _Here:
    """Every layer is unpacked already, or is in the content store."""

    def read(self, layer: Descriptor, offset: int) -> Iterator[bytes]:
        raise PydError(f"layer {layer.digest} was removed while the container was committed", "try again")

    def stop(self) -> None:
        """Nobody waits."""
