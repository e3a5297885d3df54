"""Authorization for one registry: none until it asks, then Basic, or a Bearer token per scope.

Token protocols: distribution.github.io/distribution/spec/auth/token (GET, with the user's Basic credentials
if there are any) and .../auth/oauth (POST, with an identity token).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx

from pyd.errors import RegistryError, Unauthorized
from pyd.registry.challenge import Challenge, parse_challenges
from pyd.registry.credentials import Credentials
from pyd.registry.origin import check_realm

if TYPE_CHECKING:
    from pyd.registry.transport import Transport

_MAX_ANSWER = 1 << 20
_CLIENT = "pyd"


class Authorizer:
    """Answers the challenges of one registry, and remembers the answers."""

    def __init__(
        self, transport: Transport, base: httpx.URL, credentials: Callable[[], Credentials | None]
    ) -> None:
        self._transport = transport
        self._base = base
        self._find = credentials
        self._lock = threading.Lock()
        self._basic: str | None = None
        self._tokens: dict[str, tuple[str, float]] = {}  # scope -> header, when it ends

    def header(self, scope: str) -> str | None:
        """Authorization for a request, if the registry has asked before."""
        token = self._tokens.get(scope)
        if token and token[1] > time.monotonic():
            return token[0]
        return self._basic

    def answer(self, response_header: str, scope: str, rejected: str | None) -> str | None:
        """Authorization after a 401. `rejected`: what was sent. None when there is nothing better to send."""
        with self._lock:
            # another thread may have fetched one while this one waited
            current = self.header(scope)
            if current and current != rejected:
                return current
            challenges = parse_challenges(response_header)
            bearer = next((item for item in challenges if item.scheme == "bearer"), None)
            if bearer:
                return self._bearer(bearer, scope, rejected)
            if any(item.scheme == "basic" for item in challenges):
                credentials = self._find()
                if credentials and credentials.username and credentials.basic != rejected:
                    self._basic = credentials.basic
                    return self._basic
        return None

    def _bearer(self, challenge: Challenge, scope: str, rejected: str | None) -> str | None:
        credentials = self._find()
        if credentials and credentials.registry_token:
            header = f"Bearer {credentials.registry_token}"
            return None if header == rejected else header
        try:
            realm = httpx.URL(challenge.parameters.get("realm", ""))
        except httpx.InvalidURL:
            raise RegistryError(f"{self._base.host} names an invalid token server") from None
        check_realm(self._base, realm)
        fields = {"scope": scope}
        if challenge.parameters.get("service"):
            fields["service"] = challenge.parameters["service"]
        token, seconds = self._token(realm, fields, credentials)
        header = f"Bearer {token}"
        if header == rejected:
            return None
        # renewed a little early: a token that ends on the way would cost a request
        self._tokens[scope] = header, time.monotonic() + max(seconds - 10, 5)
        return header

    def _token(
        self, realm: httpx.URL, fields: dict[str, str], credentials: Credentials | None
    ) -> tuple[str, float]:
        if credentials and credentials.identity_token:
            form = {
                **fields,
                "grant_type": "refresh_token",
                "refresh_token": credentials.identity_token,
                "client_id": _CLIENT,
            }
            status, body = self._transport.small("POST", realm, _MAX_ANSWER, form=form)
        else:
            headers = {"Authorization": credentials.basic} if credentials and credentials.username else {}
            url = realm.copy_merge_params(fields)
            status, body = self._transport.small("GET", url, _MAX_ANSWER, headers=headers)
        if status in (401, 403):
            raise Unauthorized(
                f"unauthorized: {realm.host} does not accept the credentials"
                if credentials
                else "unauthorized",
                "log in again: docker login (pyd reads its config.json)" if credentials else None,
            )
        if status != 200:
            raise RegistryError(f"the token server {realm.host} answers with status {status}")
        try:
            answer = json.loads(body)
            token = answer.get("token") or answer["access_token"]
            seconds = float(answer.get("expires_in") or 60)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise RegistryError(f"the token server {realm.host} gives no token") from None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise RegistryError(f"the token server {realm.host} gives an invalid token")
        return token, seconds
