"""pyd's own credential store, which works on a machine without a desktop: `docker-credential-pyd`.

    kernel       keyctl(2): the kernel's keys
    keyring      a store in the kernel's memory: nothing on disk, gone with the next boot
    sealing      bytes that only a key opens
    key          where that key comes from: a file, a variable, systemd, a passphrase that is typed
    sealed_file  a store in one sealed file
    settings     which of the two it is, in pyd's configuration file

Both stores have the methods of `registry.helper.Helper`, so that pyd uses its own without starting a program.
"""

from __future__ import annotations

from typing import Protocol

from pyd.registry.helper import Found


class Vault(Protocol):
    """`server` is a name as in config.json. Errors are Unavailable, InvalidArgument and CorruptData."""

    def get(self, server: str) -> Found | None: ...

    def store(self, server: str, username: str, secret: str) -> None: ...

    def erase(self, server: str) -> None:
        """What is not there is erased."""

    def list(self) -> dict[str, str]:
        """Server -> user name."""
