"""Deleting: rename first, which is instant and atomic, then remove the files, which may take minutes.

What lies in trash/ does not exist any more for anybody. Whoever is killed while deleting leaves it there; the
next sweep finishes. A sweep that takes long goes on in a process of its own, so that `rmi` answers at once.
"""

from __future__ import annotations

import os
import time

from pyd.errors import from_os_error
from pyd.paths import Paths

_PATIENCE = 0.25  # seconds that a command spends on deleting before it hands the rest to a detached process


class Trash:
    __slots__ = ("_paths",)

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def take(self, path: str) -> None:
        """Move a file or directory out of the world. Nothing happens if it does not exist."""
        target = f"{self._paths.trash}/{os.path.basename(path)}.{os.urandom(6).hex()}"
        try:
            os.rename(path, target)
        except FileNotFoundError:
            if not os.path.isdir(self._paths.trash):
                self._paths.make()
                self.take(path)
        except OSError as error:
            raise from_os_error(error, f"removing {path}") from error

    def sweep(self, *, wait: bool = False) -> None:
        """Delete what lies there. Long work continues detached unless `wait`."""
        try:
            with os.scandir(self._paths.trash) as entries:
                left = [entry.path for entry in entries]
        except FileNotFoundError:
            return
        if not left:
            return
        deadline = time.monotonic() + _PATIENCE
        while left and (wait or time.monotonic() < deadline):
            tree = _entries(left[-1])
            if tree is None and not wait:
                break
            _remove(left.pop(), tree)
        if left and not _is_swept(self._paths.trash):
            _detach(self._paths.trash)


def _entries(path: str, limit: int = 200) -> list[tuple[str, bool]] | None:
    """(path, is it a directory) of `path` and all below it, parents first.

    None if there are more than `limit`, or some that cannot be listed.
    """
    found = [(path, os.path.isdir(path) and not os.path.islink(path))]
    for name, is_directory in found:  # grows while it is read
        if not is_directory:
            continue
        try:
            with os.scandir(name) as entries:
                found += [(entry.path, entry.is_dir(follow_symlinks=False)) for entry in entries]
        except OSError:
            return None
        if len(found) > limit:
            return None
    return found


def _remove(path: str, entries: list[tuple[str, bool]] | None) -> None:
    """What a short container leaves is removed here and now: the extension's import takes longer.

    Nobody but root can write in the trash, so that no directory becomes a link between the two looks.
    """
    try:
        for name, is_directory in reversed(entries or ()):
            (os.rmdir if is_directory else os.unlink)(name)
        if entries:
            return
    except OSError:
        pass  # another sweeper is at it, or it needs the extension's care: immutable files, very long paths
    from pyd import _native

    try:
        _native.remove_tree(path)
    except FileNotFoundError:
        pass


def _is_swept(trash: str) -> bool:
    """Whether a sweeper works there: it sees what has come before it ends."""
    import fcntl

    fd = os.open(trash, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _detach(trash: str) -> None:
    """Let a process of its own, that belongs to no terminal and inherits nothing, do the rest."""
    import sys

    sweeper = os.path.join(os.path.dirname(__file__), "sweeper.py")
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", sweeper, trash],
            {},
            file_actions=[(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)],
            setsid=True,
        )
    except OSError:
        pass  # the next sweep does it
    finally:
        os.close(null)
