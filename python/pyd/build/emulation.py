"""Whether the kernel runs programs of another architecture: an interpreter that binfmt_misc knows."""

from __future__ import annotations

import os

_NAMES = {
    "amd64": "x86_64",
    "arm64": "aarch64",
    "386": "i386",
    "loong64": "loongarch64",
    "mips64le": "mips64el",
}


def is_there(architecture: str) -> bool:
    """binfmt_misc(5): one file for each format, whose first line says whether it is on."""
    name = _NAMES.get(architecture, architecture)
    root = "/proc/sys/fs/binfmt_misc"
    try:
        entries = os.listdir(root)
    except OSError:
        return False
    for entry in entries:
        if entry.endswith(f"-{name}") or entry == name:
            try:
                with open(f"{root}/{entry}", encoding="ascii", errors="replace") as file:
                    return file.readline().strip() == "enabled"
            except OSError:
                continue
    return False
