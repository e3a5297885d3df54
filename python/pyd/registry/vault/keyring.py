"""Credentials in the kernel's memory: no file holds them, and the next boot forgets them."""

from __future__ import annotations

import json

from pyd.errors import CorruptData, InvalidArgument, Unavailable
from pyd.registry.helper import Found
from pyd.registry.vault import kernel

SCOPES = ("user", "persistent", "session")
_NAME = "pyd:credentials"
_MOST = 32_767  # bytes of a key of the type "user"


class KeyringVault:
    """`scope`: `user` (until the next boot, from all sessions of this user), `persistent` (until it was not
    used for three days) or `session` (until this session ends, from it alone).
    """

    def __init__(self, scope: str = "user") -> None:
        if scope not in SCOPES:
            raise InvalidArgument(f"invalid keyring {scope!r}", f"one of {', '.join(SCOPES)}")
        self.scope = scope

    def get(self, server: str) -> Found | None:
        key = kernel.search(self._ring(), "user", _checked(server))
        if key is None:
            return None
        try:
            document = json.loads(kernel.read(key))
            return Found(str(document["Username"]), str(document["Secret"]))
        except (ValueError, KeyError, TypeError):
            raise CorruptData(f"the kernel's key for {server} is not one of pyd") from None

    def store(self, server: str, username: str, secret: str) -> None:
        payload = json.dumps({"Username": username, "Secret": secret}).encode()
        if len(payload) > _MOST:
            raise Unavailable(f"a credential of {len(payload)} bytes is too long for the kernel's keyring")
        kernel.add(self._ring(), _checked(server), payload)

    def erase(self, server: str) -> None:
        ring = self._ring()
        key = kernel.search(ring, "user", _checked(server))
        if key is not None:
            kernel.unlink(ring, key)

    def list(self) -> dict[str, str]:
        found = {}
        for server in kernel.members(self._ring()):
            kept = self.get(server)
            if kept is not None:
                found[server] = kept.username
        return found

    def _ring(self) -> int:
        return kernel.keyring(root(self.scope), _NAME)


def root(scope: str) -> int:
    if scope == "persistent":
        return kernel.persistent_keyring()
    return kernel.SESSION_KEYRING if scope == "session" else kernel.user_keyring()


def _checked(server: str) -> str:
    """Names of keys end at a NUL, and the kernel takes 4095 bytes of them."""
    if "\0" in server or len(server.encode()) > 4000:
        raise InvalidArgument("invalid server name")
    return server
