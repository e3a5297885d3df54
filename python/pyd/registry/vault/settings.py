"""Which store pyd's helper uses: `credentials` in pyd's configuration file.

{"credentials": {"store": "keyring", "keyring": "user"}}
{"credentials": {"store": "file", "file": "/etc/pyd/x.sealed", "key": "file:/etc/pyd/credentials.key"}}
"""

from __future__ import annotations

import os
from typing import Any

from pyd.errors import InvalidArgument, Unavailable
from pyd.registry import json_file
from pyd.registry.settings import config_path
from pyd.registry.vault.keyring import KeyringVault
from pyd.registry.vault.sealed_file import SealedFile


def configured() -> KeyringVault | SealedFile | None:
    """None when it has not been set up. Raises InvalidArgument for settings that make no sense."""
    path = config_path()
    found = json_file.read(path).get("credentials")
    if found is None:
        return None
    if isinstance(found, dict) and all(isinstance(value, str) for value in found.values()):
        if found.get("store") == "keyring":
            return KeyringVault(found.get("keyring", "user"))
        if found.get("store") == "file" and os.path.isabs(found.get("file", "")) and found.get("key"):
            return SealedFile(found["file"], found["key"])
    raise InvalidArgument(
        f"credentials in {path} make no sense", "write them anew: pyd credential setup --help"
    )


def required() -> KeyringVault | SealedFile:
    vault = configured()
    if vault is None:
        raise Unavailable("pyd's credential store is not set up", "set it up: pyd credential setup")
    return vault


def remember(vault: KeyringVault | SealedFile) -> None:
    """Make it the configured one."""
    if isinstance(vault, KeyringVault):
        chosen = {"store": "keyring", "keyring": vault.scope}
    else:
        chosen = {"store": "file", "file": vault.path, "key": vault.source}

    def edit(document: dict[str, Any]) -> None:
        document["credentials"] = chosen

    # it names places, no secrets: other settings in the file may be for everybody
    json_file.change(config_path(), edit, mode=None)
