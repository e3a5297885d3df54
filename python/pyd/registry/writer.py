"""Requests that change a registry: authorized, with one challenge answered and redirects checked.

A registry may name any place for an upload (Location), and may redirect there: the Authorization header stays
with the registry's own origin, https never becomes http, and nobody in the world sends us to this host's own
addresses (`origin.check_redirect`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

import httpx

from pyd.errors import (
    Forbidden,
    ImageNotFound,
    InvalidArgument,
    NotSupported,
    RegistryError,
    Unauthorized,
    Unavailable,
)
from pyd.registry.client import Registry
from pyd.registry.origin import check_redirect, origin
from pyd.registry.transport import ATTEMPTS, is_temporary

RETRIED = frozenset((408, 425, 429, 500, 502, 503, 504))
_KEEPS_METHOD = frozenset((307, 308))
_REDIRECTS = frozenset((301, 302, 303))
_HOPS = 5
_MAX_ANSWER = 4 << 20


@dataclass(frozen=True, slots=True)
class Body:
    """`read()` gives the bytes anew each time: a challenge or a redirect may ask for them twice."""

    size: int
    read: Callable[[], Iterable[bytes] | bytes]

    @classmethod
    def of(cls, data: bytes) -> Body:
        return cls(len(data), lambda: data)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response that was read to its end."""

    status: int
    headers: httpx.Headers
    data: bytes
    url: httpx.URL  # where it came from: what a relative Location is relative to

    @property
    def location(self) -> httpx.URL | None:
        """The Location header as a URL that may be followed. Raises RegistryError for one that may not."""
        text = self.headers.get("Location", "")
        if not text:
            return None
        try:
            target = self.url.join(text)
        except httpx.InvalidURL:
            raise RegistryError(f"{self.url.host} answers with an invalid Location") from None
        check_redirect(self.url, target)
        return target


class Writer:
    """One repository of a registry. May be used by several threads."""

    def __init__(self, registry: Registry, path: str) -> None:
        self.registry = registry
        self.path = path
        self.scope = f"repository:{path}:pull,push"
        self._transport = registry.transport
        self._home = origin(registry.url("/v2/"))

    def url(self, rest: str) -> httpx.URL:
        """`rest` is what follows the repository: /blobs/uploads/"""
        return self.registry.url(f"/v2/{self.path}{rest}")

    @contextmanager
    def open(
        self,
        method: str,
        url: httpx.URL,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        scope: str = "",
    ) -> Iterator[httpx.Response]:
        """One exchange, whose answer is not read yet. Raises httpx.TransportError."""
        sent = self.registry.authorizer.header(scope or self.scope, url)
        for attempt in range(2):
            with self._follow(method, url, headers or {}, body, sent) as response:
                challenge = response.headers.get("WWW-Authenticate", "")
                # a 401 of the storage behind a redirect is no challenge of the registry
                if response.status_code != 401 or not challenge or attempt or not self._is_home(response.url):
                    yield response
                    return
            answer = self.registry.authorizer.answer(challenge, scope or self.scope, sent)
            if answer is None:
                self.refused(Answer(401, httpx.Headers(), b"", url))
            sent = answer
        raise AssertionError("unreachable")

    def exchange(
        self,
        method: str,
        url: httpx.URL,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        scope: str = "",
    ) -> Answer:
        """One exchange with a small answer. Raises httpx.TransportError."""
        with self.open(method, url, headers, body, scope) as response:
            data = b"" if method == "HEAD" else self._transport.body(response, _MAX_ANSWER)
            return Answer(response.status_code, response.headers, data, response.url)

    def ask(
        self,
        method: str,
        url: httpx.URL,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        scope: str = "",
    ) -> Answer:
        """The same, tried again while the registry is not able to answer. For what may be done twice."""
        for attempt in range(ATTEMPTS):
            try:
                with self.open(method, url, headers, body, scope) as response:
                    if response.status_code in RETRIED and attempt + 1 < ATTEMPTS:
                        self._transport.pause(attempt, response)
                        continue
                    data = b"" if method == "HEAD" else self._transport.body(response, _MAX_ANSWER)
                    return Answer(response.status_code, response.headers, data, response.url)
            except httpx.TransportError as error:
                if attempt + 1 == ATTEMPTS or not is_temporary(error):
                    raise self._transport.unreachable(url, error) from error
                self._transport.pause(attempt)
        raise AssertionError("unreachable")

    def refused(self, answer: Answer, doing: str = "") -> NoReturn:
        """Raise what an unwelcome answer means, in Docker's words."""
        code, message = diagnosis(answer.data)
        status, host = answer.status, self.registry.host
        if status == 401:
            raise Unauthorized(
                f"unauthorized: {message or 'authentication required'}", f"log in: pyd login {host}"
            )
        if status == 403:
            raise Forbidden(f"denied: {message or 'requested access to the resource is denied'}")
        if status == 404:
            raise ImageNotFound(f"{(code or 'not found').lower()}: {message or f'{host} does not have it'}")
        if status == 405 or code == "UNSUPPORTED":
            raise NotSupported(f"{host} does not allow that: {message or f'status {status}'}")
        if status == 413:
            raise InvalidArgument(f"{host} takes nothing that large: {message or 'status 413'}")
        if status == 429:
            raise Unavailable(
                f"toomanyrequests: {message or 'the registry allows no more requests now'}", "log in, or wait"
            )
        said = f"{code.lower()}: {message}" if code else message
        raise RegistryError(f"{host} answers with status {status}{f' {doing}' if doing else ''}: {said}")

    def _is_home(self, url: httpx.URL) -> bool:
        return origin(url) == self._home

    @contextmanager
    def _follow(
        self,
        method: str,
        url: httpx.URL,
        headers: Mapping[str, str],
        body: Body | None,
        authorization: str | None,
    ) -> Iterator[httpx.Response]:
        for _ in range(_HOPS + 1):
            sent = dict(headers)
            if authorization and self._is_home(url):
                sent["Authorization"] = authorization
            content: Iterable[bytes] | bytes | None = None
            if body is not None:
                content = body.read()
                sent["Content-Length"] = str(body.size)
            with self._transport.once(method, url, sent, content) as response:
                status = response.status_code
                # what changes the registry goes on only where method and body stay what they are
                followed = status in _KEEPS_METHOD or (status in _REDIRECTS and method in ("HEAD", "GET"))
                if not followed or "Location" not in response.headers:
                    yield response
                    return
                try:
                    target = url.join(response.headers["Location"])
                except httpx.InvalidURL:
                    raise RegistryError(f"{url.host} redirects to an invalid address") from None
            check_redirect(url, target)
            url = target
        raise RegistryError(f"{url.host} redirects more than {_HOPS} times")


def diagnosis(data: bytes) -> tuple[str, str]:
    """(code, message) of an error document (distribution spec, "Error codes"), "" for what is not said."""
    try:
        first = json.loads(data)["errors"][0]
        code, message = first.get("code"), first.get("message")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return "", ""
    return _clean(code), _clean(message)


def _clean(text: object) -> str:
    """Without what could steer a terminal."""
    known = text if isinstance(text, str) else ""
    return "".join(letter if letter.isprintable() else "?" for letter in known[:300])
