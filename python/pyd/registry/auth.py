"""Authorization for one registry: none until it asks, then Basic, or a Bearer token for each set of scopes.

A client asks `header(scopes)` before each request. When the registry answers 401 all the same (a token may
end in the middle of a long upload) it asks `answer(..)` once, and sends the request again if that gives
something.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx

from pyd.errors import RegistryError, Unauthorized
from pyd.record import replace
from pyd.registry import scope
from pyd.registry.credentials import Credentials
from pyd.registry.origin import check_realm, origin

if TYPE_CHECKING:
    from pyd.registry.challenge import Challenge
    from pyd.registry.transport import Transport

_EARLY = 10.0  # seconds: a token that ends on the way would cost a request, or a whole chunk of an upload
_MOST_TOKENS = 1000  # sets of scopes of one process; more are asked for anew


class Authorizer:
    """Answers the challenges of one registry, and remembers the answers. May be used by several threads.

    `credentials` is called at most once, when the registry asks: it may start a program.
    """

    def __init__(
        self, transport: Transport, base: httpx.URL, credentials: Callable[[], Credentials | None]
    ) -> None:
        self._transport = transport
        self._base = base
        self._find = credentials
        self._lock = threading.Lock()
        self._known: list[Credentials | None] = []  # one when they have been looked for
        self._basic: str | None = None
        self._realm: tuple[httpx.URL, str] | None = None  # of the first Bearer challenge: URL and service
        self._tokens: dict[str, tuple[str, float]] = {}  # scopes -> header, when it ends

    def header(self, scopes: str, url: httpx.URL | None = None) -> str | None:
        """Authorization for a request, as far as the registry has asked before.

        `scopes`: one or more, separated by spaces (`scope.repository`); a token for more will do. None for
        a `url` of another origin: a place for an upload, or a redirect, is not the registry. Raises
        Unauthorized when the registry's token service does not accept the user.
        """
        if url is not None and origin(url) != origin(self._base):
            return None
        with self._lock:
            wanted = scope.merge(scopes)
            return self._remembered(wanted) or (self._fetch(wanted, None) if self._realm else None)

    def answer(self, challenges: str, scopes: str, rejected: str | None) -> str | None:
        """Authorization after a 401 of the registry itself, from its WWW-Authenticate header.

        `rejected`: what was sent. None when there is nothing better to send: then the 401 is final.
        """
        from pyd.registry.challenge import parse_challenges

        with self._lock:
            wanted = scope.merge(scopes)
            # it may be good for more than `wanted`, and must not come back for any of that
            self._tokens = {have: kept for have, kept in self._tokens.items() if kept[0] != rejected}
            # another thread may have fetched one while this one waited
            current = self._remembered(wanted)
            if current and current != rejected:
                return current
            found = parse_challenges(challenges)
            bearer = next((item for item in found if item.scheme == "bearer"), None)
            if bearer:
                self._realm = self._checked_realm(bearer), bearer.parameters.get("service", "")
                more = scope.of_challenge(bearer.parameters.get("scope", ""))
                return self._fetch(scope.merge(wanted, more), rejected)
            if any(item.scheme == "basic" for item in found):
                return self._answer_basic(rejected)
        return None

    def log_in(self, challenges: str) -> tuple[str | None, str]:
        """(Authorization for the registry, an identity token or "") after the 401 of a `login`."""
        from pyd.registry import token_service
        from pyd.registry.challenge import parse_challenges

        found = parse_challenges(challenges)
        bearer = next((item for item in found if item.scheme == "bearer"), None)
        if bearer is None:
            asks = any(item.scheme == "basic" for item in found)
            return self._answer_basic(None) if asks else None, ""
        service = bearer.parameters.get("service", "")
        token = token_service.fetch(
            self._transport, self._checked_realm(bearer), service, "", self._credentials(), offline=True
        )
        return f"Bearer {token.access}", token.identity

    def _credentials(self) -> Credentials | None:
        if not self._known:
            self._known.append(self._find())
        return self._known[0]

    def _remembered(self, wanted: str) -> str | None:
        now = time.monotonic()
        for have, (header, ends) in self._tokens.items():
            if ends > now and scope.covers(have, wanted):
                return header
        return self._basic

    def _answer_basic(self, rejected: str | None) -> str | None:
        credentials = self._credentials()
        if credentials and credentials.username and credentials.basic != rejected:
            self._basic = credentials.basic
            return self._basic
        return None

    def _checked_realm(self, challenge: Challenge) -> httpx.URL:
        try:
            realm = httpx.URL(challenge.parameters.get("realm", ""))
        except httpx.InvalidURL:
            raise RegistryError(f"{self._base.host} names an invalid token server") from None
        check_realm(self._base, realm)
        # httpx would make a header of it; and it would stand in messages
        return realm.copy_with(userinfo=b"", fragment=None) if realm.userinfo or realm.fragment else realm

    def _fetch(self, wanted: str, rejected: str | None) -> str | None:
        from pyd.registry import token_service

        assert self._realm is not None
        credentials = self._credentials()
        if credentials and credentials.registry_token:
            header = f"Bearer {credentials.registry_token}"
            return None if header == rejected else header
        try:
            token = token_service.fetch(self._transport, *self._realm, wanted, credentials)
        except Unauthorized as error:
            if credentials:
                error.hint = f"log in again: pyd login {self._base.netloc.decode('ascii')}"
            raise
        if credentials and credentials.identity_token and token.identity:
            # the service may give each only once (RFC 6749, section 6)
            self._known = [replace(credentials, identity_token=token.identity)]
        header = f"Bearer {token.access}"
        if header == rejected:
            return None
        while len(self._tokens) >= _MOST_TOKENS:
            del self._tokens[next(iter(self._tokens))]
        self._tokens[wanted] = header, time.monotonic() + max(token.seconds - _EARLY, token.seconds / 2)
        return header
