"""Pull-through: what is not here is fetched from another registry, sent on while it comes, and kept.

A blob that several clients want is fetched once; each of them reads the file as it grows. The last part of it
is sent only after the digest matched, so that nobody ever holds all bytes of a wrong blob. A tag is asked for
again when it is older than a time; when upstream cannot be reached the old answer is given, and its refusals
are handed on.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from aiohttp import web

from pyd.errors import Forbidden, InvalidArgument, NotFound, PydError, Unauthorized, Unavailable
from pyd.oci.descriptor import Descriptor
from pyd.oci.digest import Digest
from pyd.oci.reference import Reference
from pyd.registry import client
from pyd.registry.server import document, names
from pyd.registry.server.call import Call
from pyd.registry.server.problem import Problem, blob_unknown, manifest_unknown
from pyd.registry.server.send import blob_headers, send_blob, wanted_range
from pyd.registry.server.sessions import Session
from pyd.registry.server.store import Stored
from pyd.registry.settings import Settings
from pyd.registry.transport import Transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyd.registry.server.app import Registry

_HELD_BACK = 64 << 10  # bytes of a blob that are sent after it was verified
_CHUNK = 1 << 20
_FETCHES = 8


class Fetch:
    """One blob that is coming from upstream. For the event loop's thread, but for `run`."""

    def __init__(self, path: str, digest: str, size: int) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.session = Session(path, fd, 0, "sha256")
        self.digest = digest
        self.size = size
        self.ended = False
        self.error: Problem | None = None
        self.readers = 0
        self._step = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    @property
    def available(self) -> int:
        """Bytes that may be sent."""
        return self.size if self.ended else min(self.session.offset, max(0, self.size - _HELD_BACK))

    async def wait(self) -> None:
        """Until there is more, or the end."""
        await self._step.wait()

    def advance(self) -> None:
        self._step.set()
        self._step = asyncio.Event()

    def run(self, chunks: Callable[[], Iterable[bytes]]) -> bool:
        """In a thread: fetch all; whether the digest matches, and then it is synced."""
        for chunk in chunks():
            self.session.append(chunk)
            self._loop.call_soon_threadsafe(self.advance)
        if self.session.offset != self.size or self.session.digest("sha256") != self.digest:
            return False
        self.session.sync()
        return True

    def leave(self) -> None:
        self.readers -= 1
        self.close_if_done()

    def close_if_done(self) -> None:
        if self.ended and not self.readers:
            self.session.discard()


