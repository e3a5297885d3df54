"""Whether a registry accepts a user: what `login` asks before anything is kept."""

from __future__ import annotations

from http import HTTPStatus

import httpx

from pyd.errors import RegistryError, Unauthorized
from pyd.registry.auth import Authorizer
from pyd.registry.client import Registry
from pyd.registry.credentials import Credentials
from pyd.registry.settings import Settings
from pyd.registry.transport import Transport


def verify(host: str, credentials: Credentials, *, tls_verify: bool = True) -> str:
    """The identity token that the registry gives in place of the password, "" when it gives none.

    Raises Unauthorized (in Docker's words), RegistryError, Unavailable.
    """
    transport = Transport(Settings.load(), tls_verify=tls_verify)
    try:
        url = Registry(transport, host).url("/v2/")
        authorizer = Authorizer(transport, url, lambda: credentials)
        status, challenge = _ask(transport, url, None)
        if status == 401 and challenge:
            try:
                authorization, identity = authorizer.log_in(challenge)
            except Unauthorized as error:
                raise Unauthorized(f'Get "{url}": {error.message}') from error
            status, _ = _ask(transport, url, authorization)
            if status == 200:
                return identity
        if status == 200:
            return ""
        refused = Unauthorized if status in (401, 403) else RegistryError
        raise refused(f"login attempt to {url} failed with status: {status} {_phrase(status)}")
    finally:
        transport.close()


def _ask(transport: Transport, url: httpx.URL, authorization: str | None) -> tuple[int, str]:
    """(status, challenge) of the registry's root."""
    try:
        with transport.follow(url, {}, authorization) as response:
            return response.status_code, response.headers.get("WWW-Authenticate", "")
    except httpx.TransportError as error:
        raise transport.unreachable(url, error) from error


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "unknown"
