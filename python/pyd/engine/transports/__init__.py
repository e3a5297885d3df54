"""Where an image can be copied from and to, by name as skopeo writes it:

    NAME[:TAG|@DIGEST], docker://NAME...   a registry
    oci:DIR[:NAME]                         an OCI image layout, a directory
    oci-archive:FILE[:NAME]                the same in a tar archive
    docker-archive:FILE[:NAME:TAG]         what `docker save` writes
    store:NAME                             the images of this data-root

A source gives documents and blobs, a sink takes them; nothing between them is unpacked or kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from pyd.errors import InvalidArgument
from pyd.oci.reference import Reference

if TYPE_CHECKING:
    from pyd.oci.descriptor import Descriptor
    from pyd.registry.served import Served
    from pyd.registry.upload import Sent
    from pyd.store import Store

NAMES = ("docker", "oci", "oci-archive", "docker-archive", "store")


class Source(Protocol):
    """`read` and `repositories` are called from several threads."""

    def root(self) -> Served:
        """The manifest or index that the name means."""

    def manifest(self, entry: Descriptor) -> Served:
        """An entry of an index; its bytes have the entry's digest and size."""

    def read(self, blob: Descriptor, offset: int) -> Iterator[bytes]:
        """The bytes of a blob from `offset` on, in chunks of about 1 MiB."""

    def repositories(self, blob: Descriptor, domain: str) -> Sequence[str]:
        """Paths of the repositories of that registry that have the blob: it can be mounted from there."""

    def stop(self) -> None:
        """Let every `read` that waits for bytes fail now."""

    def close(self) -> None: ...


class Sink(Protocol):
    """`send` is called from several threads."""

    workers: int  # how many blobs it takes at a time; 0 = it reads them itself, in `finish`

    def send(self, blob: Descriptor, source: Source, sent: Sent) -> str:
        """Bring the blob there: EXISTS, PUSHED, or the repository that it was mounted from."""

    def put(self, served: Served) -> None:
        """Store a manifest or index that another one names; what it names is there."""

    def finish(self, root: Served, source: Source) -> None:
        """Store the manifest or index that the name is to mean; everything is there and durable then."""

    def stop(self) -> None: ...

    def close(self) -> None: ...


def parse(text: str) -> tuple[str, str]:
    """(transport, rest): "a/b:1" is ("docker", "a/b:1"). Raises InvalidArgument."""
    transport, colon, rest = text.partition(":")
    if text.startswith("docker://"):
        return "docker", text.removeprefix("docker://")
    if not colon or transport not in NAMES or transport == "docker":
        Reference.parse(text)  # a name of an image, or an error in Docker's words
        return "docker", text
    if not rest:
        raise InvalidArgument(f"{text} names nothing", f"{transport}:PATH" if transport != "store" else None)
    return transport, rest


def split_path(rest: str) -> tuple[str, str]:
    """("dir", "name:tag") of "dir:name:tag"."""
    path, _, name = rest.partition(":")
    return path, name


def source(store: Store, text: str, *, tls_verify: bool = True, platform: str = "") -> Source:
    transport, rest = parse(text)
    if transport == "docker":
        from pyd.engine.transports.remote import RegistrySource

        return RegistrySource(Reference.parse(rest).with_default_tag(), tls_verify=tls_verify)
    if transport == "store":
        from pyd.engine.transports.local import StoreSource

        return StoreSource(store, rest)
    path, name = split_path(rest)
    if transport == "oci":
        from pyd.engine.transports.layout import Directory, LayoutSource

        return LayoutSource(Directory(path), name)
    from pyd.engine.transports import archive

    return archive.source(store.paths, transport, path, name)


def sink(store: Store, text: str, *, tls_verify: bool = True) -> Sink:
    transport, rest = parse(text)
    if transport == "docker":
        from pyd.engine.transports.remote import RegistrySink

        return RegistrySink(Reference.parse(rest).with_default_tag(), tls_verify=tls_verify)
    if transport == "store":
        from pyd.engine.transports.local import StoreSink

        return StoreSink(store, Reference.parse(rest).with_default_tag())
    path, name = split_path(rest)
    if transport == "oci":
        from pyd.engine.transports.layout import LayoutSink

        return LayoutSink(path, name)
    from pyd.engine.transports.archive import ArchiveSink

    return ArchiveSink(path, name, docker=transport == "docker-archive")
