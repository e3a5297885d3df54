"""Which path means what. By hand, because names of repositories have slashes in them and nothing may be read
in two ways: the path is taken as it was sent, and percent signs are refused but for an encoded colon.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import Any

from aiohttp import web

from pyd.registry.server import blobs, manifests, pages, referrers, tags, uploads
from pyd.registry.server.call import Call
from pyd.registry.server.problem import Problem, unsupported

Handler = Callable[[Call], Coroutine[Any, Any, web.StreamResponse]]

_METHODS: dict[str, tuple[str, dict[str, Handler]]] = {
    "base": (r"/v2/?", {"GET": pages.base}),
    "catalog": (r"/v2/_catalog", {"GET": tags.catalog}),
    "token": (r"/token", {"GET": pages.token, "POST": pages.token}),
    "metrics": (r"/metrics", {"GET": pages.metrics}),
    "uploads": (r"/v2/(?P<name>.+)/blobs/uploads/?", {"POST": uploads.start}),
    "upload": (
        r"/v2/(?P<name>.+)/blobs/uploads/(?P<reference>[^/]+)",
        {"GET": uploads.status, "PATCH": uploads.append, "PUT": uploads.finish, "DELETE": uploads.cancel},
    ),
    "blob": (r"/v2/(?P<name>.+)/blobs/(?P<reference>[^/]+)", {"GET": blobs.get, "DELETE": blobs.delete}),
    "manifest": (
        r"/v2/(?P<name>.+)/manifests/(?P<reference>[^/]+)",
        {"GET": manifests.get, "PUT": manifests.put, "DELETE": manifests.delete},
    ),
    "tags": (r"/v2/(?P<name>.+)/tags/list", {"GET": tags.tags}),
    "referrers": (r"/v2/(?P<name>.+)/referrers/(?P<reference>[^/]+)", {"GET": referrers.get}),
}
_ROUTES = [(route, re.compile(pattern, re.ASCII), methods) for route, (pattern, methods) in _METHODS.items()]
_MAX_PATH = 1024


def find(call: Call) -> Handler:
    """The handler of the request; fills in `route`, `name` and `reference`. Raises Problem 404 or 405."""
    path = call.request.raw_path.partition("?")[0].replace("%3A", ":").replace("%3a", ":")
    if len(path) <= _MAX_PATH and "%" not in path:
        for route, pattern, methods in _ROUTES:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            call.route = route
            found = match.groupdict()
            call.name, call.reference = found.get("name", ""), found.get("reference", "")
            method = "GET" if call.request.method == "HEAD" else call.request.method
            handler = methods.get(method)
            if handler is None:
                problem = unsupported(f"{call.request.method} is not supported here"[:100])
                problem.headers["Allow"] = ", ".join(methods)
                raise problem
            return handler
    raise Problem(404, "NAME_UNKNOWN", "there is nothing at this path")
