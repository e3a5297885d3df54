"""The bundle of a task: config.json for the runtime, shim.json for its monitor, and an empty mount point.

Not fsynced: it lies in the run-root, which a crash of the host empties, and is written anew at every start.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress

from pyd.errors import from_os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


# The mount point, and what the runtime makes where there are too few layers for an overlay
_DIRECTORIES = ("rootfs", "empty-1", "empty-2")


def write(directory: str, config: Mapping[str, Any], shim: Mapping[str, Any]) -> None:
    """Make `directory` with its three entries; what an earlier task left there is removed."""
    make(directory)
    fill(directory, config, shim)


def make(directory: str) -> None:
    """The directory with the mount point, for whoever has files of his own to put there first."""
    try:
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError:
            remove(directory)
            os.mkdir(directory, 0o700)
        except FileNotFoundError:
            os.makedirs(directory, 0o700)
        os.mkdir(f"{directory}/rootfs", 0o755)
    except OSError as error:
        raise from_os_error(error, f"making the bundle {directory}") from error


def fill(directory: str, config: Mapping[str, Any], shim: Mapping[str, Any]) -> None:
    try:
        _write(f"{directory}/config.json", config)
        _write(f"{directory}/shim.json", shim)
    except OSError as error:
        raise from_os_error(error, f"writing the bundle {directory}") from error


def _write(path: str, value: Mapping[str, Any]) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(json.dumps(value, separators=(",", ":")))


def remove(directory: str) -> None:
    """Remove the bundle. Only known names first: rmtree is for what somebody else put there."""
    for name in ("config.json", "shim.json", "shim.sock", "shim.lock"):
        try:
            os.unlink(f"{directory}/{name}")
        except FileNotFoundError:
            pass
    try:
        # each for itself: whoever made it may have been killed between the two
        for path in (*(f"{directory}/{name}" for name in _DIRECTORIES), directory):
            with suppress(FileNotFoundError):
                os.rmdir(path)
    except OSError:
        import shutil

        # A shim whose `pyd` was killed may come to life just now and put its lock or socket there
        for _ in range(5):
            shutil.rmtree(directory, ignore_errors=True)
            if not os.path.lexists(directory):
                break
