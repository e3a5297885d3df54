"""Users and their passwords: lines `user:hash` as Apache's htpasswd writes them, bcrypt only.

Anything weaker (MD5, SHA-1, crypt, plain) is refused when the file is read, not when a user cannot log in.
"""

from __future__ import annotations

import hmac
import os
import re
import threading
import time
from hashlib import sha256

from pyd.errors import InvalidArgument, from_os_error

_USER = re.compile(r"[!-9;-~]{1,128}", re.ASCII)  # printable, no colon, no space
_HASH = re.compile(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}", re.ASCII)
_COST = 11
_MAX_PASSWORD = 72  # bytes; bcrypt looks at no more
_REMEMBERED = 300.0  # seconds: bcrypt takes a tenth of one, and clients send the password with every request


def parse(text: str, path: str) -> dict[str, str]:
    users = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        user, colon, hashed = line.strip().partition(":")
        if not colon or not _USER.fullmatch(user):
            raise InvalidArgument(f"{path}, line {number}: not of the form user:hash")
        if not _HASH.fullmatch(hashed):
            raise InvalidArgument(
                f"{path}, line {number}: the password of {user} is not a bcrypt hash",
                "make one: pyd registry htpasswd USER, or htpasswd -B",
            )
        users[user] = hashed
    return users


def line(user: str, password: str) -> str:
    """The line for a file. Raises InvalidArgument."""
    import bcrypt

    data = password.encode()
    if not _USER.fullmatch(user):
        raise InvalidArgument("a user name has 1 to 128 printable ASCII characters, no colon and no space")
    if not data or len(data) > _MAX_PASSWORD or b"\0" in data:
        raise InvalidArgument(f"a password has 1 to {_MAX_PASSWORD} bytes")
    return f"{user}:{bcrypt.hashpw(data, bcrypt.gensalt(_COST)).decode()}"


class Users:
    """The file's, read again when it changes. `verify` is for any thread and takes a tenth of a second
    once.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._users: dict[str, str] = {}
        self._key = os.urandom(32)
        self._seen: dict[bytes, float] = {}
        self._load()

    def verify(self, user: str, password: str) -> bool:
        import bcrypt

        self._load()
        hashed = self._users.get(user)
        seen = hmac.new(self._key, f"{user}\0{hashed}\0{password}".encode(), sha256).digest()
        now = time.monotonic()
        if hashed is not None and self._seen.get(seen, 0) > now:
            return True
        data = password.encode()
        if len(data) > _MAX_PASSWORD or b"\0" in data:
            return False
        # an unknown user costs as much time as a wrong password
        fits = bcrypt.checkpw(data, (hashed or _NOBODY).encode())
        if not fits or hashed is None:
            return False
        with self._lock:
            if len(self._seen) > 1000:
                self._seen.clear()
            self._seen[seen] = now + _REMEMBERED
        return True

    def _load(self) -> None:
        try:
            found = os.stat(self._path)
            stamp = found.st_mtime_ns, found.st_ino, found.st_size
            if stamp == self._stamp:
                return
            with open(self._path, encoding="utf-8") as file:
                users = parse(file.read(), self._path)
        except OSError as error:
            if self._stamp is not None:
                return  # it is being replaced
            raise from_os_error(error, f"reading {self._path}") from error
        except UnicodeDecodeError:
            raise InvalidArgument(f"{self._path} is not UTF-8 text") from None
        with self._lock:
            self._users, self._stamp = users, stamp
            self._seen.clear()


_NOBODY = "$2b$11$H6tcqsrEwzic.gnuNbu6EOCKnNYN2O7z12rFzdGJ0rhnLzHIWYVEO"
