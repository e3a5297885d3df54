"""`push`: an image from the store to its registry."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pyd.engine.out_layer import OutLayer
from pyd.engine.outgoing import Outgoing, outgoing, read_blob
from pyd.errors import Cancelled, ImageNotFound, InvalidArgument
from pyd.oci.descriptor import Descriptor
from pyd.oci.document import MAX_MANIFEST
from pyd.oci.reference import Reference
from pyd.registry.push import EXISTS, PUSHED, Target
from pyd.registry.settings import Settings
from pyd.registry.upload import Sent
from pyd.store import origins
from pyd.store.compress import Progress, compressed, repacked
from pyd.store.fetching import fetching
from pyd.store.pack import gone

if TYPE_CHECKING:
    from pyd.oci.digest import Digest
    from pyd.registry.served import Served
    from pyd.store import Store

WORKERS = 5  # Docker's max-concurrent-uploads


class PushWatcher:
    """Who is told how a push gets on; does nothing. Methods with a layer are called from several threads."""

    def begins(self, repository: str, layers: Sequence[OutLayer]) -> None: ...

    def waits(self, layer: OutLayer) -> None: ...

    def compresses(self, layer: OutLayer, progress: Progress) -> None:
        """`progress.done` of `progress.total` bytes have been read; both may be read at any time."""

    def pushes(self, layer: OutLayer, sent: Sent) -> None:
        """`sent.done` of `sent.total` bytes have gone."""

    def ends_layer(self, layer: OutLayer, outcome: str) -> None:
        """`outcome`: EXISTS, PUSHED, or the repository that it was mounted from."""

    def tagged(self, pushed: Pushed) -> None: ...

    def ends(self) -> None:
        """Called last, after success and failure."""


@dataclass(frozen=True, slots=True)
class Pushed:
    reference: Reference
    digest: Digest  # what the tag points at now: an index or a manifest
    size: int  # bytes of that
    stripped: Digest | None  # the index that was not pushed, because not all of it is here


def push(
    store: Store,
    name: str,
    *,
    all_tags: bool = False,
    platform: str = "",
    tls_verify: bool = True,
    watcher: PushWatcher | None = None,
) -> list[Pushed]:
    """Push one tag, or all tags of a repository. What the registry has is not sent again."""
    reference = Reference.parse(name)
    if reference.digest:
        raise InvalidArgument("cannot push a digest reference")
    if all_tags and reference.tag:
        raise InvalidArgument("tag can't be used with --all-tags/-a")
    names = _tags(store, reference) if all_tags else [reference.with_default_tag()]
    images = [(one, _image(store, one)) for one in names]
    watcher = watcher or PushWatcher()
    pushed = []
    target = Target(names[0], tls_verify=tls_verify)
    try:
        # the collector waits: nothing that is being sent may go
        with fetching(store):
            for one, image_id in images:
                out = outgoing(store, store.images.resolve(image_id), platform, one)
                pushed.append(_push(store, target, one, out, watcher))
                watcher.tagged(pushed[-1])
    finally:
        watcher.ends()
        target.close()
    return pushed


def _image(store: Store, reference: Reference) -> Digest:
    found = store.images.find(reference)
    if found is None:
        raise ImageNotFound(f"An image does not exist locally with the tag: {reference.familiar_repository}")
    return found


def _tags(store: Store, reference: Reference) -> list[Reference]:
    names = (Reference.parse(name) for image in store.images.list() for name in image.references)
    found = sorted(
        (one for one in names if one.repository == reference.repository), key=lambda one: one.canonical
    )
    if not found:
        raise ImageNotFound(f"An image does not exist locally with the tag: {reference.familiar_repository}")
    return found


def _push(store: Store, target: Target, reference: Reference, out: Outgoing, watcher: PushWatcher) -> Pushed:
    manifests = [out.main, *out.others]
    # top first, as Docker lists them; a layer may be in several places
    layers = {layer.blob.digest: layer for one in manifests for layer in reversed(one.layers)}
    watcher.begins(reference.repository, list(layers.values()))
    sending = _Sending(store, target, watcher)
    sent = sending.run(layers.values(), [one.manifest.config for one in manifests])
    served = out.main.with_layers(sent)
    assert reference.tag is not None
    if out.index is None:
        target.put_manifest(served, reference.tag)
    else:
        for one in manifests:
            target.put_manifest(one.served, one.served.digest)
        target.put_manifest(out.index, reference.tag)
    tagged = out.index or served
    _record(store, reference.at(tagged.digest), out, served, sent)
    return Pushed(reference, tagged.digest, len(tagged.data), out.stripped)


class _Sending:
    """Blobs on their way, several at a time."""

    def __init__(self, store: Store, target: Target, watcher: PushWatcher) -> None:
        self._store = store
        self._target = target
        self._watcher = watcher
        self._level = Settings.load().push_compression_level
        self._stopped = threading.Event()
        self._compressing: list[Progress] = []
        self._sources: dict[Digest, list[str]] = {}

    def run(self, layers: Iterable[OutLayer], configs: Sequence[Descriptor]) -> dict[Digest, Descriptor]:
        """What was sent for each stored layer."""
        wanted = list(layers)
        # here, and not by the threads: each would open the database
        for blob in [*configs, *(layer.blob for layer in wanted)]:
            self._look_up(blob)
        pool = ThreadPoolExecutor(WORKERS, "push")
        try:
            for number, layer in enumerate(wanted):
                if number >= WORKERS:
                    self._watcher.waits(layer)
            jobs = {layer.blob.digest: pool.submit(self._layer, layer) for layer in wanted}
            small = [pool.submit(self._blob, config, Sent(config.size)) for config in configs]
            everything: list[Future[Any]] = [*jobs.values(), *small]
            for job in wait(everything, return_when=FIRST_EXCEPTION).done:
                job.result()
            done = {digest: job.result() for digest, job in jobs.items()}
        except BaseException:
            self._stopped.set()
            for progress in self._compressing:
                progress.cancel()
            self._target.stop()
            # a thread that waits for a registry which does not read comes back after its time-out
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()
        return done

    def _look_up(self, blob: Descriptor) -> None:
        """Where it can be mounted from."""
        domain = self._target.reference.domain
        self._sources[blob.digest] = origins.repositories(self._store.db, blob.digest, domain)

    def _layer(self, layer: OutLayer) -> Descriptor:
        if self._stopped.is_set():
            raise Cancelled("cancelled")
        blob = layer.blob
        if layer.compress:
            blob = self._compressed(layer)
        elif self._store.content.size(blob.digest) != blob.size:
            outcome = self._elsewhere(blob)
            if outcome:
                self._watcher.ends_layer(layer, outcome)
                return blob
            if not (layer.diff_id and layer.chain_id):
                raise gone(blob)
            blob = repacked(self._store, blob, layer.diff_id, layer.chain_id)
        sent = Sent(blob.size)
        self._watcher.pushes(layer, sent)
        self._watcher.ends_layer(layer, self._blob(blob, sent))
        return blob

    def _compressed(self, layer: OutLayer) -> Descriptor:
        progress = Progress(layer.blob.size)
        self._compressing.append(progress)
        # looked at after it is in the list: who stops everything finds it there, or has been here before
        if self._stopped.is_set():
            raise Cancelled("cancelled")
        self._watcher.compresses(layer, progress)
        try:
            blob = compressed(self._store, layer.blob, self._level, progress, chain_id=layer.chain_id)
            self._look_up(blob)
            return blob
        finally:
            self._store.db.close()  # this thread's connection

    def _blob(self, blob: Descriptor, sent: Sent) -> str:
        if self._stopped.is_set():
            raise Cancelled("cancelled")
        read = partial(read_blob, self._store, blob)
        return self._target.send(blob, read, sent, self._sources.get(blob.digest, []))

    def _elsewhere(self, blob: Descriptor) -> str:
        """Where the registry has a blob that was dropped here to save space; "" if it has not."""
        if self._target.has(blob):
            return EXISTS
        sources = self._sources.get(blob.digest, [])
        return next((path for path in sources if self._target.mount(blob, path)), "")


def _record(
    store: Store, name: Reference, out: Outgoing, served: Served, sent: dict[Digest, Descriptor]
) -> None:
    """Keep the digest under which the repository has the image, and what was made to push it."""
    from pyd.store.images import NewImage
    from pyd.store.records import BlobRecord

    if served is out.main.served:
        store.images.tag(out.image.id, name.canonical)
        return
    made = [blob for blob in sent.values() if store.content.size(blob.digest) == blob.size]
    store.images.add(
        NewImage(
            id=out.image.id,
            manifest=store.content.put(served.data),
            config=store.content.read(out.image.id, MAX_MANIFEST),
            blobs=(
                BlobRecord(served.digest, len(served.data), served.media_type),
                *(BlobRecord(blob.digest, blob.size, blob.media_type) for blob in made),
            ),
            snapshots=tuple(store.snapshots.get(chain_id) for chain_id in reversed(out.image.layers)),
            references=(name.canonical,),
        )
    )


__all__ = ["EXISTS", "PUSHED", "OutLayer", "Progress", "PushWatcher", "Pushed", "Sent", "push"]
