"""Manifests and indexes (OCI image spec, manifest.md and image-index.md; Docker's v2 schema 2 and manifest
list).

A document that is both, or whose mediaType differs from the Content-Type it came with, is refused: two
readers would see two different images under one digest (CVE-2021-41190).
"""

from __future__ import annotations

from pyd.errors import CorruptData, NotFound, NotSupported
from pyd.oci.descriptor import (
    DOCKER_CONFIG,
    INDEXES,
    MANIFESTS,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
)
from pyd.oci.document import Fields, parse, shown
from pyd.oci.image_config import MAX_LAYERS
from pyd.oci.platform import Platform
from pyd.record import Record

_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1"


class Manifest(Record):
    """One image for one platform: its config and its layers, bottom first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        return (self.config, *self.layers)

    def check_image(self) -> None:
        """Raises NotSupported for what is stored like an image but is none: a Helm chart, a signature."""
        if self.config.media_type not in (OCI_CONFIG, DOCKER_CONFIG):
            raise NotSupported(
                f"this is not a container image: its config is {shown(self.config.media_type)}"
            )
        for layer in self.layers:
            layer.check_layer()


class Index(Record):
    """One name for several manifests."""

    media_type: str
    manifests: tuple[Descriptor, ...]

    def choose(self, platform: Platform) -> Descriptor:
        """The manifest that suits best, the first of equals. Raises NotFound."""
        best: tuple[int, Descriptor] | None = None
        for entry in self.manifests:
            if entry.media_type not in MANIFESTS or entry.platform is None:
                continue  # nested indexes and artifacts (attestations say "unknown/unknown")
            rank = platform.rank(entry.platform)
            if rank is not None and (best is None or rank < best[0]):
                best = rank, entry
        if best is None and len(self.manifests) == 1 and self.manifests[0].platform is None:
            return self.manifests[0]
        if best is None:
            offered = ", ".join(sorted({str(entry.platform) for entry in self.manifests if entry.platform}))
            raise NotFound(
                f"no matching manifest for {platform} in the manifest list entries",
                f"it is there for: {offered[:500]}" if offered else None,
            )
        return best[1]


def parse_manifest(data: bytes, content_type: str = "") -> Manifest | Index:
    """The document in `data`; `content_type` as the registry or the descriptor says, "" when unknown.

    Raises CorruptData, or NotSupported for schema 1.
    """
    document = parse(data, "manifest")
    doc = Fields(document, "manifest")
    given = content_type.partition(";")[0].strip().lower()
    if given.startswith(_SCHEMA_1) or doc.number("schemaVersion") == 1:
        raise NotSupported(
            "image manifest schema 1 is not supported", "push the image again with a newer tool"
        )
    if doc.number("schemaVersion") != 2:
        raise CorruptData("manifest: schemaVersion is not 2")
    if "manifests" in doc and ("layers" in doc or "config" in doc):
        raise CorruptData("manifest: it claims to be a manifest and an index at the same time")
    stated = doc.text("mediaType")
    known = given in MANIFESTS or given in INDEXES
    if known and stated and stated != given:
        raise CorruptData(
            f"manifest: its mediaType {shown(stated)} differs from the Content-Type {shown(given)}"
        )
    is_index = "manifests" in doc
    media_type = stated or (given if known else OCI_INDEX if is_index else OCI_MANIFEST)
    if media_type not in (INDEXES if is_index else MANIFESTS):
        raise CorruptData(f"manifest: media type {shown(media_type)} does not fit the content")
    if is_index:
        items = doc.items("manifests")
        return Index(media_type, tuple(Descriptor.of(item, "manifest list entry") for item in items))
    layers = doc.items("layers")
    if len(layers) > MAX_LAYERS:
        raise CorruptData(f"manifest: {len(layers)} layers, at most {MAX_LAYERS} can be mounted")
    if "config" not in doc:
        raise CorruptData("manifest: config is missing")
    return Manifest(
        media_type=media_type,
        config=Descriptor.of(document["config"], "manifest: config"),
        layers=tuple(Descriptor.of(item, "manifest: layer") for item in layers),
    )
