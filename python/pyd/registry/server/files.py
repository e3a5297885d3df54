"""Blobs as files: ROOT/blobs/<algorithm>/<hex>, read-only. A file has this name only after its bytes matched.

Without a --root of its own the registry lies in pyd's data-root, beside the content store of local images.
What is in both is one file with two names (hard links): each side deletes its own name when it needs the blob
no more, and neither collector has to know of the other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from pyd.registry.server.names import ALGORITHMS
from pyd.registry.server.problem import Problem


class Files:
    """`shared`: the directory of pyd's content store (sha256), or None."""

    def __init__(self, root: str, shared: str | None = None) -> None:
        self.uploads = f"{root}/uploads"
        self.shared = shared
        self._blobs = f"{root}/blobs"

    def make(self) -> None:
        for algorithm in ALGORITHMS:
            os.makedirs(f"{self._blobs}/{algorithm}", mode=0o700, exist_ok=True)
        os.makedirs(self.uploads, mode=0o700, exist_ok=True)

    def directory(self, digest: str) -> str:
        return f"{self._blobs}/{digest.partition(':')[0]}"

    def path(self, digest: str) -> str:
        """`digest` was checked by `names.check_digest`."""
        algorithm, _, value = digest.partition(":")
        return f"{self._blobs}/{algorithm}/{value}"

    def size(self, digest: str) -> int | None:
        """Bytes, or None when it is not here."""
        try:
            return os.stat(self.path(digest)).st_size
        except FileNotFoundError:
            return None

    def publish(self, verified: str, digest: str) -> None:
        """Give the synced file `verified` its name; durable when the directory is synced too.

        The bytes that pyd's content store may have already are taken instead, so that they are there once.
        """
        if not self.link_shared(digest):
            os.chmod(verified, 0o400)
            os.rename(verified, self.path(digest))

    def shared_path(self, digest: str) -> str | None:
        if self.shared is None or not digest.startswith("sha256:"):
            return None
        return f"{self.shared}/{digest[7:]}"

    def link_shared(self, digest: str) -> bool:
        """Take the blob from the content store, whose files are verified; False when it is not there."""
        source = self.shared_path(digest)
        if source is None:
            return False
        target = self.path(digest)
        temporary = f"{self.uploads}/link-{os.urandom(8).hex()}"
        try:
            if os.path.exists(target) and os.path.samefile(source, target):
                return True
            os.link(source, temporary, follow_symlinks=False)
        except OSError:
            return False  # not there, another file system, too many names: then it is kept twice
        os.rename(temporary, target)
        return True

    def is_kept_twice(self, digest: str) -> bool:
        """Whether pyd's content store has a file of its own with the same bytes."""
        source = self.shared_path(digest)
        try:
            ours, theirs = os.stat(self.path(digest)), os.stat(source or "")
        except OSError:
            return False
        return ours.st_size == theirs.st_size and ours.st_ino != theirs.st_ino

    def digests(self) -> Iterator[str]:
        """Every file under blobs/."""
        for algorithm in ALGORITHMS:
            for entry in os.scandir(f"{self._blobs}/{algorithm}"):
                yield f"{algorithm}:{entry.name}"

    def open(self, digest: str) -> int:
        """A descriptor for reading. A collector that deletes the name does not disturb who has it open."""
        try:
            return os.open(self.path(digest), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise Problem(404, "BLOB_UNKNOWN", "blob unknown to registry", {"digest": digest}) from None
