"""Descriptors (OCI image spec, descriptor.md) and the media types that pyd knows."""

from __future__ import annotations

from pyd.errors import CorruptData, NotSupported
from pyd.oci.digest import Digest
from pyd.oci.document import Fields, shown
from pyd.oci.platform import Platform
from pyd.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

INDEXES = (OCI_INDEX, DOCKER_LIST)
MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)

_OCI_FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"
_DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar"
_LAYERS = frozenset(
    base + suffix
    for base, suffixes in {
        OCI_LAYER: ("", "+gzip", "+zstd"),
        _OCI_FOREIGN: ("", "+gzip", "+zstd"),
        DOCKER_LAYER: ("", ".gzip", ".zstd"),
        _DOCKER_FOREIGN: ("", ".gzip"),
    }.items()
    for suffix in suffixes
)
_MAX_SIZE = 1 << 50  # bytes: beyond any disk, and small enough for every counter


def _oci_type(media_type: str) -> str:
    for docker, oci in ((DOCKER_LAYER, OCI_LAYER), (_DOCKER_FOREIGN, _OCI_FOREIGN)):
        if media_type.startswith(docker):
            return oci + media_type.removeprefix(docker).replace(".", "+")
    return media_type


class Descriptor(Record):
    """Media type, digest and size of bytes that are elsewhere; in an index, also the platform."""

    media_type: str
    digest: Digest
    size: int  # bytes, as stored or sent
    platform: Platform | None = None
    annotations: tuple[tuple[str, str], ...] = ()
    urls: tuple[str, ...] = ()  # where else the bytes are said to be; never followed

    @classmethod
    def of(cls, document: Any, what: str) -> Descriptor:
        doc = Fields(document, what)
        size = doc.number("size", -1)
        if not 0 <= size <= _MAX_SIZE:
            raise CorruptData(f"{what}: size is missing or absurd")
        platform = None
        if "platform" in doc:
            fields = doc.fields("platform")
            platform = Platform.of(fields.text("os"), fields.text("architecture"), fields.text("variant"))
        return cls(
            media_type=doc.need_text("mediaType"),
            digest=Digest.parse(doc.need_text("digest")),
            size=size,
            platform=platform,
            annotations=tuple(doc.text_map("annotations").items()),
            urls=tuple(doc.texts("urls")),
        )

    @property
    def is_foreign(self) -> bool:
        """Whether its owner lets it be fetched from elsewhere only (image-spec, "Non-Distributable Layers").

        `urls` are never followed: they would let an image choose whom the host talks to (CVE-2020-15157).
        """
        return bool(self.urls) or self.media_type.startswith((_OCI_FOREIGN, _DOCKER_FOREIGN))

    def check_layer(self) -> None:
        """Raises NotSupported for what is not a layer of a Linux image."""
        if self.media_type not in _LAYERS:
            raise NotSupported(
                f"unsupported layer media type {shown(self.media_type)}",
                "this is not a container image, or an encrypted one",
            )


def as_oci_layer(layer: Descriptor) -> Descriptor:
    """The same blob with the name that an OCI manifest has for it."""
    return Descriptor(_oci_type(layer.media_type), layer.digest, layer.size)
