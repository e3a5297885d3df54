"""How a build reaches what is not on this host, and how it takes it in: the part that all contexts share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain

from pyd.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from pyd.build import remote
    from pyd.build.git import Checkout, GitSource, Repository
    from pyd.build.secrets import Secrets
    from pyd.build.ssh import Ssh

_CHUNK = 1 << 20


class Sources(Record):
    """`told` gets what is transferred, the bytes done and those in all (0: not known)."""

    secrets: Secrets | None = None
    ssh: Ssh | None = None
    told: remote.Told | None = None

    def secret(self, name: str) -> bytes | None:
        return self.secrets.get(name) if self.secrets is not None else None

    def repository(self, source: GitSource, scratch: str, *, forwarded: str = "default") -> Repository:
        """`forwarded`: which --ssh it may use. The user's own agent is used for it without --ssh, as buildx
        does for contexts, by whoever passes "" here.
        """
        from pyd.build.git import Repository

        agent = self.ssh.socket(forwarded or "default") if self.ssh is not None else None
        if not agent and not forwarded:
            agent = os.environ.get("SSH_AUTH_SOCK")
        return Repository(source, scratch, secret=self.secret, agent=agent or "")

    def checkout(self, source: GitSource, scratch: str) -> Checkout:
        """For a context."""
        return self.repository(source, scratch, forwarded="").checkout()

    def fetch(self, url: str, scratch: str, *, limit: int = 0) -> remote.Fetched:
        from pyd.build import remote

        return remote.fetch(url, scratch=scratch, secret=self.secret, limit=limit, told=self.told)


class Stream:
    """What comes from standard input or a server: an archive, or a Dockerfile. Told apart by its first
    bytes.
    """

    def __init__(self, file: BinaryIO, shown: str) -> None:
        self._file = file
        self._shown = shown
        from pyd.build import archives

        self._head = _head(file)
        self.is_archive = archives.is_archive(self._head)

    def chunks(self) -> Iterator[bytes]:
        """All of it, once."""
        return chain((self._head,), iter(lambda: self._file.read(_CHUNK), b""))

    def unpack(self, scratch: str) -> str:
        """The directory with its files."""
        from pyd.build import archives

        return archives.unpack(self.chunks(), scratch, self._shown)


def _head(file: BinaryIO) -> bytes:
    """The first bytes; fewer only where there are no more."""
    from pyd.build.archives import HEAD

    head = b""
    while len(head) < HEAD and (chunk := file.read(HEAD - len(head))):
        head += chunk
    return head
