"""A repository of a registry as source and as sink of a copy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pyd.engine.transports.checked import Checked
from pyd.errors import RegistryError
from pyd.oci.descriptor import Descriptor
from pyd.oci.reference import Reference
from pyd.registry.client import Registry
from pyd.registry.push import Target
from pyd.registry.served import Served
from pyd.registry.settings import Settings
from pyd.registry.transport import Transport
from pyd.registry.upload import Sent

if TYPE_CHECKING:
    from pyd.engine.transports import Source


class RegistrySource:
    """Asked directly, not through mirrors: what is copied is what the name says."""

    def __init__(self, reference: Reference, *, tls_verify: bool = True) -> None:
        self._reference = reference
        self._transport = Transport(Settings.load(), tls_verify=tls_verify)
        self._registry = Registry(self._transport, reference.domain)

    def root(self) -> Served:
        return self._registry.manifest(self._reference)

    def manifest(self, entry: Descriptor) -> Served:
        served = self._registry.manifest(self._reference.at(entry.digest))
        if len(served.data) != entry.size:
            raise RegistryError(
                f"manifest {entry.digest} has {len(served.data)} bytes, the index says {entry.size}"
            )
        return served

    def read(self, blob: Descriptor, offset: int) -> Iterator[bytes]:
        return self._registry.blob(self._reference.path, blob, offset)

    def repositories(self, blob: Descriptor, domain: str) -> Sequence[str]:
        return (self._reference.path,) if domain == self._reference.domain else ()

    def stop(self) -> None:
        self._transport.stop()

    def close(self) -> None:
        self._transport.close()


class RegistrySink:
    workers = 5

    def __init__(self, reference: Reference, *, tls_verify: bool = True) -> None:
        self._target = Target(reference, tls_verify=tls_verify)
        self._name = reference.digest or reference.tag or ""

    def send(self, blob: Descriptor, source: Source, sent: Sent) -> str:
        places = source.repositories(blob, self._target.reference.domain)
        return self._target.send(blob, Checked(source, blob), sent, places)

    def put(self, served: Served) -> None:
        self._target.put_manifest(served, served.digest)

    def finish(self, root: Served, source: Source) -> None:
        self.put_root(root)

    def put_root(self, root: Served) -> None:
        """Let the name mean `root`."""
        if self._target.reference.digest not in (None, root.digest):
            raise RegistryError(f"the image is {root.digest}, and cannot be stored as {self._name}")
        self._target.put_manifest(root, self._name)

    def stop(self) -> None:
        self._target.stop()

    def close(self) -> None:
        self._target.close()
