"""A directory for what a build fetches or writes, made when it is first needed: most builds do neither."""

from __future__ import annotations

import os
import threading

from pyd.errors import from_os_error


class Scratch:
    """`path` is for this build alone; whoever has made this object removes it, if it `is_made`."""

    __slots__ = ("_lock", "_path", "is_made")

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.is_made = False

    def directory(self) -> str:
        """It exists from now on."""
        with self._lock:
            if not self.is_made:
                try:
                    os.makedirs(self._path, 0o700, exist_ok=True)
                except OSError as error:
                    raise from_os_error(error, f"making {self._path}") from error
                self.is_made = True
        return self._path
