"""What is not about a repository: the version check, tokens, metrics."""

from __future__ import annotations

from aiohttp import web

from pyd.registry.server import metrics as text_format
from pyd.registry.server.call import Call, read_body
from pyd.registry.server.problem import Problem, unsupported

_MAX_FORM = 16 << 10


async def base(call: Call) -> web.StreamResponse:
    """GET /v2/: who has to log in learns it here."""
    call.registry.auth.require_known(call.grant, call.own_url)
    return web.json_response({})


async def token(call: Call) -> web.StreamResponse:
    auth, request = call.registry.auth, call.request
    if not auth.gives_tokens:
        raise unsupported("this registry gives no tokens")
    if request.method == "POST":
        too_large = Problem(413, "SIZE_INVALID", "the form is too large")
        answer = await auth.token_by_form(await read_body(request, _MAX_FORM, too_large), call.own_url)
    else:
        query = {key: request.query.getall(key) for key in request.query}
        answer = await auth.token(request.headers, query, call.own_url)
    return web.json_response(answer, headers={"Cache-Control": "no-store"})


async def metrics(call: Call) -> web.StreamResponse:
    """For Prometheus; where users have to log in, it has to too (with a password)."""
    registry = call.registry
    grant = await registry.auth.login(call.request.headers, call.own_url)
    if not grant.is_open and grant.user is None:
        headers = {"WWW-Authenticate": 'Basic realm="pyd registry"'}
        raise Problem(401, "UNAUTHORIZED", "authentication required", headers=headers)
    text = registry.metrics.text(registry.store, connections=registry.connections, uploads=registry.receiving)
    return web.Response(body=text.encode(), headers={"Content-Type": text_format.CONTENT_TYPE})
