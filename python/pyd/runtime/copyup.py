"""First contents of a volume: what the image has at the mount's place, copied without following a single
link.

Reads through `layered`, writes by descriptor with O_NOFOLLOW | O_EXCL into a directory that a container may
be using at the same time.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from pyd import _native
from pyd.errors import from_os_error
from pyd.runtime.layered import LayeredRoot, Merged

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def copy(layers: Sequence[str], path: str, target: str) -> None:
    """Copy the merged directory `path` of the layers (top first) into the directory `target` if that is
    empty.

    A path that the image does not have, or that is a file, copies nothing. What was copied is on disk at
    the end.
    """
    try:
        with LayeredRoot(layers).directory(path) as source:
            if source is None:
                return
            fd = os.open(target, _DIRECTORY)
            try:
                if os.listdir(fd):
                    return
                _directory(source, fd)
                _attributes(os.stat(source.fds[0]), fd, source.fds[0])
            finally:
                os.close(fd)
    except OSError as error:
        raise from_os_error(error, f"copying {path} of the image into the volume") from error
    _native.syncfs(target)


def _directory(source: Merged, target: int) -> None:
    for name in source.names():
        entry = source.lookup(name)
        if entry is None:
            continue
        layer, found = entry
        mode = found.st_mode
        origin = source.fds[layer]
        if stat.S_ISDIR(mode):
            child = source.enter(name)
            if child is None:
                continue
            try:
                os.mkdir(name, 0o700, dir_fd=target)
                fd = os.open(name, _DIRECTORY, dir_fd=target)
                try:
                    _directory(child, fd)
                    _attributes(found, fd, child.fds[0])
                finally:
                    os.close(fd)
            finally:
                child.close()
        elif stat.S_ISREG(mode):
            _file(origin, name, target, found)
        elif stat.S_ISLNK(mode):
            os.symlink(os.readlink(name, dir_fd=origin), name, dir_fd=target)
            os.chown(name, found.st_uid, found.st_gid, dir_fd=target, follow_symlinks=False)
        elif not stat.S_ISSOCK(mode):
            os.mknod(name, mode, found.st_rdev, dir_fd=target)
            os.chown(name, found.st_uid, found.st_gid, dir_fd=target, follow_symlinks=False)
            # mknod obeys the umask; a node that was just made by us is no link
            os.chmod(name, stat.S_IMODE(mode), dir_fd=target)


def _file(origin: int, name: str, target: int, found: os.stat_result) -> None:
    source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=origin)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=target)
        try:
            offset = 0
            while sent := os.sendfile(fd, source, offset, 1 << 30):
                offset += sent
            _attributes(found, fd, source)
        finally:
            os.close(fd)
    finally:
        os.close(source)


def _attributes(found: os.stat_result, fd: int, source: int) -> None:
    """Owner before mode: chown clears setuid. Attributes of overlayfs itself are no business of the
    volume's.
    """
    os.fchown(fd, found.st_uid, found.st_gid)
    os.fchmod(fd, stat.S_IMODE(found.st_mode))
    origin = f"/proc/self/fd/{source}"
    for name in os.listxattr(origin):
        if ".overlay." not in name:
            try:
                os.setxattr(fd, name, os.getxattr(origin, name))
            except OSError:
                continue  # the volume's file system may have no such attributes
    os.utime(fd, ns=(found.st_atime_ns, found.st_mtime_ns))
