"""Blobs on their way in: /v2/NAME/blobs/uploads/ (distribution spec, "Pushing Blobs").

POST starts an upload (or takes the whole blob, or mounts one of another repository), PATCH appends, PUT ends
it. 201 is answered when the blob is on disk: synced, named by its digest, the directory synced, the row
committed.
"""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import Callable

from aiohttp import web

from pyd.registry.server import names
from pyd.registry.server.access import PULL, PUSH
from pyd.registry.server.call import Call, proceed, read_some
from pyd.registry.server.problem import Problem, blob_unknown, upload_unknown
from pyd.registry.server.quota import exceeded
from pyd.registry.server.sessions import Session

_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?(\d{1,18})-(\d{1,18})(?:/(?:\d+|\*))?", re.ASCII)


async def start(call: Call) -> web.StreamResponse:
    """POST"""
    name, query = names.check_repository(call.name), call.request.query
    call.require(PUSH)
    call.require_writable()
    if "mount" in query:
        digest = names.check_digest(query["mount"])
        if await _mount(call, digest, query.get("from")):
            return _created(call, digest)
    if "digest" in query:
        digest = names.check_digest(query["digest"])
        session = call.registry.sessions.start(name, digest.partition(":")[0])
        await session.acquire(_cutter(call))
        try:
            await _receive(call, session)
            await _finish(call, session, digest)
        finally:
            # nobody knows of the session but this request
            call.registry.sessions.end(session)
            session.release()
        return _created(call, digest)
    algorithm = query.get("digest-algorithm", "sha256")
    if algorithm not in names.ALGORITHMS:
        raise Problem(400, "DIGEST_INVALID", "unknown algorithm", {"algorithm": algorithm[:50]})
    session = call.registry.sessions.start(name, algorithm)
    return _progress(call, session, 202)


async def append(call: Call) -> web.StreamResponse:
    """PATCH"""
    session = _find(call)
    await session.acquire(_cutter(call))
    try:
        _check_live(session)
        _check_range(call, session)
        await _receive(call, session)
        return _progress(call, session, 202)
    finally:
        session.release()


async def finish(call: Call) -> web.StreamResponse:
    """PUT"""
    session = _find(call)
    if "digest" not in call.request.query:
        raise Problem(400, "DIGEST_INVALID", "the digest is missing: ?digest=sha256:...")
    digest = names.check_digest(call.request.query["digest"])
    await session.acquire(_cutter(call))
    try:
        _check_live(session)
        _check_range(call, session)
        await _receive(call, session)
        await _finish(call, session, digest)
        return _created(call, digest)
    finally:
        session.release()


async def status(call: Call) -> web.StreamResponse:
    """GET"""
    return _progress(call, _find(call), 204)


async def cancel(call: Call) -> web.StreamResponse:
    """DELETE"""
    session = _find(call)
    await session.acquire(_cutter(call))
    try:
        call.registry.sessions.end(session)
    finally:
        session.release()
    return web.Response(status=204)


def _find(call: Call) -> Session:
    name = names.check_repository(call.name)
    call.require(PUSH)
    call.require_writable()
    return call.registry.sessions.find(name, call.reference)


def _check_live(session: Session) -> None:
    # while this request waited for its turn another one may have ended the upload
    if session.fileno() < 0:
        raise upload_unknown(session.id)


async def _mount(call: Call, digest: str, source: str | None) -> bool:
    """Show the blob of another repository that the caller may read, or of pyd's local images."""
    registry = call.registry
    if source is not None:
        names.check_repository(source)
        sources = [source] if registry.store.blob_size(source, digest) is not None else []
    else:
        sources = registry.store.holders(digest)
    if any(PULL in call.grant.allowed(holder) for holder in sources):
        size = registry.store.files.size(digest)
        if size is None:
            return False
        try:
            await registry.writer.write(lambda tx: registry.store.add_blob(tx, call.name, digest, size, None))
        except Problem as problem:
            if problem.code == blob_unknown(digest).code:
                return False  # collected meanwhile
            raise
        return True
    # local images are root's: who has had to log in is not given them for knowing a digest
    if call.grant.is_open:
        return await registry.writer.write(lambda tx: registry.store.add_shared(tx, call.name, digest))
    return False


