"""Layers come in: bytes from anywhere -> verified blobs -> unpacked directories -> one transaction.

For one image, in order:

1. `ingest.lock`, shared: the collector keeps its hands off what no row refers to yet
2. the lock of the first missing layer. Two images that share any missing layer share the first missing one,
   because a chainID names everything below it; so this one lock makes the second process wait, and then find
   all of it
3. every missing layer in a pool of threads, each one pass into a directory of its own,
   snapshots/<hex>.tmp-<random>
4. each is settled upon those below (`LayerStack`), bottom up, as soon as the layers below are there
5. one syncfs for all of it, then the renames of blobs and directories, then the directories that hold them,
   then the rows: whoever is killed before the last step leaves whole blobs that are read again instead of
   fetched, and directories without rows, which the collector removes
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pyd import _native
from pyd.errors import Cancelled, CorruptData, RegistryError, from_os_error
from pyd.oci.descriptor import Descriptor
from pyd.oci.digest import Digest, chain_ids
from pyd.record import Record
from pyd.store.content import fsync_dir
from pyd.store.fetching import RESERVE
from pyd.store.images import NewImage
from pyd.store.locks import exclusive
from pyd.store.records import now
from pyd.store.snapshots import Snapshot

if TYPE_CHECKING:
    from pyd.store import Store

WORKERS = 5


class Rules(Record):
    """What may come in, and what is kept of it.

    keep_blobs: whether compressed layers stay in the content store once they are unpacked. Without them
    `Content.size` of a layer's digest is None: a push can offer it only to a registry that has it.
    max_unpacked: bytes of tar that the layers may have together; 0 = what is free on the disk.
    """

    keep_blobs: bool = True
    max_unpacked: int = 0


_RULES = Rules()


class Source(Protocol):
    """Where the bytes of a layer come from."""

    def read(self, layer: Descriptor, offset: int) -> Iterator[bytes]:
        """The bytes of the blob from `offset` on, in chunks of about 1 MiB. Called from several threads."""

    def stop(self) -> None:
        """Let every `read` that waits for bytes fail now. Called from another thread, once."""


@runtime_checkable
class Fetcher(Protocol):
    """A Source that puts bytes into an ingest itself, in any order of its pieces."""

    def fetch(self, layer: Descriptor, ingest: _native.LayerIngest) -> None:
        """Returns when everything is there, or with an error. Called from several threads."""


class Watcher(Protocol):
    """Who is told how the layers get on. Called from several threads."""

    def exists(self, layer: Descriptor) -> None: ...

    def waits(self, layer: Descriptor) -> None: ...

    def fetches(self, layer: Descriptor, progress: _native.Progress) -> None: ...

    def fetched(self, layer: Descriptor) -> None: ...

    def unpacked(self, layer: Descriptor) -> None: ...


class _Plan(Record):
    layer: Descriptor
    diff_id: Digest
    chain_id: Digest
    parent: Digest | None


def take_in(
    store: Store,
    layers: Sequence[Descriptor],
    diff_ids: Sequence[Digest],
    source: Source,
    watcher: Watcher,
    make_image: Callable[[tuple[Snapshot, ...]], NewImage],
    rules: Rules = _RULES,
) -> dict[str, str]:
    """Bring in all layers (bottom first) that are not here yet, then commit what `make_image` makes of them.

    Returns the references that pointed at another image before (`Images.add`). On an error nothing of it is
    visible; half-fetched blobs stay for a later try.
    """
    if len(layers) != len(diff_ids):
        raise CorruptData(f"the manifest has {len(layers)} layers, the image config {len(diff_ids)}")
    chain = chain_ids(diff_ids)
    plans = [
        _Plan(layer, diff_id, chain_id, chain[index - 1] if index else None)
        for index, (layer, diff_id, chain_id) in enumerate(zip(layers, diff_ids, chain, strict=True))
    ]
    with _missing(store, plans) as missing:
        to_come = {plan.chain_id for plan in missing}
        for plan in plans:
            (watcher.waits if plan.chain_id in to_come else watcher.exists)(plan.layer)
        work = _Work(store, plans, missing, source, watcher, rules)
        try:
            sizes = work.run()
            known = {
                plan.chain_id: store.snapshots.get(plan.chain_id)
                for plan in plans
                if plan.chain_id not in to_come
            }
            snapshots = tuple(
                known.get(plan.chain_id)
                or Snapshot(plan.chain_id, plan.diff_id, plan.parent, sizes[plan.chain_id], now())
                for plan in plans
            )
            work.publish()
            return store.images.add(make_image(snapshots))
        finally:
            work.clear()


@contextmanager
def _missing(store: Store, plans: Sequence[_Plan]) -> Iterator[list[_Plan]]:
    """Those that have to be unpacked, while nobody else unpacks them."""
    while True:
        missing = _unknown(store, plans)
        if not missing:
            yield []
            return
        first = missing[0]
        with exclusive(f"{store.paths.run_root}/locks/layer-{first.chain_id.hex}", remove=True):
            missing = _unknown(store, plans)
            # somebody may have brought it while we waited; then another one is the first, with another lock
            if missing and missing[0] == first:
                yield missing
                return


def _unknown(store: Store, plans: Sequence[_Plan]) -> list[_Plan]:
    known = store.snapshots.known([plan.chain_id for plan in plans])
    return [plan for plan in plans if plan.chain_id not in known]


class _Work:
    """The unpacking of the missing layers of one image."""

    def __init__(
        self,
        store: Store,
        plans: Sequence[_Plan],
        missing: Sequence[_Plan],
        source: Source,
        watcher: Watcher,
        rules: Rules,
    ) -> None:
        self._store = store
        self._rules = rules
        self._plans = plans
        self._missing = missing
        self._source = source
        self._fetcher = source if isinstance(source, Fetcher) else None  # typing looks for long
        self._watcher = watcher
        mark = os.urandom(4).hex()
        self._tmp = {
            plan.chain_id: f"{store.paths.snapshots}/{plan.chain_id.hex}.tmp-{mark}" for plan in missing
        }
        self._progress = {plan.chain_id: _native.Progress(plan.layer.size) for plan in missing}
        self._allowance = _native.Allowance(0)
        self._fetched: dict[Digest, str] = {}  # verified, not yet in the content store
        self._stopped = threading.Event()

    def run(self) -> dict[Digest, int]:
        """Fetch and unpack; bytes of each layer by chainID."""
        if not self._missing:
            return {}
        self._store.paths.make()
        self._allowance = _native.Allowance(self._rules.max_unpacked or self._room())
        pool = ThreadPoolExecutor(WORKERS, "layer")
        jobs = {plan.chain_id: pool.submit(self._unpack, plan) for plan in self._missing}
        try:
            self._settle(jobs)
        except BaseException:
            self._stop()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        return {chain_id: job.result().unpacked_size for chain_id, job in jobs.items()}

    def publish(self) -> None:
        """Make the directories durable and give them their names."""
        if not self._missing:
            return
        root = self._store.paths.snapshots
        _native.syncfs(root)
        self._publish_blobs()
        for plan in self._missing:
            final = f"{root}/{plan.chain_id.hex}"
            # a directory of this name has no row: somebody was killed between his renames and his commit
            self._store.trash.take(final)
            os.rename(self._tmp[plan.chain_id], final)
        fsync_dir(root)

    def _publish_blobs(self) -> None:
        """Others who want the same blob meanwhile have found, or find, the whole partial instead."""
        for digest, partial in self._fetched.items():
            with self._blob_lock(digest), suppress(FileNotFoundError):  # another one has published it
                if self._rules.keep_blobs:
                    self._store.content.publish(partial, digest, sync=False)
                else:
                    os.unlink(partial)
        if self._fetched and self._rules.keep_blobs:
            fsync_dir(self._store.paths.content)

    def clear(self) -> None:
        """Remove what was not published."""
        for path in self._tmp.values():
            if os.path.lexists(path):
                self._store.trash.take(path)

    def _settle(self, jobs: dict[Digest, Future[_native.UnpackedLayer]]) -> None:
        ended: SimpleQueue[Future[_native.UnpackedLayer]] = SimpleQueue()
        for job in jobs.values():
            job.add_done_callback(ended.put)
        below = _native.LayerStack()
        for plan in self._plans:
            wanted = jobs.get(plan.chain_id)
            if wanted is None:
                below.push(self._store.snapshots.path(plan.chain_id))
                continue
            while not wanted.done():
                # the first error of any layer is the one to tell
                ended.get().result()
            below.settle(wanted.result(), f"{self._tmp[plan.chain_id]}/fs")
            self._watcher.unpacked(plan.layer)

    def _stop(self) -> None:
        self._stopped.set()
        for progress in self._progress.values():
            progress.cancel()
        self._source.stop()

    def _unpack(self, plan: _Plan) -> _native.UnpackedLayer:
        layer, store = plan.layer, self._store
        if self._stopped.is_set():
            raise Cancelled("cancelled")
        dest = f"{self._tmp[plan.chain_id]}/fs"
        try:
            os.mkdir(self._tmp[plan.chain_id], 0o711)
            os.mkdir(dest, 0o755)
        except OSError as error:
            raise from_os_error(error, f"making {dest}") from error
        # the same blob may be wanted by another image in another process, or twice in this one
        with self._blob_lock(layer.digest):
            if store.content.size(layer.digest) == layer.size:
                self._watcher.fetched(layer)
            else:
                return self._fetch(plan, dest)
        return _native.unpack_blob(
            store.content.path(layer.digest),
            dest,
            media_type=layer.media_type,
            diff_id=plan.diff_id,
            progress=self._progress[plan.chain_id],
            allowance=self._allowance,
        )

    def _fetch(self, plan: _Plan, dest: str) -> _native.UnpackedLayer:
        partial = self._partial(plan.layer.digest)
        self._watcher.fetches(plan.layer, self._progress[plan.chain_id])
        was_there = os.path.exists(partial)
        try:
            unpacked = self._pass(plan, partial, dest)
        except (RegistryError, CorruptData):
            # what an earlier run has left may be what is wrong: a power cut keeps lengths and loses bytes.
            # Such a partial is gone now
            if not was_there or os.path.exists(partial):
                raise
            _native.remove_tree(dest)
            os.mkdir(dest, 0o755)
            unpacked = self._pass(plan, partial, dest)
        self._fetched[plan.layer.digest] = partial
        self._watcher.fetched(plan.layer)
        return unpacked

    def _pass(self, plan: _Plan, partial: str, dest: str) -> _native.UnpackedLayer:
        layer = plan.layer
        ingest = _native.LayerIngest(
            partial,
            dest,
            media_type=layer.media_type,
            digest=layer.digest,
            size=layer.size,
            diff_id=plan.diff_id,
            progress=self._progress[plan.chain_id],
            allowance=self._allowance,
        )
        try:
            if self._fetcher is not None:
                self._fetcher.fetch(layer, ingest)
            else:
                self._copy(self._source, layer, ingest)
            return ingest.finish(sync=False)
        finally:
            ingest.abort()

    def _copy(self, source: Source, layer: Descriptor, ingest: _native.LayerIngest) -> None:
        while (span := ingest.claim()) is not None:
            at, end = span
            for chunk in source.read(layer, at):
                if self._stopped.is_set():
                    raise Cancelled("cancelled")
                ingest.write(chunk[: end - at] if end < layer.size else chunk, at)
                at += len(chunk)
                if at >= end:
                    break
            if at < end:
                return  # `finish` says what is missing

    def _blob_lock(self, digest: Digest) -> AbstractContextManager[None]:
        return exclusive(f"{self._store.paths.run_root}/locks/blob-{digest.hex}", remove=True)

    def _room(self) -> int:
        """Bytes that the disk has for the missing layers, besides their blobs."""
        try:
            disk = os.statvfs(self._store.paths.snapshots)
        except OSError as error:
            raise from_os_error(
                error, f"asking for the free space of {self._store.paths.snapshots}"
            ) from error
        free = disk.f_bavail * disk.f_frsize - RESERVE
        blobs = sum(
            self._to_come(layer)
            for layer in {plan.layer.digest: plan.layer for plan in self._missing}.values()
        )
        if blobs > free:
            full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._store.paths.snapshots)
            raise from_os_error(full, f"fetching {blobs} bytes of layers with {max(free, 0)} bytes free")
        return free - blobs

    def _to_come(self, layer: Descriptor) -> int:
        if self._store.content.size(layer.digest) == layer.size:
            return 0
        try:
            there = os.stat(self._partial(layer.digest)).st_blocks * 512
        except FileNotFoundError:
            there = 0
        return max(0, layer.size - there)

    def _partial(self, digest: Digest) -> str:
        return f"{self._store.paths.ingest}/{digest.hex}.partial"
