"""The registry that answers requests: its parts, and the way of one request through them."""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

from aiohttp import ClientPayloadError, web

from pyd.errors import KernelError, PydError
from pyd.registry.server import collector, log, routes
from pyd.registry.server.auth import Auth, Grant
from pyd.registry.server.call import Call, own_url
from pyd.registry.server.collector import Collected
from pyd.registry.server.database import Writer
from pyd.registry.server.metrics import Metrics
from pyd.registry.server.mirror import Mirror
from pyd.registry.server.options import Options
from pyd.registry.server.problem import Problem, of_kernel_error
from pyd.registry.server.sessions import Sessions
from pyd.registry.server.store import Store

_THREADS = 8  # that write, hash and sync; most of that is waiting for the disk
_GONE = (ConnectionError, ClientPayloadError, web.RequestPayloadError)
_OPEN_ROUTES = ("token", "metrics")  # these look at credentials of their own kind


class Registry:
    """Made and used inside of the event loop."""

    def __init__(self, options: Options, store: Store) -> None:
        self.options = options
        self.store = store
        store.quota.total, store.quota.repository = options.quota, options.repository_quota
        self.auth = Auth(options, f"{store.root}/token.key")
        self.sessions = Sessions(store.files)
        self.metrics = Metrics()
        self.pool = ThreadPoolExecutor(_THREADS, "registry-io")
        self.writer = Writer(store.db)
        self.mirror = Mirror(self, options.mirror) if options.mirror else None
        self.receiving = 0  # requests that send a blob now
        self._active = 0  # requests that are not answered yet
        self._idle = asyncio.Event()
        self._is_draining = False
        self.connections = 0

    async def drain(self, seconds: float) -> None:
        """Wait until the requests that are here are answered; no connection gets another one in.

        aiohttp's own way would stop reading at once, and an upload that is under way could not end.
        """
        self._is_draining = True
        try:
            async with asyncio.timeout(seconds):
                while self._active:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            pass

    async def close(self) -> None:
        if self.mirror is not None:
            await self.mirror.close()
        self.sessions.close()
        self.auth.close()
        self.pool.shutdown()
        self.writer.close()

    def quota_room(self, name: str) -> int | None:
        """Bytes that the repository may still take; None for any number."""
        return self.store.quota.room(name, self.store.one) if self.store.quota else None

    async def collect(self) -> Collected:
        done = await asyncio.get_running_loop().run_in_executor(
            self.pool,
            lambda: collector.collect(
                self.store,
                grace=self.options.gc_grace,
                untagged=self.options.delete_untagged,
                upload_expiry=self.options.upload_expiry,
            ),
        )
        self.metrics.collections += 1
        self.metrics.collected_bytes += done.size
        return done

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request, whatever comes of it: an answer, a count, a line in the log."""
        started = time.monotonic()
        call = Call(self, request, Grant())
        status, sent = 499, 0
        self._active += 1
        try:
            response = await self._answer(call)
            if self._is_draining:
                response.force_close()
            status = response.status
            sent = call.sent if call.sent else response.content_length or 0
            if request.method == "HEAD":
                sent = 0
            return response
        finally:
            self._active -= 1
            if not self._active:
                self._idle.set()
            seconds = time.monotonic() - started
            self.metrics.count(_method(request), call.route, status, seconds, sent or call.sent)
            if self.options.access_log:
                log.access(request, call.grant.user, status, sent or call.sent, seconds)

    async def _answer(self, call: Call) -> web.StreamResponse:
        try:
            handler = routes.find(call)
            if call.route not in _OPEN_ROUTES:
                call.grant = await self.auth.identify(call.request.headers, own_url(call.request))
            response = await handler(call)
        except Problem as problem:
            response = _error(problem)
        except _GONE:
            raise
        except (OSError, KernelError) as error:
            self.complain(error)
            response = _error(of_kernel_error(error))
        except Exception as error:
            self.complain(error)
            response = _error(Problem(500, "UNKNOWN", "the registry failed; its log says why"))
        if not response.prepared:
            response.headers["Docker-Distribution-API-Version"] = "registry/2.0"
        return response

    def complain(self, error: BaseException) -> None:
        """Tell the operator. Known errors in a line, bugs with all there is."""
        if isinstance(error, PydError | OSError):
            sys.stderr.write(f"pyd registry: {log.clean(str(error), 1000)}\n")
        else:
            traceback.print_exception(error)
        sys.stderr.flush()


def _error(problem: Problem) -> web.Response:
    headers = {"Content-Type": "application/json", "X-Content-Type-Options": "nosniff", **problem.headers}
    return web.Response(status=problem.status, body=problem.document, headers=headers)


def _method(request: web.BaseRequest) -> str:
    known = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
    return request.method if request.method in known else "other"
