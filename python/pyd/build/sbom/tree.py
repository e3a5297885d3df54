"""The files of a stage for readers of packages: bounded, and never left through a link."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

from pyd.errors import PydError
from pyd.runtime.layered import LayeredRoot, Merged

_MAX_DEPTH = 60
_MAX_FILES = 3_000_000
_PASSED = frozenset(("proc", "sys", "dev"))
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class File:
    """A regular file that a walk meets. `fd` is open as long as the walk stands at it."""

    def __init__(self, path: str, info: os.stat_result, directory: int) -> None:
        self.path = path  # without a slash at its beginning
        self.info = info
        self._directory = directory
        self._fd = -1

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    def read(self, limit: int) -> bytes:
        """All of it; b"" when it is longer than `limit` or cannot be read."""
        if self.info.st_size > limit:
            return b""
        return self.part(0, limit)

    def part(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes; b"" when they cannot be read."""
        try:
            if self._fd < 0:
                self._fd = os.open(self.name, _FLAGS, dir_fd=self._directory)
                if not stat.S_ISREG(os.fstat(self._fd).st_mode):
                    return b""
            return os.pread(self._fd, size, offset)
        except (OSError, OverflowError):
            return b""

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Tree:
    """`layers`: directories, top first."""

    def __init__(self, layers: Sequence[str]) -> None:
        self._root = LayeredRoot(layers)
        self._seen = 0

    def read(self, path: str, limit: int) -> bytes | None:
        """A file by name, links followed inside the root; None if there is none, or one that is longer."""
        try:
            return self._root.read_bytes(path, limit)
        except (OSError, PydError):
            return None

    def names(self, path: str) -> list[str]:
        """Of the directory; [] if there is none."""
        with self._root.directory(path) as directory:
            return directory.names() if directory is not None else []

    def walk(self) -> Iterator[File]:
        """All regular files by path, but for those of /proc, /sys and /dev and of very deep directories."""
        with self._root.directory("/") as root:
            if root is not None:
                yield from self._walk(root, "", 0)

    def _walk(self, directory: Merged, path: str, depth: int) -> Iterator[File]:
        for name in directory.names():
            found = directory.lookup(name)
            if found is None or (not path and name in _PASSED):
                continue
            self._seen += 1
            if self._seen > _MAX_FILES:
                return
            inner = f"{path}/{name}" if path else name
            if stat.S_ISREG(found[1].st_mode):
                file = File(inner, found[1], directory.fds[found[0]])
                try:
                    yield file
                finally:
                    file.close()
            elif stat.S_ISDIR(found[1].st_mode) and depth < _MAX_DEPTH:
                below = directory.enter(name)
                if below is not None:
                    try:
                        yield from self._walk(below, inner, depth + 1)
                    finally:
                        below.close()
