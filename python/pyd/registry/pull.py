"""An image at its registry: which manifest a reference means, and where its blobs come from.

Docker Hub's mirrors are asked first, without the credentials for the Hub; what they do not have comes from
the Hub.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pyd.errors import Cancelled, CorruptData, NotSupported, PydError, RegistryError
from pyd.oci.descriptor import Descriptor
from pyd.oci.digest import Digest
from pyd.oci.document import MAX_MANIFEST
from pyd.oci.image_config import ImageConfig
from pyd.oci.manifest import Index, Manifest, parse_manifest
from pyd.oci.platform import Platform
from pyd.oci.reference import HUB, Reference
from pyd.record import Record
from pyd.registry.client import Registry
from pyd.registry.fetch import SPARE, fetch
from pyd.registry.served import Served
from pyd.registry.settings import Settings
from pyd.registry.transport import Transport

if TYPE_CHECKING:
    from pyd.registry.sink import Sink


class Resolved(Record):
    """What a reference means on one platform."""

    digest: Digest  # of the index if there is one, else of the manifest: what the tag points at
    manifest: Manifest
    served: tuple[Served, ...]  # the index and the manifest, as they came


class Repository:
    """The registries that may have an image. It is the `Source` of its layers. Close it."""

    def __init__(self, reference: Reference, *, tls_verify: bool = True) -> None:
        self._settings = settings = Settings.load()
        self._spare = threading.Semaphore(SPARE)
        self._transport = Transport(settings, tls_verify=tls_verify)
        self._reference = reference
        self._where = [*(settings.mirrors if reference.domain == HUB else ()), None]
        self._found: list[Registry] = []

    def resolve(self, platform: Platform, reference: Reference | None = None) -> Resolved:
        """Ask for the manifest, and for the one of `platform` when it is an index.

        `reference`: another one of the same repository.
        """
        first = self._ask(reference or self._reference)
        document = _parse(first)
        served = [first]
        if not isinstance(document, Manifest):
            entry = document.choose(platform)
            second = self._ask(self._reference.at(entry.digest))
            if len(second.data) != entry.size:
                raise RegistryError(
                    f"manifest {entry.digest} has {len(second.data)} bytes, the index says {entry.size}"
                )
            served.append(second)
            document = _parse(second)
            if not isinstance(document, Manifest):
                raise RegistryError(f"manifest {entry.digest} is an index again")
        document.check_image()
        for layer in document.layers:
            if layer.is_foreign and not self._settings.foreign_layers:
                raise NotSupported(
                    f"layer {layer.digest} is a foreign one, whose owner does not allow its distribution",
                    "if you may use it: set foreign-layers to true in the configuration file; it then comes "
                    "from the registry itself, never from an address in the manifest",
                )
        return Resolved(first.digest, document, tuple(served))

    def tags(self) -> tuple[str, ...]:
        """All tags of the repository. The registry itself is asked: a mirror may have a few of them."""
        return Registry(self._transport, self._reference.domain).tags(self._reference.path)

    def config(self, manifest: Manifest) -> tuple[bytes, ImageConfig]:
        """The image config, verified."""
        descriptor = manifest.config
        if descriptor.size > MAX_MANIFEST:
            raise RegistryError(f"the image config is larger than {MAX_MANIFEST} bytes")
        data = b"".join(self.read(descriptor, 0))
        if Digest.of(data) != descriptor.digest:
            raise RegistryError(f"the image config does not match its digest {descriptor.digest}")
        return data, ImageConfig.parse(data)

    def read(self, blob: Descriptor, offset: int) -> Iterator[bytes]:
        """The bytes of a blob from `offset` on, from the registry that had the manifest, else from the
        others.
        """
        for registry in self._found[:-1]:
            try:
                for chunk in registry.blob(self._reference.path, blob, offset):
                    offset += len(chunk)
                    yield chunk
                return
            except Cancelled:
                raise
            except PydError:
                continue  # a mirror that fails is no reason to fail
        yield from self._found[-1].blob(self._reference.path, blob, offset)

    def fetch(self, layer: Descriptor, ingest: Sink) -> None:
        """Put what is missing of a layer into `ingest`."""
        fetch(self._found, self._reference.path, layer, ingest, self._spare)

    @property
    def settings(self) -> Settings:
        return self._settings

    def stop(self) -> None:
        self._transport.stop()

    def close(self) -> None:
        self._transport.close()

    def _ask(self, reference: Reference) -> Served:
        """From the first registry that has it; the others are not asked again before it."""
        if self._found:
            for registry in self._found[:-1]:
                try:
                    return registry.manifest(reference)
                except Cancelled:
                    raise
                except PydError:
                    continue
            return self._found[-1].manifest(reference)
        while self._where:
            mirror = self._where.pop(0)
            if mirror is None:
                self._found = [Registry(self._transport, reference.domain)]
                return self._found[0].manifest(reference)
            try:
                registry = Registry(self._transport, urlsplit(mirror).netloc, mirror)
                served = registry.manifest(reference)
            except Cancelled:
                raise
            except PydError:
                continue
            self._found = [registry, Registry(self._transport, reference.domain)]
            return served
        raise AssertionError("unreachable")


def _parse(served: Served) -> Manifest | Index:
    try:
        return parse_manifest(served.data, served.media_type)
    except CorruptData as error:
        raise RegistryError(f"the registry serves a bad manifest: {error}") from error
