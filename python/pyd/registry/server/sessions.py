"""Uploads that are under way: one file each, ROOT/uploads/<id>.

The file is all there is: its length says how far the upload got, and its name to whom it belongs, so a
session outlives the server and every cut of the connection. The hash is kept as the bytes come; after a
restart it is made again from the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from hashlib import sha256

from pyd.errors import KernelError
from pyd.registry.server.files import Files
from pyd.registry.server.names import hasher
from pyd.registry.server.problem import Problem, upload_unknown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from hashlib import _Hash

_ID = re.compile(r"[0-9a-f]{32}-[0-9a-f]{16}", re.ASCII)
_CHUNK = 1 << 20
_TAKE_OVER = 10.0  # seconds until a request that is cut off must have ended


class Session:
    """One upload. `lock` is held by the request that writes; `cut` ends that request's connection.

    The file work (`append`, `digest`, `sync`) is for other threads than the event loop's.
    """

    def __init__(self, path: str, fd: int, offset: int, algorithm: str) -> None:
        self.path = path
        self.offset = offset  # bytes that are in the file and in the hash
        self.lock = asyncio.Lock()
        self.cut: Callable[[], None] | None = None
        self._fd = fd
        self._algorithm = algorithm
        self._hash: _Hash | None = hasher(algorithm) if offset == 0 else None

    @property
    def id(self) -> str:
        return os.path.basename(self.path)

    def append(self, data: bytes) -> None:
        """Raises OSError; the file then ends where it did before."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            os.ftruncate(self._fd, self.offset)
            os.lseek(self._fd, self.offset, os.SEEK_SET)
            raise
        if self._hash is not None:
            self._hash.update(data)
        self.offset += len(data)

    def digest(self, algorithm: str) -> str:
        """Of all bytes so far. Reads the file again when the hash kept is another one, or of before a
        restart.
        """
        if self._hash is None or algorithm != self._algorithm:
            self._hash, self._algorithm = hasher(algorithm), algorithm
            position = 0
            while position < self.offset:
                data = os.pread(self._fd, min(_CHUNK, self.offset - position), position)
                if not data:
                    raise KernelError(f"{self.path} became shorter", path=self.path)
                self._hash.update(data)
                position += len(data)
        return f"{algorithm}:{self._hash.hexdigest()}"

    def sync(self) -> None:
        os.fsync(self._fd)

    def read(self, position: int, count: int) -> bytes:
        return os.pread(self._fd, count, position)

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def discard(self) -> None:
        """The upload is over; when it was published its file has another name already."""
        self.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    async def acquire(self, cut: Callable[[], None]) -> None:
        """Become the request that writes. A client that lost its connection comes back before the server has
        noticed: the newer request ends the older one.
        """
        if self.lock.locked() and self.cut is not None:
            self.cut()
        try:
            async with asyncio.timeout(_TAKE_OVER):
                await self.lock.acquire()
        except TimeoutError:
            raise Problem(
                409, "BLOB_UPLOAD_INVALID", "another request writes to this upload", {"uuid": self.id}
            ) from None
        self.cut = cut

    def release(self) -> None:
        self.cut = None
        self.lock.release()


class Sessions:
    """Those of one server. For the event loop's thread."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._open: dict[str, Session] = {}

    def __len__(self) -> int:
        """How many requests write now."""
        return sum(session.lock.locked() for session in self._open.values())

    def start(self, name: str, algorithm: str = "sha256") -> Session:
        path = f"{self._files.uploads}/{os.urandom(16).hex()}-{_mark(name)}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        session = Session(path, fd, 0, algorithm)
        self._open[session.id] = session
        return session

    def find(self, name: str, session_id: str) -> Session:
        """Raises Problem BLOB_UPLOAD_UNKNOWN, for one of another repository too."""
        if not _ID.fullmatch(session_id) or not session_id.endswith(_mark(name)):
            raise upload_unknown(session_id)
        session = self._open.get(session_id)
        if session is None:
            path = f"{self._files.uploads}/{session_id}"
            try:
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                raise upload_unknown(session_id) from None
            session = Session(path, fd, os.lseek(fd, 0, os.SEEK_END), "sha256")
            self._open[session_id] = session
        return session

    def end(self, session: Session) -> None:
        """Forget it, with its file."""
        self._open.pop(session.id, None)
        session.discard()

    def forget(self, session: Session) -> None:
        """Close it; its file stays. Who comes back for it finds it by its name, if that is still there."""
        self._open.pop(session.id, None)
        session.close()

    def close_idle(self, seconds: float) -> None:
        """Close the files of uploads that nobody writes to: they are opened again when somebody comes."""
        oldest = time.time() - seconds
        for session in list(self._open.values()):
            if not session.lock.locked() and os.fstat(session.fileno()).st_mtime < oldest:
                del self._open[session.id]
                session.close()

    def close(self) -> None:
        for session in self._open.values():
            session.close()
        self._open.clear()


def _mark(name: str) -> str:
    return sha256(name.encode()).hexdigest()[:16]


def sweep(files: Files, *, uploads_before: float, temporary_before: float) -> int:
    """Remove what was given up: sessions not written to since `uploads_before`, and what only a running
    request can use. Returns how many.
    """
    removed = 0
    for entry in os.scandir(files.uploads):
        limit = uploads_before if _ID.fullmatch(entry.name) else temporary_before
        try:
            if entry.stat(follow_symlinks=False).st_mtime < limit:
                os.unlink(entry.path)
                removed += 1
        except FileNotFoundError:
            pass
    return removed
