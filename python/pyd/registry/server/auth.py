"""Who asks, and what they may: nobody is asked (loopback), passwords (Basic), or tokens (Bearer).

Docker's clients learn from the answer to `GET /v2/` whether to log in, so that is always refused to who has
not; what anonymous users may is then decided per repository.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import parse_qs

from pyd.registry.server import token
from pyd.registry.server.access import ACTIONS, PULL, Access
from pyd.registry.server.htpasswd import Users
from pyd.registry.server.options import Options
from pyd.registry.server.problem import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAX_SCOPES = 32
_CATALOG = "registry", "catalog"


@dataclass(frozen=True, slots=True)
class Grant:
    """What one request may do. `access` for users by rules, `claims` for tokens, neither when all is open."""

    user: str | None = None
    access: Access | None = None
    claims: token.Claims | None = None

    @property
    def is_open(self) -> bool:
        return self.access is None and self.claims is None

    @property
    def is_known(self) -> bool:
        """Somebody whom the registry lets in at all."""
        return self.is_open or self.claims is not None or self.user is not None

    def allowed(self, name: str) -> frozenset[str]:
        if self.claims is not None:
            return self.claims.allowed("repository", name)
        return self.access.allowed(self.user, name) if self.access else frozenset(ACTIONS)

    def may_list(self) -> bool:
        """The catalog."""
        if self.claims is not None:
            return bool(self.claims.allowed(*_CATALOG) & {"*", PULL})
        return self.is_known

    def sees(self, name: str) -> bool:
        """Whether the catalog shows the repository."""
        if self.claims is not None and self.access is None:
            return True
        return self.access is None or PULL in self.access.allowed(self.user, name)


class Auth:
    """`own_url` of a request is what clients call this server, for the realm of its own tokens."""

    def __init__(self, options: Options, token_key_path: str) -> None:
        self._options = options
        self._users = Users(options.htpasswd) if options.htpasswd else None
        self._access = Access(options.access) if self._users else None
        self._signer: token.Signer | None = None
        self._verifier: token.Verifier | None = None
        if options.token_key:
            self._verifier = token.Verifier.from_file(
                options.token_key, options.token_service, options.token_issuer
            )
        elif options.token:
            self._signer = token.Signer(token_key_path, options.token_service)
            self._verifier = self._signer.verifier
        # few: guessing passwords must not take all cores
        self._pool = ThreadPoolExecutor(2, "registry-password")

    def close(self) -> None:
        self._pool.shutdown()

    async def identify(self, headers: Mapping[str, str], own_url: str) -> Grant:
        """Raises Problem 401 for credentials that are wrong; without any the grant is nobody's."""
        if not self._options.has_auth:
            return Grant()
        scheme, _, value = headers.get("Authorization", "").partition(" ")
        if self._verifier is not None:
            if scheme.lower() != "bearer":
                return Grant(None, Access.nobody())
            try:
                claims = self._verifier.verify(value.strip())
            except token.InvalidToken as error:
                raise self._unauthorized(str(error), own_url, 'error="invalid_token"') from None
            return Grant(claims.user, self._access, claims)
        return await self.login(headers, own_url)

    async def login(self, headers: Mapping[str, str], own_url: str) -> Grant:
        """By Basic credentials alone. Raises Problem 401 when they are wrong."""
        if not self._options.has_auth:
            return Grant()
        scheme, _, value = headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic" or self._users is None:
            return Grant(None, self._access or Access.nobody())
        user, password = _credentials(value)
        if not await self._is_right(user, password):
            raise self._unauthorized("the user or the password is wrong", own_url, basic=True)
        return Grant(user, self._access)

    def require(self, grant: Grant, name: str, actions: Iterable[str], own_url: str) -> None:
        """Raises Problem 401 (log in, or get a token for this) or 403."""
        wanted = frozenset(actions)
        if wanted <= grant.allowed(name):
            return
        if self._verifier is not None:
            scope = f"repository:{name}:{','.join(a for a in ACTIONS if a in wanted)}"
            error = ',error="insufficient_scope"' if grant.claims else ""
            raise self._unauthorized("authentication required", own_url, f'scope="{scope}"{error}')
        if grant.user is None:
            raise self._unauthorized("authentication required", own_url)
        raise Problem(403, "DENIED", "requested access to the resource is denied", {"repository": name})

    def require_known(self, grant: Grant, own_url: str) -> None:
        if not grant.is_known:
            raise self._unauthorized("authentication required", own_url)

    def require_catalog(self, grant: Grant, own_url: str) -> None:
        if not grant.may_list():
            raise self._unauthorized("authentication required", own_url, 'scope="registry:catalog:*"')

    # The token server

    @property
    def gives_tokens(self) -> bool:
        return self._signer is not None

    async def token(
        self, headers: Mapping[str, str], query: Mapping[str, list[str]], own_url: str
    ) -> dict[str, Any]:
        """The answer to `GET /token?service=..&scope=..`
        (distribution.github.io/distribution/spec/auth/token).
        """
        grant = await self.login(headers, own_url)
        return self._issue(grant, query)

    async def token_by_form(self, body: bytes, own_url: str) -> dict[str, Any]:
        """The answer to `POST /token` with a password
        (distribution.github.io/distribution/spec/auth/oauth).
        """
        try:
            form = parse_qs(body.decode("ascii"), max_num_fields=_MAX_SCOPES + 10)
        except ValueError:
            raise Problem(400, "UNSUPPORTED", "invalid form") from None
        if form.get("grant_type") != ["password"]:
            raise Problem(400, "UNSUPPORTED", "the grant type must be password: there are no refresh tokens")
        user, password = form.get("username", [""])[0], form.get("password", [""])[0]
        if not await self._is_right(user, password):
            raise self._unauthorized("the user or the password is wrong", own_url, basic=True)
        return self._issue(Grant(user, self._access), form)

    def _issue(self, grant: Grant, query: Mapping[str, list[str]]) -> dict[str, Any]:
        assert self._signer is not None
        service = query.get("service", [self._signer.service])[0]
        if service != self._signer.service:
            raise Problem(400, "UNSUPPORTED", "this server gives no tokens for that service")
        scopes = [word for text in query.get("scope", []) for word in text.split()][:_MAX_SCOPES]
        access = [entry for scope in scopes if (entry := self._granted(grant, scope))]
        now = time.time()
        signed = self._signer.sign(grant.user, access, now)
        return {
            "token": signed,
            "access_token": signed,
            "expires_in": token.LIFETIME,
            "issued_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
        }

    def _granted(self, grant: Grant, scope: str) -> dict[str, Any] | None:
        """The part of a scope (`repository:a/b:pull,push`) that the user may have."""
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        wanted = actions.split(",")
        if kind.partition("(")[0] == "repository":
            allowed = grant.allowed(name)
            given = [action for action in ACTIONS if action in allowed and {action, "*"} & set(wanted)]
            return {"type": "repository", "name": name, "actions": given} if given else None
        if (kind, name) == _CATALOG and grant.user is not None:
            return {"type": kind, "name": name, "actions": ["*"]}
        return None

    async def _is_right(self, user: str, password: str) -> bool:
        if self._users is None:
            return False
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, self._users.verify, user, password
        )

    def _unauthorized(self, message: str, own_url: str, extra: str = "", *, basic: bool = False) -> Problem:
        if self._verifier is not None and not basic:
            realm = self._options.token_realm or f"{own_url}/token"
            words = [f'Bearer realm="{realm}"', f'service="{self._options.token_service}"', extra]
            challenge = ",".join(word for word in words if word)
        else:
            challenge = 'Basic realm="pyd registry"'
        return Problem(401, "UNAUTHORIZED", message, headers={"WWW-Authenticate": challenge})


def _credentials(value: str) -> tuple[str, str]:
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return user, password
