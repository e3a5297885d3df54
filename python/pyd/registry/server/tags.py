"""What there is: the tags of a repository, and the catalog of repositories. Both in pages, in byte order."""

from __future__ import annotations

from aiohttp import web

from pyd.registry.server import names
from pyd.registry.server.access import PULL
from pyd.registry.server.call import Call, next_link, page
from pyd.registry.server.problem import name_unknown


async def tags(call: Call) -> web.StreamResponse:
    """GET /v2/NAME/tags/list?n=..&last=.."""
    name = names.check_repository(call.name)
    call.require(PULL)
    store, (count, last) = call.registry.store, page(call.request)
    if not store.has_repository(name):
        raise name_unknown(name)
    found = store.tags(name, last, count + 1)
    link = _link(f"/v2/{name}/tags/list", count, found)
    return web.json_response({"name": name, "tags": found[:count]}, headers=link)


async def catalog(call: Call) -> web.StreamResponse:
    """GET /v2/_catalog?n=..&last=.."""
    call.registry.auth.require_catalog(call.grant, call.own_url)
    count, last = page(call.request)
    found: list[str] = []
    while len(found) <= count:
        # those that the caller may not see are left out, and the page filled from behind them
        batch = call.registry.store.repositories(last, count + 1)
        found += [name for name in batch if call.grant.sees(name)]
        if len(batch) <= count:
            break
        last = batch[-1]
    link = _link("/v2/_catalog", count, found)
    return web.json_response({"repositories": found[:count]}, headers=link)


def _link(path: str, count: int, found: list[str]) -> dict[str, str]:
    if len(found) <= count or not count:
        return {}
    return next_link(path, [("n", count), ("last", found[count - 1])])
