"""GET, HEAD and DELETE of /v2/NAME/blobs/DIGEST."""

from __future__ import annotations

import os
import time

from aiohttp import web

from pyd.registry.server import names
from pyd.registry.server.access import DELETE, PULL
from pyd.registry.server.call import Call, is_unchanged, unchanged
from pyd.registry.server.problem import blob_unknown
from pyd.registry.server.send import blob_headers, send_blob

_TOUCH = 600.0  # seconds after which an answer "it is here" renews the collector's grace


async def get(call: Call) -> web.StreamResponse:
    name, digest = names.check_repository(call.name), names.check_digest(call.reference)
    call.require(PULL)
    registry = call.registry
    size = registry.store.blob_size(name, digest)
    if registry.mirror is not None and (size is None or registry.store.files.size(digest) is None):
        return await registry.mirror.blob(call, name, digest)
    if size is None:
        raise blob_unknown(digest)
    if is_unchanged(call.request, digest):
        return unchanged(digest)
    if call.request.method == "HEAD":
        # who pushes asks first, and does not send what is here: it must still be here when the manifest comes
        if registry.options.is_writable and registry.store.is_forgotten(name, digest, time.time() - _TOUCH):
            await registry.writer.write(lambda tx: registry.store.touch_blob(tx, name, digest))
        return web.Response(headers=blob_headers(digest) | {"Content-Length": str(size)})
    fd = registry.store.files.open(digest)
    try:
        return await send_blob(call, fd, digest, size)
    finally:
        os.close(fd)


async def delete(call: Call) -> web.StreamResponse:
    name, digest = names.check_repository(call.name), names.check_digest(call.reference)
    call.require(DELETE)
    call.require_delete()
    await call.registry.writer.write(lambda tx: call.registry.store.remove_blob(tx, name, digest))
    return web.Response(status=202)
