"""A sealed file whose key takes no time to make: 0.2 s for each command would be most of a test."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

from pyd.registry.vault import key
from pyd.registry.vault.sealed_file import SealedFile
from pyd.registry.vault.sealing import Lock


def cheap(directory: Path) -> tuple[str, ...]:
    """The options of `pyd credential setup` for it."""
    path, source = directory / "pyd" / "cheap.sealed", f"file:{directory}/key"
    key.make_file(source.removeprefix("file:"))
    with mock.patch.object(Lock, "new", lambda: Lock(os.urandom(16), 10, 8, 1)):
        SealedFile(str(path), source).create()
    return "--key", source, "--file", str(path)
