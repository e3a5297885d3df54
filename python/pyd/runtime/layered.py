"""Reading files of a container's root file system from the host, without mounting it and without being led
out of it.

The root is a stack of directories as overlayfs merges them. Every component of a path is opened by
descriptor with O_NOFOLLOW in one layer after the other, and symlinks are resolved here, against the
container's root. So no link in an image or written by a running container can name a file of the host
(CVE-2022-23648, CVE-2018-15664).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pyd import errors

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_LINKS = 40
_MAX_TEXT = 4 << 20


class Merged:
    """One directory of the merged tree: descriptors of its parts, top layer first."""

    __slots__ = ("fds",)

    def __init__(self, fds: list[int]) -> None:
        self.fds = fds

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)
        self.fds = []

    def lookup(self, name: str) -> tuple[int, os.stat_result] | None:
        """(index of the layer that has it, its lstat), or None when it is missing or whited out."""
        for index, fd in enumerate(self.fds):
            try:
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError):
                continue
            return None if is_whiteout(found) else (index, found)
        return None

    def enter(self, name: str) -> Merged | None:
        """The directory `name` merged from the layers that have it, down to the first that is opaque."""
        fds: list[int] = []
        for fd in self.fds:
            try:
                child = os.open(name, _DIRECTORY, dir_fd=fd)
            except FileNotFoundError:
                continue
            except OSError:
                break  # a file or whiteout here hides what is below
            fds.append(child)
            if _opaque(child):
                break
        return Merged(fds) if fds else None

    def names(self) -> list[str]:
        """Names in the merged directory, sorted."""
        seen: dict[str, bool] = {}
        for fd in self.fds:
            with os.scandir(f"/proc/self/fd/{fd}") as entries:
                for entry in entries:
                    if entry.name not in seen:
                        seen[entry.name] = not is_whiteout(entry.stat(follow_symlinks=False))
        return sorted(name for name, visible in seen.items() if visible)


def is_whiteout(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def _opaque(fd: int) -> bool:
    try:
        return os.getxattr(f"/proc/self/fd/{fd}", "trusted.overlay.opaque") == b"y"
    except OSError:
        return False


class LayeredRoot:
    """`layers`: absolute directories, top first. Paths are those of the container; ".." stops at its root."""

    def __init__(self, layers: Sequence[str]) -> None:
        self.layers = layers

    @contextmanager
    def directory(self, path: str) -> Iterator[Merged | None]:
        """The merged directory at `path`, symlinks followed inside the root; None if there is none."""
        merged, found, opened = self._walk(path)
        try:
            directory = found is not None and stat.S_ISDIR(found[1].st_mode)
            yield merged if directory and merged is not None else None
        finally:
            for one in opened:
                one.close()

    def read_text(self, path: str) -> str | None:
        """The text of a regular file of at most 4 MiB; None if there is no such file."""
        data = self.read_bytes(path, _MAX_TEXT)
        return data.decode("utf-8", "surrogateescape") if data is not None else None

    def read_bytes(self, path: str, limit: int) -> bytes | None:
        """A regular file of at most `limit` bytes; None if there is no such file. Raises CorruptData for a
        larger one.
        """
        merged, found, opened = self._walk(path)
        try:
            if merged is None or found is None or not stat.S_ISREG(found[1].st_mode):
                return None
            # O_NONBLOCK: between lstat and open a running container may have put a FIFO there
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            try:
                fd = os.open(found[2], flags, dir_fd=merged.fds[found[0]])
            except OSError:
                return None
            with open(fd, "rb") as file:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    return None
                data = file.read(limit + 1)
            if len(data) > limit:
                raise errors.CorruptData(f"{path} in the container is larger than {limit} bytes")
            return data
        finally:
            for one in opened:
                one.close()

    def _walk(self, path: str) -> tuple[Merged | None, tuple[int, os.stat_result, str] | None, list[Merged]]:
        """(directory, entry, everything opened). For a directory at `path` the first is that directory
        itself, for anything else the directory that holds it."""
        fds = []
        for layer in self.layers:
            try:
                fds.append(os.open(layer, _DIRECTORY))
            except FileNotFoundError:
                continue
        root = Merged(fds)
        opened = [root]
        stack = [root]
        parts = [part for part in path.split("/") if part]
        links = 0
        found: tuple[int, os.stat_result] | None = (0, os.stat(root.fds[0])) if root.fds else None
        name = "."
        while parts and found is not None:
            name = parts.pop(0)
            if name == ".":
                continue
            if name == "..":
                if len(stack) > 1:
                    stack.pop()
                found = (0, os.stat(stack[-1].fds[0]))
                continue
            current = stack[-1]
            found = current.lookup(name)
            if found is None:
                break
            mode = found[1].st_mode
            if stat.S_ISLNK(mode):
                links += 1
                if links > _MAX_LINKS:
                    return None, None, opened
                try:
                    target = os.readlink(name, dir_fd=current.fds[found[0]])
                except OSError:
                    return None, None, opened
                if target.startswith("/"):
                    stack = [root]
                parts = [part for part in target.split("/") if part] + parts
                found = (0, os.stat(stack[-1].fds[0]))
            elif stat.S_ISDIR(mode):
                child = current.enter(name)
                if child is None:
                    return None, None, opened
                opened.append(child)
                stack.append(child)
            elif parts:
                return None, None, opened
        if found is None:
            return None, None, opened
        return stack[-1], (found[0], found[1], name), opened
