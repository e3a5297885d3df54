"""HTTP to registries: one pool of connections, redirects by hand, retries with back-off. The only room for
httpx, and for the way past it (`wire`).

Redirects are followed here and not by httpx, because each hop is checked (`origin`) and an Authorization
header stays with the origin that it was made for.
"""

from __future__ import annotations

import contextlib
import email.utils
import os
import random
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping

import httpcore
import httpx

from pyd.errors import Cancelled, RegistryError, Unavailable, from_os_error
from pyd.registry import patience
from pyd.registry.origin import check_redirect, origin
from pyd.registry.proxy import proxy_for, shown
from pyd.registry.settings import Settings
from pyd.registry.wire import Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyd.registry.sink import Sink

_TIMEOUT = httpx.Timeout(connect=15, read=60, write=30, pool=None)
_LIMITS = httpx.Limits(max_connections=16, max_keepalive_connections=8, keepalive_expiry=60)
_HEADERS = {"User-Agent": "pyd", "Accept": "*/*", "Accept-Encoding": "identity"}
ATTEMPTS = 6
_FIRST_PAUSE = 0.2  # seconds; doubled each time
_LONGEST_PAUSE = 60.0  # a registry that wants more is told to the user instead
_RETRIED = frozenset((408, 425, 429, 500, 502, 503, 504))
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_HOPS = 5
CHUNK = 1 << 20
_DIRECT = 64 << 10  # bytes from which on a body is read past httpx


