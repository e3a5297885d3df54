"""Listening, collecting now and then, and ending in good order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
import sys
import time

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from pyd.errors import InvalidArgument, KernelError, from_os_error
from pyd.registry.server import sessions
from pyd.registry.server.app import Registry
from pyd.registry.server.options import Options
from pyd.registry.server.store import Store

# A connection that has sent no whole request within this time is closed: slow headers hold nothing for long
_HEADERS = 60.0
_STALL = 60_000  # milliseconds for which a client may not take what it asked for: the kernel ends it then
_READ_BUFFER = 1 << 20
_BACKLOG = 512
_IDLE_UPLOAD = 300.0
_TICK = 30.0


class _Server(web.Server):
    """Counts connections, and takes no more than it may."""

    registry: Registry

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self.registry.connections += 1
        if self.registry.connections > self.registry.options.max_connections:
            transport.abort()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self.registry.connections -= 1


def run(options: Options) -> None:
    """Serve until SIGTERM or SIGINT. Raises PydError when it cannot begin."""
    options.check()
    store = Store(options.root, options.shared)
    lock = store.lock()
    try:
        now = time.time()
        sessions.sweep(store.files, uploads_before=now - options.upload_expiry, temporary_before=now)
        listener = _listen(options)
        try:
            context = _tls(options)
            asyncio.run(_serve(options, store, listener, context))
        finally:
            listener.close()
    finally:
        store.db.close()
        os.close(lock)


async def _serve(
    options: Options, store: Store, listener: socket.socket, context: ssl.SSLContext | None
) -> None:
    registry = Registry(options, store)
    server = _Server(
        registry.handle,
        keepalive_timeout=_HEADERS,
        read_bufsize=_READ_BUFFER,
        auto_decompress=False,  # a blob is the bytes as they are sent, and a bomb would be one
        max_line_size=8190,
        max_field_size=16 << 10,  # tokens with many scopes
        access_log=None,
        # what aiohttp has to say is about requests that are no HTTP: anybody could fill the log with it
        logger=logging.Logger("pyd-registry", logging.CRITICAL + 1),
    )
    server.registry = registry
    runner = web.ServerRunner(server, shutdown_timeout=1)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if context is not None:
        loop.add_signal_handler(signal.SIGHUP, _reload, options, context)
    housekeeping = asyncio.create_task(_keep_house(registry))
    try:
        await runner.setup()
        site = web.SockSite(runner, listener, ssl_context=context, backlog=_BACKLOG)
        await site.start()
        _announce(options, listener)
        await stopped.wait()
        await site.stop()  # listening
        await registry.drain(options.shutdown)
    finally:
        housekeeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await housekeeping
        await runner.cleanup()
        await registry.close()


async def _keep_house(registry: Registry) -> None:
    """Garbage collection, and files of uploads that nobody writes to."""
    options = registry.options
    due = time.monotonic() + min(options.gc_interval, _TICK)
    while True:
        await asyncio.sleep(min(_TICK, options.gc_interval or _TICK))
        registry.sessions.close_idle(_IDLE_UPLOAD)
        if options.gc_interval and time.monotonic() >= due:
            try:
                done = await registry.collect()
            except Exception as error:
                registry.complain(error)
            else:
                if done.blobs or done.manifests:
                    sys.stderr.write(
                        f"pyd registry: collected {done.blobs} blobs ({done.size} bytes), "
                        f"{done.manifests} manifests\n"
                    )
            due = time.monotonic() + options.gc_interval


def _listen(options: Options) -> socket.socket:
    try:
        found = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InvalidArgument(f"cannot listen on {options.host}: {error.strerror or error}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # inherited by every connection
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STALL)
        listener.setblocking(False)
        listener.bind(address)
    except OSError as error:
        listener.close()
        cause = os.strerror(error.errno or 0).lower()
        raise KernelError(
            f"cannot listen on {options.host}:{options.port}: {cause}",
            "another program listens there: choose another --listen" if error.errno == 98 else None,
            op="bind",
            errno=error.errno or 0,
        ) from None
    return listener


def _tls(options: Options) -> ssl.SSLContext | None:
    if options.tls_certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(options, context)
    return context


def _load(options: Options, context: ssl.SSLContext) -> None:
    assert options.tls_certificate is not None
    try:
        context.load_cert_chain(options.tls_certificate, options.tls_key)
    except ssl.SSLError as error:
        raise InvalidArgument(
            f"{options.tls_certificate} and {options.tls_key} are no certificate with its key: {error}"
        ) from None
    except OSError as error:
        raise from_os_error(error, f"reading {options.tls_certificate} or {options.tls_key}") from error


def _reload(options: Options, context: ssl.SSLContext) -> None:
    """SIGHUP: the certificate was renewed. Connections that are open keep the old one."""
    try:
        _load(options, context)
        sys.stderr.write("pyd registry: the certificate was read again\n")
    except Exception as error:
        sys.stderr.write(f"pyd registry: {error}\n")


def _announce(options: Options, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    what = f"a mirror of {options.mirror}" if options.mirror else options.root
    print(f"Serving {what} on {'https' if options.has_tls else 'http'}://{shown}", flush=True)
