"""One request on its way through the registry, and the helpers that all handlers use."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import HttpVersion11, web

from pyd.registry.server.auth import Grant
from pyd.registry.server.problem import Problem, unsupported

if TYPE_CHECKING:
    from pyd.registry.server.app import Registry

STALL = 60.0  # seconds in which a client must send at least one byte of a body
_HOST = re.compile(r"[A-Za-z0-9.:\[\]_-]{1,255}", re.ASCII)
_PAGE = 1000


@dataclass(slots=True)
class Call:
    """`name` and `reference` are what the path says; checked by the handlers, before anything else is
    done.
    """

    registry: Registry
    request: web.BaseRequest
    grant: Grant
    route: str = "other"
    name: str = ""
    reference: str = ""
    sent: int = 0  # bytes of a body that was streamed

    @property
    def own_url(self) -> str:
        return own_url(self.request)

    def require(self, *actions: str, name: str | None = None) -> None:
        """Raises Problem unless the caller may do that with the repository."""
        self.registry.auth.require(self.grant, name or self.name, actions, self.own_url)

    def require_writable(self) -> None:
        if not self.registry.options.is_writable:
            what = "a mirror" if self.registry.options.mirror else "read-only"
            raise unsupported(f"this registry is {what}")

    def require_delete(self) -> None:
        self.require_writable()
        if not self.registry.options.delete:
            raise unsupported("deleting is switched off in this registry")


def own_url(request: web.BaseRequest) -> str:
    """What the client calls this server. A Host header that could end a quoted string is not repeated."""
    host = request.headers.get("Host") or "localhost"  # HTTP/1.0 knows no Host
    if not _HOST.fullmatch(host):
        raise Problem(400, "UNSUPPORTED", "invalid Host header")
    return f"{request.scheme}://{host}"


def is_unchanged(request: web.BaseRequest, digest: str) -> bool:
    """Whether the client has these bytes already (If-None-Match, RFC 9110 section 13.1.2)."""
    text = request.headers.get("If-None-Match", "")
    return text.strip() == "*" or f'"{digest}"' in text


def unchanged(digest: str) -> web.Response:
    return web.Response(status=304, headers={"ETag": f'"{digest}"', "Docker-Content-Digest": digest})


async def proceed(request: web.BaseRequest) -> None:
    """Tell a client that waits before it sends the body to send it (RFC 9110 section 10.1.1)."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.version == HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


async def read_some(request: web.BaseRequest) -> bytes:
    """The next bytes of the body, b"" at its end. Raises Problem when none come for a long time."""
    try:
        async with asyncio.timeout(STALL):
            return await request.content.readany()
    except TimeoutError:
        raise Problem(408, "BLOB_UPLOAD_INVALID", f"no byte came for {STALL:.0f} seconds") from None


async def read_body(request: web.BaseRequest, limit: int, too_large: Problem) -> bytes:
    if (request.content_length or 0) > limit:
        raise too_large
    await proceed(request)
    data = bytearray()
    while chunk := await read_some(request):
        data += chunk
        if len(data) > limit:
            raise too_large
    return bytes(data)


def page(request: web.BaseRequest) -> tuple[int, str]:
    """(how many, behind which) of `?n=..&last=..`"""
    text = request.query.get("n", "")
    if not text:
        return _PAGE, request.query.get("last", "")
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise Problem(
            400, "PAGINATION_NUMBER_INVALID", "invalid number of results requested", {"n": text[:50]}
        )
    return min(int(text), _PAGE), request.query.get("last", "")


def next_link(path: str, parameters: Iterable[tuple[str, object]]) -> dict[str, str]:
    """The Link header to the next page (RFC 5988). The values are names, which need no quoting."""
    query = "&".join(f"{key}={value}" for key, value in parameters)
    return {"Link": f'<{path}?{query}>; rel="next"'}
