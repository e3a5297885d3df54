"""The result of a build as manifests: of each platform, of their attestations, and the index over them.

Nothing of a build is a blob at first. Its layers are named by the tars that their snapshots give (`Form()`,
in the store), or compressed now, for what leaves this machine. Layers of the base are named as its manifest
names them, so that a registry that has them is sent nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pyd.build.annotations import NONE, Annotations
from pyd.build.result import Built, Layer
from pyd.engine.out_layer import OutLayer
from pyd.errors import CorruptData, PydError
from pyd.oci.descriptor import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    as_oci_layer,
)
from pyd.oci.digest import Digest
from pyd.oci.document import MAX_MANIFEST, encode, parse
from pyd.oci.image_config import ImageConfig
from pyd.oci.manifest import Manifest, parse_manifest
from pyd.oci.platform import Platform
from pyd.record import Record, replace
from pyd.registry.served import Served

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.build.attestations import Predicate
    from pyd.store import Store
    from pyd.store.compress import Progress

Tell = Callable[[str, int, int], None]
"""(digest of a layer, bytes done, bytes in all) of work that takes time."""


def silent(what: str, done: int, total: int) -> None:
    """For who need not be told."""


class Form(Record):
    """How layers are named. compression: uncompressed, gzip or zstd; force: also those of the base."""

    compression: str = "uncompressed"
    level: int | None = None
    force: bool = False
    oci: bool = True


class ReadyImage(Record):
    built: Built
    served: Served
    layers: tuple[OutLayer, ...]  # bottom first

    @property
    def entry(self) -> dict[str, Any]:
        """In an index."""
        return {**described(self.served), "platform": _platform(self.built)}


class Ready(Record):
    """All that leaves, but for the bytes of layers. `documents`: manifests, configs, statements by digest."""

    images: tuple[ReadyImage, ...]
    root: Served  # what a name means: the index if there is one, else the manifest
    documents: Mapping[Digest, tuple[str, bytes]]  # (media type, bytes)
    manifests: tuple[Served, ...]  # those that the root names; () when it is one itself

    @property
    def layers(self) -> dict[Digest, OutLayer]:
        """By the digest of the blob."""
        return {layer.blob.digest: layer for image in self.images for layer in image.layers}


def prepare(
    store: Store,
    builts: Sequence[Built],
    form: Form,
    *,
    names: Sequence[str] = (),
    annotations: Annotations = NONE,
    predicates: Mapping[Platform, Sequence[Predicate]] | None = None,
    tell: Tell = silent,
) -> Ready:
    """Several platforms or predicates make an index. The caller keeps the collector away
    (`intake.fetching`): what was compressed lies in the content store, and no row names it.
    """
    predicates = predicates or {}
    indexed = len(builts) > 1 or any(predicates.values())
    if any(predicates.values()) or annotations.entries:
        form = replace(form, oci=True)  # Docker's own manifests know of neither
    if not indexed and (annotations.has("index") or annotations.has("index-descriptor")):
        raise PydError(
            "index annotations not supported for single platform export",
            "annotate the manifest, or build several platforms",
        )
    images = tuple(_image(store, built, form, annotations, tell) for built in builts)
    documents: dict[Digest, tuple[str, bytes]] = {}
    for image in images:
        documents[image.served.digest] = (image.served.media_type, image.served.data)
        documents[image.built.id] = (OCI_CONFIG if form.oci else DOCKER_CONFIG, image.built.config)
    if not indexed:
        return Ready(images, images[0].served, documents, ())
    manifests = [image.served for image in images]
    entries = [_entry(image, annotations) for image in images]
    for image in images:
        made = predicates.get(image.built.platform, ())
        if not made:
            continue
        from pyd.build.attestations import attach

        attached = attach(made, image.served.digest, image.built.platform, names)
        manifests.append(_served(attached.manifest, OCI_MANIFEST))
        entries.append(attached.entry)
        documents[manifests[-1].digest] = (OCI_MANIFEST, attached.manifest)
        documents |= {Digest.of(data): (media_type, data) for media_type, data in attached.blobs}
    media_type = OCI_INDEX if form.oci else DOCKER_LIST
    document = {"schemaVersion": 2, "mediaType": media_type, "manifests": entries}
    if said := annotations.of("index"):
        document["annotations"] = said
    root = _served(encode(document), media_type)
    documents[root.digest] = (media_type, root.data)
    return Ready(images, root, documents, tuple(manifests))


def preferred(builts: Sequence[Built]) -> int:
    """Which of them runs here best; the first where none does."""
    host = Platform.host()
    ranks = [host.rank(built.platform) for built in builts]
    fitting = [(rank, number) for number, rank in enumerate(ranks) if rank is not None]
    return min(fitting)[1] if fitting else 0


def described(served: Served) -> dict[str, Any]:
    """The fields of a descriptor."""
    return {"mediaType": served.media_type, "digest": served.digest, "size": len(served.data)}


def base_layers(store: Store, built: Built) -> tuple[Descriptor, ...]:
    """The layers that came with the base, as its manifest names them, bottom first; () where it is not here
    any more, or not what the image begins with.
    """
    if built.base_manifest is None:
        return ()
    try:
        manifest = parse_manifest(store.content.read(built.base_manifest, MAX_MANIFEST))
        if not isinstance(manifest, Manifest):
            return ()
        diff_ids = ImageConfig.parse(store.content.read(manifest.config.digest, MAX_MANIFEST)).diff_ids
    except PydError:
        return ()
    begins = [layer.diff_id for layer in built.layers[: len(diff_ids)]] == list(diff_ids)
    return manifest.layers if begins and len(manifest.layers) == len(diff_ids) else ()


def _image(store: Store, built: Built, form: Form, annotations: Annotations, tell: Tell) -> ReadyImage:
    base = base_layers(store, built)
    layers = []
    for number, layer in enumerate(built.layers):
        own = as_oci_layer(base[number]) if number < len(base) else None
        blob = _blob(store, layer, own, form, tell)
        layers.append(OutLayer(blob if form.oci else _docker(blob), layer.diff_id, layer.chain_id))
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST if form.oci else DOCKER_MANIFEST,
        "config": {
            "mediaType": OCI_CONFIG if form.oci else DOCKER_CONFIG,
            "digest": built.id,
            "size": len(built.config),
        },
        "layers": [
            {
                "mediaType": layer.blob.media_type,
                "digest": layer.blob.digest,
                "size": layer.blob.size,
            }
            for layer in layers
        ],
    }
    if said := annotations.of("manifest", built.platform):
        document["annotations"] = said
    return ReadyImage(built, _served(encode(document), document["mediaType"]), tuple(layers))


def _blob(store: Store, layer: Layer, own: Descriptor | None, form: Form, tell: Tell) -> Descriptor:
    """`own`: what it is called in the base."""
    # a base that was loaded or imported may be as plain as our own layers
    is_plain = own is None or own.digest == layer.diff_id
    if own is None:
        size = layer.plain_size or _plain_size(store, layer)
        own = Descriptor(OCI_LAYER, layer.diff_id, size)
    if _is(own, form.compression) or not (is_plain or form.force):
        return own
    # for what leaves this machine only
    from pyd.store.compress import compressed, converted

    if is_plain and form.compression == "gzip" and form.level is None:
        from pyd.registry.settings import Settings

        with _told(tell, layer, own.size) as progress:
            return compressed(
                store, own, Settings.load().push_compression_level, progress, chain_id=layer.chain_id
            )
    wanted = "" if form.compression == "uncompressed" else form.compression
    with _told(tell, layer, layer.plain_size) as progress:
        return converted(
            store,
            own,
            layer.diff_id,
            layer.chain_id,
            compression=wanted,
            level=form.level,
            progress=progress,
        )


def _plain_size(store: Store, layer: Layer) -> int:
    from pyd.store.pack import plain_size

    return plain_size(store, layer.diff_id, layer.chain_id)


class _told:
    """Looks at a Progress ten times a second while the work is done."""

    def __init__(self, tell: Tell, layer: Layer, total: int) -> None:
        self._tell = tell
        self._name = str(layer.diff_id)
        self._total = total

    def __enter__(self) -> Progress:
        import threading

        from pyd.store.compress import Progress

        self._progress = Progress(self._total)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="compress-progress", daemon=True)
        self._thread.start()
        return self._progress

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()
        if error[0] is None:
            self._tell(self._name, self._total, self._total)

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            self._tell(self._name, min(self._progress.done, self._total), self._total)


def _is(blob: Descriptor, compression: str) -> bool:
    return blob.media_type.endswith({"uncompressed": "tar", "gzip": "gzip", "zstd": "zstd"}[compression])


def _docker(blob: Descriptor) -> Descriptor:
    """Under the name that it has in Docker's manifests."""
    if not blob.media_type.startswith(OCI_LAYER) or blob.media_type.endswith("zstd"):
        raise CorruptData(f"layer {blob.digest} cannot be in a manifest of Docker's: {blob.media_type}")
    kind = DOCKER_LAYER + blob.media_type.removeprefix(OCI_LAYER).replace("+", ".")
    return Descriptor(kind, blob.digest, blob.size)


def _entry(image: ReadyImage, annotations: Annotations) -> dict[str, Any]:
    said = annotations.of("manifest-descriptor", image.built.platform)
    return {**image.entry, **({"annotations": said} if said else {})}


def _platform(built: Built) -> dict[str, Any]:
    config = parse(built.config, "image config")
    platform = built.platform
    found: dict[str, Any] = {"architecture": platform.architecture, "os": platform.os}
    for key in ("os.version", "os.features"):
        if config.get(key):
            found[key] = config[key]
    if platform.variant:
        found["variant"] = platform.variant
    return found


def _served(data: bytes, media_type: str) -> Served:
    return Served(data, media_type, Digest.of(data))
