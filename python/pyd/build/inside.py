"""Paths inside a directory that others have filled: nothing in it leads out.

A cloned repository or an unpacked archive may hold links to /etc. Every component is opened by descriptor
with O_NOFOLLOW, and links are resolved here, against the directory as if it were "/": what openat2(2) does
with RESOLVE_IN_ROOT.
"""

from __future__ import annotations

import errno
import os
import stat

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_LINKS = 40  # of the kernel, path_resolution(7)


def locate(root: str, path: str) -> str:
    """The path on the host, without links below `root`, that `path` leads to. ".." stops at `root`.

    Raises OSError as open(2) would: FileNotFoundError, NotADirectoryError, ELOOP.
    """
    fds = [os.open(root, _DIRECTORY & ~os.O_NOFOLLOW)]
    names: list[str] = []
    parts = _parts(path)
    links = 0
    try:
        while parts:
            part = parts.pop(0)
            if part == "..":
                if names:
                    names.pop()
                    os.close(fds.pop())
                continue
            found = os.stat(part, dir_fd=fds[-1], follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode):
                links += 1
                if links > _MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                target = os.readlink(part, dir_fd=fds[-1])
                if target.startswith("/"):
                    for fd in fds[1:]:
                        os.close(fd)
                    del fds[1:]
                    names.clear()
                parts = _parts(target) + parts
            elif parts or stat.S_ISDIR(found.st_mode):
                fds.append(os.open(part, _DIRECTORY, dir_fd=fds[-1]))
                names.append(part)
            else:
                return "/".join((root, *names, part))
        return "/".join((root, *names))
    finally:
        for fd in fds:
            os.close(fd)


def read(root: str, path: str, limit: int) -> bytes:
    """A regular file of at most `limit` bytes. Raises OSError: EISDIR for a directory, EINVAL for a FIFO,
    socket or device, EFBIG for what is longer.
    """
    place = locate(root, path)
    # O_NONBLOCK: a FIFO without a writer would hold us for ever
    fd = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        kind = os.fstat(fd).st_mode
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not stat.S_ISREG(kind):
            raise OSError(errno.EINVAL, "not a regular file", path)
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
    return data


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
