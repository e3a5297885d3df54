"""pyd's own credential store: set up, unlocked, looked at; what is readable in config.json moves into it."""

from __future__ import annotations

import os
import secrets
from typing import Any

from pyd.config import docker_config_path
from pyd.errors import InvalidArgument, PydError, Unavailable
from pyd.registry import credentials, json_file
from pyd.registry.helper import NO_SERVER, NO_USER, NOT_FOUND, Found
from pyd.registry.settings import config_path
from pyd.registry.vault import Vault, key, settings
from pyd.registry.vault.keyring import KeyringVault
from pyd.registry.vault.sealed_file import SealedFile
from pyd.registry.vault.settings import required


def set_up_keyring(scope: str) -> list[str]:
    """Keep credentials in the kernel's memory; the servers that were moved there."""
    return _use(KeyringVault(scope))


def set_up_file(source: str, path: str = "", passphrase: bytes | None = None) -> list[str]:
    """Keep them in a sealed file. `source`: its key (`registry.vault.key`); a key file that does not exist is
    made. `passphrase`: for that source. The servers that were moved there.
    """
    # a name of its own: until everything is moved, the old store is as it was
    path = path or f"{os.path.dirname(config_path())}/credentials-{secrets.token_hex(4)}.sealed"
    vault = SealedFile(os.path.abspath(path), source)
    if source.startswith("file:"):
        key.make_file(source.removeprefix("file:"))
    vault.create(passphrase)
    return _use(vault)


def unlock(passphrase: bytes) -> str:
    """Let the helper open the sealed file until the next boot; the file's path."""
    vault = _with_passphrase()
    vault.unlock(passphrase)
    return vault.path


def lock() -> str:
    vault = _with_passphrase()
    vault.lock()
    return vault.path


def status() -> dict[str, Any]:
    """What is set up, and what it holds: Store, Keyring or File and Key, Used, Servers, Problem."""
    vault = required()
    config = json_file.read(docker_config_path())
    found: dict[str, Any] = {"Store": "keyring" if isinstance(vault, KeyringVault) else "file"}
    if isinstance(vault, KeyringVault):
        found["Keyring"] = vault.scope
    else:
        found |= {"File": vault.path, "Key": vault.source}
    found["Used"] = config.get("credsStore") == credentials.OWN
    try:
        found |= {"Servers": vault.list(), "Problem": ""}
    except PydError as error:
        found |= {"Servers": {}, "Problem": error.message}
    return found


def _with_passphrase() -> SealedFile:
    vault = required()
    if isinstance(vault, SealedFile) and vault.source == key.PASSPHRASE:
        return vault
    raise InvalidArgument("pyd's credential store has no passphrase", "see it: pyd credential status")


def _use(vault: KeyringVault | SealedFile) -> list[str]:
    """Fill it, then name it in both configuration files, then empty the places where it came from: killed at
    any moment, every credential is in one that is still used.
    """
    old = settings.configured()
    if old is not None and _place(old) == _place(vault):
        old = None
    kept = _all(old) if old is not None else {}
    plain = credentials.plain(lambda server: server not in kept)
    moved = {**kept, **plain}
    for server, found in moved.items():
        vault.store(server, *found)
    settings.remember(vault)
    credentials.use_own(tuple(plain))
    if old is not None:
        _remove(old)
    return sorted(moved)


def _place(vault: KeyringVault | SealedFile) -> str:
    return vault.scope if isinstance(vault, KeyringVault) else vault.path


def _all(vault: Vault) -> dict[str, Found]:
    try:
        found = {server: vault.get(server) for server in vault.list()}
    except PydError as error:
        raise Unavailable(
            f"the store that is set up now cannot be moved: {error.message}",
            f"to give up what is in it, remove `credentials` from {config_path()}",
        ) from error
    return {server: each for server, each in found.items() if each is not None}


def _remove(vault: KeyringVault | SealedFile) -> None:
    if isinstance(vault, SealedFile):
        if vault.source == key.PASSPHRASE:
            vault.lock()
        os.unlink(vault.path)
        return
    for server in vault.list():
        vault.erase(server)


__all__ = [
    "NOT_FOUND",
    "NO_SERVER",
    "NO_USER",
    "Vault",
    "lock",
    "required",
    "set_up_file",
    "set_up_keyring",
    "status",
    "unlock",
]
