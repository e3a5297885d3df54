"""A blob on its way out: from the file to the socket by the kernel, whole or in part."""

from __future__ import annotations

import asyncio
import os
import re

from aiohttp import web

from pyd.registry.server.call import Call
from pyd.registry.server.problem import Problem

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
_CHUNK = 1 << 20
_YEAR = 365 * 24 * 3600


def blob_headers(digest: str) -> dict[str, str]:
    return {
        "Content-Type": "application/octet-stream",
        "Docker-Content-Digest": digest,
        "ETag": f'"{digest}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": f"max-age={_YEAR}, immutable",
        "X-Content-Type-Options": "nosniff",
    }


def wanted_range(request: web.BaseRequest, digest: str, size: int) -> tuple[int, int] | None:
    """(first byte, count) of one range, None for all. Several ranges at once may be answered with all (RFC
    9110, section 14.2). Raises Problem 416.
    """
    text = request.headers.get("Range", "").replace(" ", "")
    match = _RANGE.fullmatch(text)
    if match is None or request.headers.get("If-Range", f'"{digest}"') != f'"{digest}"':
        return None
    first, last = match[1], match[2]
    if not first and not last:
        return None
    if first:
        start, end = int(first), min(int(last), size - 1) if last else size - 1
    else:
        start, end = max(0, size - int(last)), size - 1
    if start >= size or end < start:
        raise Problem(
            416, "SIZE_INVALID", "the range is not in the blob", headers={"Content-Range": f"bytes */{size}"}
        )
    return start, end - start + 1


async def send_blob(call: Call, fd: int, digest: str, size: int) -> web.StreamResponse:
    """`fd` stays the caller's."""
    part = wanted_range(call.request, digest, size)
    start, count = part or (0, size)
    response = web.StreamResponse(status=206 if part else 200, headers=blob_headers(digest))
    if part:
        response.headers["Content-Range"] = f"bytes {start}-{start + count - 1}/{size}"
    response.content_length = count
    await response.prepare(call.request)
    if count:
        await _copy(call, response, fd, start, count)
    await response.write_eof()
    return response


async def _copy(call: Call, response: web.StreamResponse, fd: int, start: int, count: int) -> None:
    transport = call.request.transport
    if transport is None:
        raise ConnectionResetError("the client is gone")
    loop = asyncio.get_running_loop()
    if transport.get_extra_info("sslcontext") is None:
        # opened anew: sendfile works on an object of Python's, and that closes its descriptor
        with open(os.dup(fd), "rb", buffering=0) as file:
            call.sent = await loop.sendfile(transport, file, start, count)
    else:
        while call.sent < count:
            wanted = min(_CHUNK, count - call.sent)
            data = await loop.run_in_executor(call.registry.pool, os.pread, fd, wanted, start + call.sent)
            if not data:
                break
            await response.write(data)
            call.sent += len(data)
    if call.sent < count:
        transport.abort()  # the headers promised more; the client must not take this for all
        raise ConnectionResetError("the file is shorter than the blob")