class Mirror:
    def __init__(self, registry: Registry, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
            raise InvalidArgument(f"invalid registry to mirror {url!r}", "write it as https://HOST[:PORT]")
        self._registry = registry
        self._host = "docker.io" if parts.netloc == client.HUB_HOST else parts.netloc
        self._transport = Transport(Settings.load())
        self._upstream = client.Registry(self._transport, self._host, url.rstrip("/"))
        self._pool = ThreadPoolExecutor(_FETCHES, "registry-mirror")
        self._manifests: dict[tuple[str, str], asyncio.Task[Stored]] = {}
        self._fetches: dict[str, Fetch] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        self._transport.stop()
        await asyncio.gather(*self._tasks, *self._manifests.values(), return_exceptions=True)
        self._pool.shutdown()
        self._transport.close()

    async def manifest(self, call: Call, name: str, reference: str) -> Stored:
        """Raises Problem."""
        store, metrics = self._registry.store, self._registry.metrics
        if ":" in reference:
            names.check_digest(reference)
            if not reference.startswith("sha256:"):
                raise manifest_unknown(name, reference)
            stored = store.manifest(name, reference)
            is_fresh = stored is not None
        else:
            names.check_tag(reference)
            tagged = store.tag(name, reference)
            stored = store.manifest(name, tagged[0]) if tagged else None
            is_fresh = tagged is not None and time.time() - tagged[1] < self._registry.options.mirror_ttl
        if stored is not None and is_fresh:
            metrics.mirror["hit"] += 1
            return stored
        key = name, reference
        task = self._manifests.get(key)
        if task is None:
            task = asyncio.create_task(self._fetch_manifest(name, reference))
            self._manifests[key] = task
            task.add_done_callback(lambda _: self._manifests.pop(key, None))
        try:
            found = await asyncio.shield(task)
        except Problem as problem:
            if stored is not None and problem.status in (429, 502, 503):
                metrics.mirror["stale"] += 1
                return stored
            if problem.status == 404 and stored is not None and ":" not in reference:
                await self._registry.writer.write(lambda tx: store.remove_tag(tx, name, reference))
            raise
        metrics.mirror["miss"] += 1
        return found

    async def _fetch_manifest(self, name: str, reference: str) -> Stored:
        if ":" in reference:
            wanted = Reference(self._host, name, None, Digest.parse(reference))
            tags: tuple[str, ...] = ()
        else:
            wanted = Reference(self._host, name, reference)
            tags = (reference,)
        loop = asyncio.get_running_loop()
        try:
            served = await loop.run_in_executor(self._pool, self._upstream.manifest, wanted)
        except PydError as error:
            raise _of_upstream(error, manifest_unknown(name, reference)) from None
        try:
            parsed = document.read(served.data, served.media_type)
        except Problem as problem:
            raise Problem(502, "MANIFEST_INVALID", f"upstream: {problem.message}") from None
        store = self._registry.store
        await self._registry.writer.write(
            lambda tx: store.add_manifest(tx, name, served.digest, parsed, tags, check=False)
        )
        return Stored(served.digest, parsed.media_type, served.data)

    async def blob(self, call: Call, name: str, digest: str) -> web.StreamResponse:
        """A blob that is not in the repository yet. Only one that a manifest from upstream speaks of."""
        store, metrics = self._registry.store, self._registry.metrics
        size = store.expected_size(name, digest)
        if size is None or not digest.startswith("sha256:"):
            raise blob_unknown(digest)
        if call.request.method == "HEAD":
            return web.Response(headers=blob_headers(digest) | {"Content-Length": str(size)})
        if store.holders(digest) and store.files.size(digest) == size:
            await self._registry.writer.write(lambda tx: store.add_blob(tx, name, digest, size, None))
            metrics.mirror["hit"] += 1
            fd = store.files.open(digest)
            try:
                return await send_blob(call, fd, digest, size)
            finally:
                os.close(fd)
        fetch = self._fetches.get(digest)
        if fetch is None:
            metrics.mirror["miss"] += 1
            fetch = Fetch(f"{store.files.uploads}/fetch-{os.urandom(8).hex()}", digest, size)
            self._fetches[digest] = fetch
            task = asyncio.create_task(self._fetch_blob(fetch, name))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            metrics.mirror["joined"] += 1
        fetch.readers += 1
        try:
            return await self._follow(call, fetch, name)
        finally:
            fetch.leave()

    async def _fetch_blob(self, fetch: Fetch, name: str) -> None:
        digest, size = fetch.digest, fetch.size
        wanted = Descriptor("application/octet-stream", Digest.parse(digest), size)
        loop, store = asyncio.get_running_loop(), self._registry.store
        try:
            fits = await loop.run_in_executor(
                self._pool, fetch.run, lambda: self._upstream.blob(name, wanted)
            )
            if not fits:
                raise Problem(502, "DIGEST_INVALID", "upstream sends other bytes than the digest says")
            await self._registry.writer.write(
                lambda tx: store.add_blob(tx, name, digest, size, fetch.session.path)
            )
            self._registry.metrics.received += size
        except Problem as problem:
            fetch.error = problem
        except PydError as error:
            fetch.error = _of_upstream(error, blob_unknown(digest))
        except Exception as error:
            fetch.error = Problem(500, "UNKNOWN", "the mirror cannot keep the blob")
            self._registry.complain(error)
        finally:
            self._fetches.pop(digest, None)
            fetch.ended = True
            fetch.advance()
            fetch.close_if_done()

    async def _follow(self, call: Call, fetch: Fetch, name: str) -> web.StreamResponse:
        """Send the file while it grows."""
        await self._until(fetch, lambda: fetch.available > 0)
        if fetch.error:
            raise fetch.error
        part = wanted_range(call.request, fetch.digest, fetch.size)
        position, count = part or (0, fetch.size)
        end = position + count
        response = web.StreamResponse(status=206 if part else 200, headers=blob_headers(fetch.digest))
        if part:
            response.headers["Content-Range"] = f"bytes {position}-{end - 1}/{fetch.size}"
        response.content_length = count
        await response.prepare(call.request)
        loop = asyncio.get_running_loop()
        while position < end:
            await self._until(fetch, lambda: fetch.available > position)  # noqa: B023 - used at once
            if fetch.error:
                # the headers promised it all: the client must notice that it did not get it
                if call.request.transport is not None:
                    call.request.transport.abort()
                raise ConnectionResetError("upstream failed")
            wanted = min(_CHUNK, min(fetch.available, end) - position)
            data = await loop.run_in_executor(self._registry.pool, fetch.session.read, position, wanted)
            await response.write(data)
            position += len(data)
            call.sent += len(data)
        await response.write_eof()
        return response

    @staticmethod
    async def _until(fetch: Fetch, is_so: Callable[[], bool]) -> None:
        while not fetch.ended and not is_so():
            await fetch.wait()


def _of_upstream(error: PydError, unknown: Problem) -> Problem:
    if isinstance(error, NotFound):
        return unknown
    if isinstance(error, Unauthorized | Forbidden):
        # 401 would make the client log in here
        return Problem(403, "DENIED", f"upstream: {error.message}")
    if isinstance(error, Unavailable):
        if error.message.startswith("toomanyrequests"):
            return Problem(429, "TOOMANYREQUESTS", f"upstream: {error.message}")
        return Problem(503, "UNAVAILABLE", f"upstream: {error.message}", headers={"Retry-After": "5"})
    return Problem(502, "UNKNOWN", f"upstream: {error.message}")
