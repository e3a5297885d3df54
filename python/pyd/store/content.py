"""Blobs by digest: content/sha256/<hex>, read-only. A file has this name only after its bytes matched the
digest.
"""

from __future__ import annotations

import os

from pyd.errors import CorruptData, from_os_error
from pyd.oci.digest import Digest
from pyd.paths import Paths


class Content:
    __slots__ = ("_paths",)

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def path(self, digest: str) -> str:
        return f"{self._paths.content}/{Digest.parse(digest).hex}"

    def size(self, digest: str) -> int | None:
        """Bytes, or None when it is not here."""
        try:
            return os.stat(self.path(digest)).st_size
        except FileNotFoundError:
            return None

    def read(self, digest: str, limit: int) -> bytes:
        """A small blob (manifest, config), checked again against its digest: a disk may have changed it."""
        path = self.path(digest)
        try:
            with open(path, "rb") as file:
                data = file.read(limit + 1)
        except OSError as error:
            raise from_os_error(error, f"reading blob {digest}") from error
        if len(data) > limit:
            raise CorruptData(f"blob {digest} is larger than {limit} bytes")
        if Digest.of(data) != digest:
            raise CorruptData(
                f"blob {path} does not match its name any more", "remove the image and pull it again"
            )
        return data

    def put(self, data: bytes) -> Digest:
        """Store a small blob; durable when it returns."""
        digest = Digest.of(data)
        final = self.path(digest)
        if self.size(digest) == len(data):
            return digest
        self._paths.make()
        partial = f"{self._paths.ingest}/{digest.hex}.{os.urandom(6).hex()}"
        try:
            fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
                os.fsync(fd)
            finally:
                os.close(fd)
            self.publish(partial, digest)
        except OSError as error:
            try:
                os.unlink(partial)
            except OSError:
                pass
            raise from_os_error(error, f"writing {final}") from error
        return digest

    def publish(self, partial: str, digest: str, *, sync: bool = True) -> None:
        """Rename a verified, fsynced file to its digest; durable when it returns, unless the caller syncs."""
        os.chmod(partial, 0o400)
        os.rename(partial, self.path(digest))
        if sync:
            fsync_dir(self._paths.content)


def fsync_dir(path: str) -> None:
    """A rename is on disk only when its directory is."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
