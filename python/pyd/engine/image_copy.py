"""`image copy`: an image from one place to another without unpacking it, and without keeping it here."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from pyd.engine import transports
from pyd.engine.image_pull import wanted_platform
from pyd.engine.transports import Sink, Source
from pyd.errors import Cancelled, InvalidArgument, RegistryError
from pyd.oci.descriptor import Descriptor
from pyd.oci.manifest import Index, Manifest, parse_manifest
from pyd.record import Record, replace
from pyd.registry.push import EXISTS, PUSHED
from pyd.registry.upload import Sent

if TYPE_CHECKING:
    from pyd.oci.digest import Digest
    from pyd.registry.served import Served
    from pyd.store import Store

_MAX_MANIFESTS = 1000  # of one index, nested ones included


class CopyWatcher:
    """Who is told how a copy gets on; does nothing. Methods with a blob are called from several threads."""

    def begins(self, blobs: Sequence[Descriptor]) -> None: ...

    def copies(self, blob: Descriptor, sent: Sent) -> None: ...

    def ends_blob(self, blob: Descriptor, outcome: str) -> None: ...

    def ends(self) -> None: ...


class Copied(Record):
    digest: Digest  # of what the destination's name means now
    media_type: str
    size: int


def copy(
    store: Store,
    source: str,
    destination: str,
    *,
    platform: str = "",
    everything: bool = False,
    source_tls_verify: bool = True,
    destination_tls_verify: bool = True,
    watcher: CopyWatcher | None = None,
) -> Copied:
    """Copy bit for bit. Of an index, `everything`, or the manifest of `platform` (default: this host's)."""
    if everything and platform:
        raise InvalidArgument("--all and --platform exclude each other")
    watcher = watcher or CopyWatcher()
    given = transports.source(store, source, tls_verify=source_tls_verify)
    try:
        taking = transports.sink(store, destination, tls_verify=destination_tls_verify)
        try:
            root = given.root()
            inner, root = _documents(given, root, platform, everything)
            if taking.workers:
                send_blobs(given, taking, [manifest for _, manifest in inner], watcher)
                for served, _ in inner[:-1]:
                    taking.put(served)
            taking.finish(root, given)
        finally:
            watcher.ends()
            taking.close()
    finally:
        given.close()
    return Copied(root.digest, root.media_type, len(root.data))


def _documents(
    source: Source, root: Served, platform: str, everything: bool
) -> tuple[list[tuple[Served, Manifest | Index]], Served]:
    """(all manifests and indexes, what is named before what names it; the last of them)"""
    root, document = _read(root)
    if isinstance(document, Index) and not everything:
        root, document = _read(source.manifest(document.choose(wanted_platform(platform))))
        if isinstance(document, Index):
            raise RegistryError(f"manifest {root.digest} is an index again", "copy it with --all")
    found: dict[str, tuple[Served, Manifest | Index]] = {}

    def add(served: Served, document: Manifest | Index, depth: int) -> None:
        if isinstance(document, Index):
            for entry in document.manifests:
                if entry.digest not in found:
                    if depth > 2 or len(found) > _MAX_MANIFESTS:
                        raise RegistryError("the index holds too many manifests, or indexes in indexes")
                    add(*_read(source.manifest(entry)), depth + 1)
        found[served.digest] = served, document

    add(root, document, 0)
    return list(found.values()), root


def _read(served: Served) -> tuple[Served, Manifest | Index]:
    """The document, and its bytes under the media type that it is of: a Content-Type may say more or less."""
    document = parse_manifest(served.data, served.media_type)
    return replace(served, media_type=document.media_type), document


def send_blobs(
    source: Source, sink: Sink, documents: Sequence[Manifest | Index], watcher: CopyWatcher
) -> None:
    """All blobs of the manifests, several at a time."""
    blobs = {
        blob.digest: blob
        for document in documents
        if isinstance(document, Manifest)
        for blob in document.blobs
    }
    watcher.begins(list(blobs.values()))
    stopped = False

    def one(blob: Descriptor) -> None:
        if stopped:
            raise Cancelled("cancelled")
        sent = Sent(blob.size)
        watcher.copies(blob, sent)
        watcher.ends_blob(blob, sink.send(blob, source, sent))

    pool = ThreadPoolExecutor(sink.workers, "copy")
    try:
        jobs: list[Future[None]] = [pool.submit(one, blob) for blob in blobs.values()]
        for job in wait(jobs, return_when=FIRST_EXCEPTION).done:
            job.result()
    except BaseException:
        stopped = True
        source.stop()
        sink.stop()
        # a thread that waits for a registry which does not read comes back after its time-out
        pool.shutdown(wait=sink.workers < 5, cancel_futures=True)
        raise
    pool.shutdown()


__all__ = ["EXISTS", "PUSHED", "Copied", "CopyWatcher", "Descriptor", "Sent", "copy"]
