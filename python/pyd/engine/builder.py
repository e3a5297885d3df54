"""The one builder that there is: this process."""

from __future__ import annotations

import os

from pyd import __version__
from pyd.oci.platform import Platform

_FORMATS = "/proc/sys/fs/binfmt_misc"


def version() -> str:
    return __version__


def platforms() -> list[str]:
    """What it can run: this host's, and those that the kernel gives to an emulator (binfmt_misc)."""
    host = Platform.host()
    found = {str(host): None}
    try:
        entries = sorted(os.listdir(_FORMATS))
    except OSError:
        entries = []
    for entry in entries:
        name = entry.removeprefix("qemu-")
        if name == entry or not _is_on(f"{_FORMATS}/{entry}"):
            continue
        found[str(Platform.parse(f"linux/{name}"))] = None
    return list(found)


def _is_on(path: str) -> bool:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.readline().strip() == "enabled"
    except OSError:
        return False