class Transport:
    """May be used by several threads. `close` ends it, `stop` lets everything that waits fail."""

    def __init__(self, settings: Settings, *, tls_verify: bool = True) -> None:
        self.settings = settings
        self._tls_verify = tls_verify
        self._ways: dict[tuple[str, str, int], patience.Transport] = {}
        self._wires: dict[tuple[str, str, int], Wire] = {}
        self._own_headers: dict[tuple[str, str, int], Mapping[str, str]] = {}
        self._lock = threading.Lock()
        self._open: set[httpx.Response] = set()
        self._stopped = threading.Event()

    def is_insecure(self, host: str) -> bool:
        """Whether `host` may be spoken to without verified TLS."""
        return not self._tls_verify or self.settings.is_insecure(host)

    def send_with(self, base: httpx.URL, headers: Mapping[str, str]) -> None:
        """Send `headers` with every request to the origin of `base`, and to no other."""
        self._own_headers[origin(base)] = headers

    def small(
        self,
        method: str,
        url: httpx.URL,
        limit: int,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:
        """(status, body) of one request without redirects; the body has at most `limit` bytes."""
        for attempt in range(ATTEMPTS):
            try:
                response = self._send(method, url, dict(headers or {}), form)
                with self._tracked(response):
                    if response.status_code in _RETRIED and attempt + 1 < ATTEMPTS:
                        self.pause(attempt, response)
                        continue
                    return response.status_code, self.body(response, limit)
            except httpx.TransportError as error:
                if attempt + 1 == ATTEMPTS or not is_temporary(error):
                    raise self.unreachable(url, error) from error
                self.pause(attempt)
        raise AssertionError("unreachable")

    @contextlib.contextmanager
    def once(
        self, method: str, url: httpx.URL, headers: Mapping[str, str], content: Iterable[bytes] | bytes | None
    ) -> Iterator[httpx.Response]:
        """One request, whose redirect is not followed; the body of the answer is not read yet. Raises
        httpx.TransportError: retrying is the caller's.
        """
        response = self._send(method, url, dict(headers), None, content)
        with self._tracked(response):
            yield response

    @property
    def is_stopped(self) -> bool:
        return self._stopped.is_set()

    @contextlib.contextmanager
    def follow(
        self, url: httpx.URL, headers: Mapping[str, str], authorization: str | None
    ) -> Iterator[httpx.Response]:
        """GET with redirects; the body is not read yet. Raises httpx.TransportError: retrying is the
        caller's.
        """
        home, sent = origin(url), dict(headers)
        for _ in range(_HOPS + 1):
            sent.pop("Authorization", None)
            if authorization and origin(url) == home:
                sent["Authorization"] = authorization
            response = self._send("GET", url, sent, None)
            if response.status_code not in _REDIRECTS:
                with self._tracked(response):
                    yield response
                return
            response.close()
            try:
                target = url.join(response.headers.get("Location", ""))
            except httpx.InvalidURL:
                raise RegistryError(f"{url.host} redirects to an invalid address") from None
            check_redirect(url, target)
            url = target
        raise RegistryError(f"{url.host} redirects more than {_HOPS} times")

    def body(self, response: httpx.Response, limit: int) -> bytes:
        """The rest of the response, at most `limit` bytes; more is an error."""
        data, pace = bytearray(), patience.Pace()
        for chunk in response.iter_raw():
            pace.add(len(chunk))
            data += chunk
            if len(data) > limit:
                raise RegistryError(f"{response.url.host} answers with more than {limit} bytes")
        return bytes(data)

    def chunks(self, response: httpx.Response) -> Iterator[bytes]:
        """The body as it comes, in chunks of up to 1 MiB; a long one past httpx, as `deliver` does it."""
        body = response.iter_raw()  # kept: its end would close the connection
        stream, pace = self._direct(response), patience.Pace()
        if stream is None:
            for chunk in body:
                pace.add(len(chunk))
                yield chunk
            return
        first = next(body, b"")
        rest = left = int(response.headers["Content-Length"]) - len(first)
        yield first
        while left > 0:
            try:
                chunk = stream.read(min(left, CHUNK), timeout=_TIMEOUT.read)
            except (httpcore.ReadError, httpcore.ReadTimeout) as error:
                raise httpx.ReadError(str(error)) from error
            if not chunk:
                return
            pace.add(len(chunk))
            left -= len(chunk)
            yield chunk
        if patience.passed(response, rest):
            next(body, None)  # its end: the connection can be used again

    def whole(self, url: httpx.URL, authorization: str | None, ingest: Sink) -> int:
        """Put a whole blob into `ingest` without httpx, where that can be: how many bytes came. Whatever is
        missing then is to be asked for with `follow`, which knows what an error is.
        """
        if url.scheme != "http" or self._stopped.is_set():
            return 0
        with self._lock:
            wire = self._wires.get(origin(url))
            if wire is None:
                wire = self._wires[origin(url)] = Wire(url)
        headers = self._headers(url, {"Authorization": authorization} if authorization else {})
        return wire.fetch(url, headers, ingest)

    def deliver(self, response: httpx.Response, ingest: Sink, at: int, end: int, skip: int) -> Iterator[int]:
        """Put the bytes `at` to `end` of a blob into `ingest`; yields after each step how far they have come.

        `skip`: bytes that come before them. All but short bodies are read from the connection itself, without
        TLS by Rust alone: httpx hands on 64 KiB at a time through four layers and h11. The first chunk comes
        from httpx and holds all that h11 has read ahead.
        """
        body = response.iter_raw()  # kept: its end would close the connection
        stream, pace = None if skip else self._direct(response), patience.Pace()
        # to its very end, or httpx would take the connection for one in the middle of an answer and close it
        for chunk in body:
            pace.add(len(chunk))
            fresh = chunk[skip:]
            skip = max(0, skip - len(chunk))
            # whoever ignores a range sends on; bytes behind the blob's own end are for the ingest to refuse
            if at + len(fresh) > end and "Content-Length" in response.headers:
                fresh = fresh[: end - at]
                stream = None
            if fresh:
                ingest.write(fresh, at)
                at += len(fresh)
                yield at
            elif at >= end:
                break
            if stream is not None:
                break
        if stream is None or at >= end:
            return
        left = end - at
        if stream.get_extra_info("ssl_object") is not None:
            yield from self._decrypt(stream, ingest, at, end)
        else:
            connection = stream.get_extra_info("socket").fileno()
            received, why, errno = ingest.receive(connection, at, end, patience=_TIMEOUT.read or 0)
            yield at + received
            if why == "stalled":
                raise httpx.ReadTimeout("nothing came")
            if why == "failed":
                raise httpx.ReadError(os.strerror(errno)) from OSError(errno, os.strerror(errno))
            if why == "eof":
                raise httpx.RemoteProtocolError("the transfer ended early")
        if patience.passed(response, left):
            next(body, None)  # its end: the connection can be used again

    def _decrypt(self, stream: httpcore.NetworkStream, ingest: Sink, at: int, end: int) -> Iterator[int]:
        pace = patience.Pace()
        while at < end:
            try:
                chunk = stream.read(min(end - at, CHUNK), timeout=_TIMEOUT.read)
            except (httpcore.ReadError, httpcore.ReadTimeout) as error:
                raise httpx.ReadError(str(error)) from error
            if not chunk:
                raise httpx.RemoteProtocolError("the transfer ended early")
            pace.add(len(chunk))
            ingest.write(chunk, at)
            at += len(chunk)
            yield at

    def _direct(self, response: httpx.Response) -> httpcore.NetworkStream | None:
        """The connection of a body that is long and whose length is known."""
        length = response.headers.get("Content-Length", "")
        if (
            "Transfer-Encoding" in response.headers
            or not (length.isascii() and length.isdigit())
            or int(length[:18]) < _DIRECT
        ):
            return None
        stream: httpcore.NetworkStream | None = response.extensions.get("network_stream")
        return stream

    def pause(self, attempt: int, response: httpx.Response | None = None) -> None:
        """Wait before the next attempt (0 was the first), as long as the registry asks for if it does."""
        seconds = _FIRST_PAUSE * 2**attempt * (0.75 + random.random() / 2)  # noqa: S311 - only spreads the load
        wanted = _retry_after(response) if response is not None else None
        if wanted is not None:
            if wanted > _LONGEST_PAUSE:
                assert response is not None
                raise Unavailable(
                    f"{response.url.host} asks to wait {wanted:.0f} seconds (status {response.status_code})",
                    "try again later, or log in: registries allow more to users whom they know",
                )
            seconds = max(wanted, seconds if wanted == 0 else 0)
        if self._stopped.wait(seconds):
            raise Cancelled("cancelled")

    def unreachable(self, url: httpx.URL, error: Exception) -> Unavailable:
        cause = _cause(error)
        hint = None
        if "certificate" in cause.lower():
            hint = (
                f"put the registry's CA in /etc/docker/certs.d/{_host(url)}/ca.crt, "
                "or use --tls-verify=false if you trust the network"
            )
        elif "wrong version number" in cause.lower() or "record layer failure" in cause.lower():
            hint = "the server speaks plain http: use --tls-verify=false, or add it to insecure-registries"
        elif proxy := shown(url):
            hint = f"the way leads through the proxy {proxy}: see HTTPS_PROXY, HTTP_PROXY and NO_PROXY"
        return Unavailable(f"Get {url.scheme}://{_host(url)}{url.path}: {cause}", hint)

    def stop(self) -> None:
        """Cut all transfers: a thread that waits for bytes wakes with an error."""
        self._stopped.set()
        with self._lock:
            responses = list(self._open)
        for response in responses:
            stream = response.extensions.get("network_stream")
            connection = stream.get_extra_info("socket") if stream is not None else None
            if connection is not None:
                with contextlib.suppress(OSError):
                    # the plain method: an SSLSocket's own would wait for the peer
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def close(self) -> None:
        for way in self._ways.values():
            way.close()
        for wire in self._wires.values():
            wire.close()

    def _send(
        self,
        method: str,
        url: httpx.URL,
        headers: dict[str, str],
        form: Mapping[str, str] | None,
        content: Iterable[bytes] | bytes | None = None,
    ) -> httpx.Response:
        if self._stopped.is_set():
            raise Cancelled("cancelled")
        if url.userinfo:  # httpx would make an Authorization header of it
            url = url.copy_with(userinfo=b"")
        request = httpx.Request(
            method,
            url,
            headers=self._headers(url, headers),
            data=form,
            content=content,
            extensions={"timeout": _TIMEOUT.as_dict()},
        )
        # not through a Client: what it adds (cookies, the next request of a redirect, authentication) is not
        # wanted here, and takes as long as the request itself
        with patience.answering():
            response = self._way(url).handle_request(request)
        response.request = request
        return response

    def _headers(self, url: httpx.URL, headers: Mapping[str, str]) -> dict[str, str]:
        return {**_HEADERS, **self._own_headers.get(origin(url), {}), **headers}

    @contextlib.contextmanager
    def _tracked(self, response: httpx.Response) -> Iterator[None]:
        with self._lock:
            self._open.add(response)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(response)
            response.close()

    def _way(self, url: httpx.URL) -> patience.Transport:
        """The connections to the origin of `url`."""
        key = origin(url)
        with self._lock:
            way = self._ways.get(key)
            if way is None:
                way = patience.Transport(
                    tls=self._tls(_host(url)) if url.scheme == "https" else None,
                    proxy=proxy_for(url),
                    limits=_LIMITS,
                )
                self._ways[key] = way
        return way

    def _tls(self, host: str) -> ssl.SSLContext:
        """Verified by the system's CAs and those of /etc/docker/certs.d/<host>; a client certificate lies
        there too.
        """
        if self.is_insecure(host):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        else:
            context = ssl.create_default_context()
        directory = f"/etc/docker/certs.d/{host}"
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            return context
        try:
            for name in names:
                if name.endswith(".crt") and context.verify_mode != ssl.CERT_NONE:
                    context.load_verify_locations(f"{directory}/{name}")
                elif name.endswith(".cert") and f"{name[:-5]}.key" in names:
                    context.load_cert_chain(f"{directory}/{name}", f"{directory}/{name[:-5]}.key")
        except ssl.SSLError as error:
            raise Unavailable(f"the certificates in {directory} cannot be used: {error}") from error
        except OSError as error:
            raise from_os_error(error, f"reading {directory}") from error
        return context


def _host(url: httpx.URL) -> str:
    """host[:port] as people write it."""
    return url.netloc.decode("ascii")


def is_temporary(error: httpx.TransportError) -> bool:
    """Whether trying again can help: a name that does not exist and a refused port stay as they are."""
    if isinstance(error, httpx.UnsupportedProtocol | httpx.ProxyError):
        return False
    cause = _root(error)
    return not isinstance(cause, ssl.SSLError | socket.gaierror | ConnectionRefusedError)


def _root(error: BaseException) -> BaseException:
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return error


def _cause(error: Exception) -> str:
    if isinstance(error, httpx.ConnectTimeout):
        return "connecting timed out"
    if isinstance(error, httpx.ReadTimeout):
        return "too slow" if str(error) == "too slow" else "no answer within 60 seconds"
    cause = _root(error)
    if isinstance(cause, OSError) and cause.errno and not isinstance(cause, ssl.SSLError | socket.gaierror):
        return os.strerror(cause.errno).lower()
    text = str(error) or type(error).__name__
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:300]


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds from the Retry-After header (RFC 9110, section 10.2.3)."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - time.time())