def _check_range(call: Call, session: Session) -> None:
    """A chunk that says where it belongs must begin where the upload ends. Raises Problem 416 or 400."""
    text = call.request.headers.get("Content-Range")
    if text is None:
        return
    match = _CONTENT_RANGE.fullmatch(text.strip())
    if match is None:
        raise Problem(400, "BLOB_UPLOAD_INVALID", "invalid Content-Range", {"range": text[:100]})
    first, last = int(match[1]), int(match[2])
    if first != session.offset:
        headers = _place(call, session)
        raise Problem(416, "BLOB_UPLOAD_INVALID", "the chunk is out of order", headers=headers)
    length = call.request.content_length
    if last < first or (length is not None and length != last - first + 1):
        raise Problem(400, "SIZE_INVALID", "Content-Range and Content-Length differ")


async def _receive(call: Call, session: Session) -> None:
    """The body into the session. What has come when it is cut stays there: the upload goes on later.

    While one thread writes and hashes a part, the next one is read: at most two parts are in memory.
    """
    registry, request = call.registry, call.request
    if not request.can_read_body:
        return
    if registry.receiving >= registry.options.max_uploads:
        raise Problem(429, "TOOMANYREQUESTS", "too many uploads at once", headers={"Retry-After": "2"})
    room = registry.quota_room(call.name)
    if room is not None and session.offset + (request.content_length or 0) > room:
        raise exceeded()
    await proceed(request)
    writing: asyncio.Future[None] | None = None
    loop = asyncio.get_running_loop()
    counted = 0
    registry.receiving += 1
    try:
        while data := await read_some(request):
            if writing is not None:
                await writing
            if room is not None and session.offset + len(data) > room:
                raise exceeded()
            registry.store.quota.coming(call.name, len(data))
            counted += len(data)
            writing = loop.run_in_executor(registry.pool, session.append, data)
        if writing is not None:
            await writing
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            # going on with it later would need the space that others need now
            registry.sessions.end(session)
        raise
    finally:
        if writing is not None:
            # nobody else may touch the file before it is out of the thread
            await asyncio.wait([writing])
            writing.exception()  # told already, or the client is gone
        registry.receiving -= 1
        registry.store.quota.coming(call.name, -counted)
        registry.metrics.received += counted


async def _finish(call: Call, session: Session, digest: str) -> None:
    """Check the digest, make the bytes durable, and show them. Raises Problem 400."""
    registry, name, size = call.registry, call.name, session.offset

    def verified() -> bool:
        if session.digest(digest.partition(":")[0]) != digest:
            return False
        session.sync()
        return True

    if not await asyncio.get_running_loop().run_in_executor(registry.pool, verified):
        registry.sessions.end(session)
        raise Problem(400, "DIGEST_INVALID", "the bytes do not match the digest", {"digest": digest})
    # from here on the file may get its final name: whatever happens, nothing may write to it any more
    registry.sessions.forget(session)
    try:
        await registry.writer.write(lambda tx: registry.store.add_blob(tx, name, digest, size, session.path))
    except Problem:
        session.discard()  # refused: it has no other name
        raise
    session.discard()


def _cutter(call: Call) -> Callable[[], None]:
    def cut() -> None:
        if call.request.transport is not None:
            call.request.transport.abort()

    return cut


def _place(call: Call, session: Session) -> dict[str, str]:
    return {
        "Location": f"/v2/{call.name}/blobs/uploads/{session.id}",
        "Range": f"0-{max(session.offset - 1, 0)}",
        "Docker-Upload-UUID": session.id,
    }


def _progress(call: Call, session: Session, status: int) -> web.Response:
    return web.Response(status=status, headers=_place(call, session))


def _created(call: Call, digest: str) -> web.Response:
    headers = {"Location": f"/v2/{call.name}/blobs/{digest}", "Docker-Content-Digest": digest}
    return web.Response(status=201, headers=headers)
