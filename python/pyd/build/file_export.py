"""The files of a stage as files of the caller: `--output DIR`.

As buildx has it, everything belongs to the caller, permissions are those of the image, what lies in the
directory already stays unless a file of the build has its name. What a build says must not do harm outside of
the directory, nor to others on this host:

- directories are entered by descriptor and never through a link, of the build or of the directory
- a file is written under another name and renamed: no half file has a final name, no link is written to
- set-user-ID and set-group-ID programs lose these bits: they would be the caller's, not the image's
- device nodes are left out; a tar (`type=tar`) holds them
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from pyd import _native
from pyd.errors import CorruptData, from_os_error
from pyd.runtime.layered import LayeredRoot, Merged

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SMALL = 1 << 16
_MAX_DEPTH = 200  # directories in directories, whose descriptors are open together


class FileExport:
    """`layers`: directories, top first. `hashed`: keep the digest of each file in `files`."""

    def __init__(
        self,
        layers: Sequence[str],
        warn: Callable[[str], None] = lambda text: None,
        *,
        hashed: bool = False,
    ) -> None:
        self._layers = layers
        self._warn = warn
        self._hashed = hashed
        self._linked: dict[tuple[int, int], tuple[str, int, int]] = {}
        self._top = -1
        self._mark = os.urandom(6).hex()
        self._made = 0
        self.files: list[tuple[str, str]] = []  # (path, sha256 in hex), by path
        self.count = 0
        self.bytes = 0

    def write(self, dest: str) -> None:
        """Write everything into the directory `dest`, which is made if it is missing."""
        try:
            os.makedirs(dest, exist_ok=True)
            self._top = os.open(dest, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                with LayeredRoot(self._layers).directory("/") as root:
                    if root is not None:
                        self._directory(root, self._top, "", 0)
            finally:
                os.close(self._top)
        except OSError as error:
            raise from_os_error(error, f"writing {error.filename or dest}") from error

    def _directory(self, source: Merged, target: int, path: str, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise CorruptData(f"the build has directories in more than {_MAX_DEPTH} directories")
        for name in source.names():
            found = source.lookup(name)
            if found is None:
                continue
            index, info = found
            inner = f"{path}/{name}" if path else name
            kind = stat.S_IFMT(info.st_mode)
            if kind == stat.S_IFDIR:
                self._enter(source, name, info, target, inner, depth)
            elif kind == stat.S_IFREG:
                self._file(source.fds[index], name, info, target, inner)
            elif kind == stat.S_IFLNK:
                text = os.readlink(name, dir_fd=source.fds[index])
                self._put(target, name, info, partial(os.symlink, text, dir_fd=target))
            elif kind == stat.S_IFIFO:
                self._put(target, name, info, partial(os.mkfifo, mode=0o600, dir_fd=target))
            elif kind != stat.S_IFSOCK:
                self._warn(f"{inner} is a device, which is no file of yours: type=tar has it")

    def _enter(
        self, source: Merged, name: str, info: os.stat_result, target: int, path: str, depth: int
    ) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=target)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=target, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=target)
                os.mkdir(name, 0o700, dir_fd=target)
        merged = source.enter(name)
        fd = os.open(name, _DIRECTORY, dir_fd=target)
        try:
            if merged is not None:
                self._directory(merged, fd, path, depth + 1)
            os.fchmod(fd, stat.S_IMODE(info.st_mode) & 0o1777)
            os.utime(fd, ns=(info.st_mtime_ns, info.st_mtime_ns))
        finally:
            os.close(fd)
            if merged is not None:
                merged.close()

    def _file(self, source: int, name: str, info: os.stat_result, target: int, path: str) -> None:
        inode = (info.st_dev, info.st_ino)
        first = self._linked.get(inode) if info.st_nlink > 1 else None
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source)
        try:
            if self._hashed:
                with os.fdopen(os.dup(fd), "rb", buffering=0) as file:
                    self.files.append((path, hashlib.file_digest(file, "sha256").hexdigest()))
            if first is not None:
                self._put(target, name, info, lambda new: self._link(first, new, target, fd, info))
                return
            self._put(target, name, info, lambda new: self._copy(fd, new, target, info))
            if info.st_nlink > 1:
                made = os.stat(name, dir_fd=target, follow_symlinks=False)
                self._linked[inode] = (path, made.st_dev, made.st_ino)
            self.count += 1
            self.bytes += info.st_size
        finally:
            os.close(fd)

    def _link(
        self, first: tuple[str, int, int], new: str, target: int, fd: int, info: os.stat_result
    ) -> None:
        path, *inode = first
        try:
            os.link(path, new, src_dir_fd=self._top, dst_dir_fd=target, follow_symlinks=False)
            made = os.stat(new, dir_fd=target, follow_symlinks=False)
            if [made.st_dev, made.st_ino] == inode:
                return
            os.unlink(new, dir_fd=target)  # somebody has changed the directory meanwhile
        except OSError:
            pass  # as many as the file system takes, or it takes none
        self._copy(fd, new, target, info)

    def _copy(self, fd: int, new: str, target: int, info: os.stat_result) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        out = os.open(new, flags, 0o600, dir_fd=target)
        try:
            if info.st_size <= _SMALL:
                data = memoryview(os.pread(fd, _SMALL, 0))
                while data:
                    data = data[os.write(out, data) :]
            else:
                _copy_data(fd, out, info.st_size)
            os.fchmod(out, stat.S_IMODE(info.st_mode) & 0o777)
            os.utime(out, ns=(info.st_mtime_ns, info.st_mtime_ns))
        finally:
            os.close(out)

    def _put(self, target: int, name: str, info: os.stat_result, make: Callable[[str], object]) -> None:
        self._made += 1
        new = f".{self._mark}.{self._made}.partial"
        try:
            make(new)
            if not stat.S_ISREG(info.st_mode):
                os.utime(new, ns=(info.st_mtime_ns, info.st_mtime_ns), dir_fd=target, follow_symlinks=False)
            if stat.S_ISFIFO(info.st_mode):
                os.chmod(new, stat.S_IMODE(info.st_mode) & 0o777, dir_fd=target)
            try:
                os.rename(new, name, src_dir_fd=target, dst_dir_fd=target)
            except OSError:
                if not _is_directory(name, target):
                    raise
                # of the caller's, where the build has a file: as in buildx, it goes
                _native.remove_tree(f"/proc/self/fd/{target}/{name}")
                os.rename(new, name, src_dir_fd=target, dst_dir_fd=target)
        except BaseException:
            _remove(new, target)
            raise
        if info.st_nlink > 1:
            _remove(new, target)  # renaming one name of a file to another of its names does nothing


def write_statements(dest: str, files: Mapping[str, bytes]) -> None:
    """Small files besides, by name."""
    from pyd.store.content import fsync_dir

    try:
        fd = os.open(dest, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name, data in files.items():
                new = f".{os.urandom(6).hex()}.partial"
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                with os.fdopen(os.open(new, flags, 0o600, dir_fd=fd), "wb") as file:
                    file.write(data)
                os.rename(new, name, src_dir_fd=fd, dst_dir_fd=fd)
        finally:
            os.close(fd)
        fsync_dir(dest)
    except OSError as error:
        raise from_os_error(error, f"writing {dest}") from error


def _copy_data(fd: int, out: int, size: int) -> None:
    """A file with its holes."""
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:  # ENXIO: nothing but a hole
            break
        at = os.lseek(fd, start, os.SEEK_HOLE)
        os.lseek(out, start, os.SEEK_SET)
        while start < at:
            count = os.sendfile(out, fd, start, at - start)
            if not count:
                break
            start += count
    os.ftruncate(out, size)


def _remove(name: str, fd: int) -> None:
    try:
        os.unlink(name, dir_fd=fd)
    except FileNotFoundError:
        pass


def _is_directory(name: str, fd: int) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False
