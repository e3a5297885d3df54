"""`login` and `logout`: credentials verified by their registry, then kept where config.json says."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from pyd.errors import InvalidArgument
from pyd.record import replace
from pyd.registry import credentials
from pyd.registry.credentials import HUB, HUB_KEY, Credentials

_NAME = r"[a-zA-Z0-9](?:[a-zA-Z0-9._-]*[a-zA-Z0-9])?"
_HOST = re.compile(rf"(?:{_NAME}|\[[0-9a-fA-F:.]+\])(?::[0-9]{{1,5}})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Server:
    host: str  # host[:port]; docker.io for Docker Hub
    name: str  # the key under which Docker keeps it

    @classmethod
    def parse(cls, text: str) -> Server:
        """From what a user writes: nothing for Docker Hub, a host, or a URL of which the host counts.

        Raises InvalidArgument, which does not repeat a text that may hold a password.
        """
        try:
            host = urlsplit(text).netloc if "://" in text else text.partition("/")[0]
        except ValueError:
            host = "?"
        if "@" in text:
            raise InvalidArgument(
                "the address of a registry must not hold a user name or password",
                "pyd login --username NAME --password-stdin HOST",
            )
        if not text or credentials.names(host)[0] == HUB_KEY:
            return cls(HUB, HUB_KEY)
        if not _HOST.fullmatch(host):
            raise InvalidArgument(f"invalid registry address {text[:100]!r}", "write it as host[:port]")
        return cls(host, host)


def stored(server: Server) -> Credentials | None:
    """What is kept for it."""
    return credentials.find(server.host)


def log_in(server: Server, user: Credentials, *, tls_verify: bool = True) -> str:
    """Verify and keep; the path of config.json when a secret is readable in it, else "".

    Raises Unauthorized and what `registry.login.verify` and `registry.credentials.save` raise. Nothing is
    kept then.
    """
    from pyd.registry.login import verify

    if ":" in user.username:
        raise InvalidArgument("the user name must not contain a colon")
    identity = verify(server.host, user, tls_verify=tls_verify)
    if identity:
        user = replace(user, password="", identity_token=identity)
    return credentials.save(server.host, user)


def log_out(server: Server) -> None:
    """Forget. Raises Unavailable when a credential helper could not."""
    credentials.forget(server.host)


def is_overridden() -> bool:
    """Whether $DOCKER_AUTH_CONFIG beats what is kept."""
    return bool(os.environ.get("DOCKER_AUTH_CONFIG"))


def servers() -> list[str]:
    """What config.json names, for completion."""
    from pyd.config import docker_config

    auths = docker_config().get("auths")
    return [name for name in auths if isinstance(name, str)] if isinstance(auths, dict) else []


__all__ = ["Credentials", "Server", "is_overridden", "log_in", "log_out", "servers", "stored"]
