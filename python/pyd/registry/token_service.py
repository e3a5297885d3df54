"""A token service: credentials in, access token out.

Protocols: distribution.github.io/distribution/spec/auth/token (GET, with the user's Basic credentials if
there are any) and .../auth/oauth (POST, with an identity token, or with the password where GET is not
served).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from pyd.errors import RegistryError, Unauthorized
from pyd.registry.credentials import Credentials

if TYPE_CHECKING:
    from pyd.registry.transport import Transport

_MAX_ANSWER = 1 << 20
_CLIENT = "pyd"
_SECONDS = 60.0  # how long a token is good when the service does not say
_NO_GET = (404, 405, 501)
_SAYS = ("message", "details", "error_description", "error")


@dataclass(frozen=True, slots=True)
class Token:
    access: str = field(repr=False)
    seconds: float
    identity: str = field(repr=False)  # a refresh token, "" when none was given


def fetch(
    transport: Transport,
    realm: httpx.URL,
    service: str,
    scopes: str,
    credentials: Credentials | None,
    *,
    offline: bool = False,
) -> Token:
    """Ask `realm` for a token. `offline` asks for an identity token too: what `login` keeps in place of the
    password. Raises Unauthorized when the service does not accept the credentials.
    """
    common = {"service": service} if service else {}
    if credentials and credentials.identity_token:
        grant = {"grant_type": "refresh_token", "refresh_token": credentials.identity_token}
        status, body = _post(transport, realm, {**common, **grant}, scopes, offline)
    else:
        status, body = _get(transport, realm, common, scopes, credentials, offline)
        if status in _NO_GET and credentials and credentials.username:
            grant = {
                "grant_type": "password",
                "username": credentials.username,
                "password": credentials.password,
            }
            status, body = _post(transport, realm, {**common, **grant}, scopes, offline)
    if status in (400, 401, 403):
        raise Unauthorized(f"unauthorized: {_message(body, credentials) or 'authentication required'}")
    if status != 200:
        raise RegistryError(f"the token server {realm.host} answers with status {status}")
    return _token(realm, body)


def _get(
    transport: Transport,
    realm: httpx.URL,
    common: dict[str, str],
    scopes: str,
    credentials: Credentials | None,
    offline: bool,
) -> tuple[int, bytes]:
    query = [*common.items(), *(("scope", scope) for scope in scopes.split())]
    headers = {}
    if credentials and credentials.username:
        query.append(("account", credentials.username))
        headers["Authorization"] = credentials.basic
    if offline:
        query += [("client_id", _CLIENT), ("offline_token", "true")]
    # the realm may have a query of its own
    url = realm.copy_with(params=httpx.QueryParams([*realm.params.multi_items(), *query]))
    return transport.small("GET", url, _MAX_ANSWER, headers=headers)


def _post(
    transport: Transport, realm: httpx.URL, form: dict[str, str], scopes: str, offline: bool
) -> tuple[int, bytes]:
    form = {**form, "client_id": _CLIENT, **({"scope": scopes} if scopes else {})}
    if offline:
        form["access_type"] = "offline"
    return transport.small("POST", realm, _MAX_ANSWER, form=form)


def _token(realm: httpx.URL, body: bytes) -> Token:
    try:
        answer = json.loads(body)
        access = answer.get("token") or answer["access_token"]
        seconds = float(answer.get("expires_in") or _SECONDS)
        identity = answer.get("refresh_token") or ""
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        raise RegistryError(f"the token server {realm.host} gives no token") from None
    for value in (access, identity):
        # it becomes a header: a line break in it would begin another
        if not isinstance(value, str) or not value.isascii() or not value.isprintable():
            raise RegistryError(f"the token server {realm.host} gives an invalid token")
    return Token(access, seconds if seconds > 0 else _SECONDS, identity)


def _message(body: bytes, credentials: Credentials | None) -> str:
    """What the service says is wrong, in one of the three forms that are in use. It is not believed to keep
    our secrets: a message that repeats one is dropped.
    """
    try:
        answer: Any = json.loads(body)
        if isinstance(answer.get("errors"), list):
            answer = answer["errors"][0]
        text = next(str(answer[key]) for key in _SAYS if answer.get(key))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, StopIteration, RecursionError):
        return ""
    if credentials and any(secret in text for secret in credentials.secrets):
        return ""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:200]
