"""Keys in the kernel's memory: keyrings(7), add_key(2), keyctl(2).

Called by number: glibc has no functions for them, and libkeyutils would be one more system package. Rust has
no part in it: it is five calls of a program that runs for a moment.
"""

from __future__ import annotations

import ctypes
import errno
import os

from pyd.errors import NotSupported, Unavailable

_NUMBERS = {"x86_64": (248, 250), "aarch64": (217, 219), "riscv64": (217, 219), "ppc64le": (269, 271)}
SESSION_KEYRING = -3
_PROCESS_KEYRING, _USER_KEYRING = -2, -4
_DESCRIBE, _LINK, _UNLINK, _SEARCH, _READ, _PERSISTENT = 6, 8, 9, 10, 11, 22
_ENOKEY, _EKEYEXPIRED, _EKEYREVOKED = 126, 127, 128


def user_keyring() -> int:
    """The user's, of all sessions, until the next boot (since Linux 5.3).

    The session of a service, of cron or of `su` does not hold it, and who does not possess a key cannot read
    it: so this thread takes it into a keyring of its own, which ends with it.
    """
    _call(_LINK, _USER_KEYRING, _PROCESS_KEYRING)
    return _USER_KEYRING


def persistent_keyring() -> int:
    """The user's, which outlives the last use by /proc/sys/kernel/keys/persistent_keyring_expiry."""
    return _call(_PERSISTENT, -1, _PROCESS_KEYRING)


def search(ring: int, kind: str, name: str) -> int | None:
    """A key or keyring (`kind` "user" or "keyring") in `ring` or below."""
    try:
        return _keyctl(_SEARCH, ring, kind.encode(), name.encode(), 0)
    except _KeyError as error:
        if error.errno in (_ENOKEY, _EKEYEXPIRED, _EKEYREVOKED):
            return None
        raise error.explained() from None


def keyring(ring: int, name: str) -> int:
    """The keyring `name` in `ring`, made when there is none."""
    found = search(ring, "keyring", name)
    return found if found is not None else _add("keyring", name, None, ring)


def add(ring: int, name: str, payload: bytes) -> None:
    """Add a key of the type "user", or change the one of that name."""
    _add("user", name, payload, ring)


def read(key: int) -> bytes:
    """The payload; of a keyring, the numbers of its keys, four bytes each."""
    size = 256
    while True:
        buffer = ctypes.create_string_buffer(size)
        needed = _call(_READ, key, buffer, size)
        if needed <= size:
            return buffer.raw[:needed]
        size = needed


def members(ring: int) -> dict[str, int]:
    """Name -> number of the keys of the type "user" in `ring`."""
    data, found = read(ring), {}
    for start in range(0, len(data), 4):
        number = int.from_bytes(data[start : start + 4], "little" if _is_little() else "big", signed=True)
        buffer = ctypes.create_string_buffer(8192)
        try:
            length = _keyctl(_DESCRIBE, number, buffer, len(buffer))
        except _KeyError:
            continue  # it has ended meanwhile
        kind, *_, name = buffer.raw[: min(length, len(buffer)) - 1].decode(errors="replace").split(";", 4)
        if kind == "user":
            found[name] = number
    return found


def unlink(ring: int, key: int) -> None:
    """Take it out of `ring`; the kernel deletes it when it is in no other."""
    _call(_UNLINK, key, ring)


class _KeyError(Exception):
    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.errno = number

    def explained(self) -> Unavailable:
        if self.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS):
            return Unavailable(
                f"this process may not use the kernel's keyrings: {self}",
                "inside of a container that is so: use a sealed file, `pyd credential setup --store file`",
            )
        if self.errno == errno.EDQUOT:
            return Unavailable(
                "the user's quota of kernel keys is used up", "see /proc/key-users and /proc/sys/kernel/keys"
            )
        return Unavailable(f"the kernel's keyring: {self}")


def _add(kind: str, name: str, payload: bytes | None, ring: int) -> int:
    size = len(payload) if payload is not None else 0
    try:
        return _syscall(_numbers()[0], kind.encode(), name.encode(), payload, size, ring)
    except _KeyError as error:
        raise error.explained() from None


def _call(*arguments: object) -> int:
    try:
        return _keyctl(*arguments)
    except _KeyError as error:
        raise error.explained() from None


def _keyctl(*arguments: object) -> int:
    return _syscall(_numbers()[1], *arguments)


def _syscall(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    # a variadic function: numbers must be passed as the registers are wide
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result: int = libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        raise _KeyError(ctypes.get_errno())
    return result


def _numbers() -> tuple[int, int]:
    machine = os.uname().machine
    if machine not in _NUMBERS:
        raise NotSupported(f"the kernel's keyrings are not supported on {machine}")
    return _NUMBERS[machine]


def _is_little() -> bool:
    import sys

    return sys.byteorder == "little"
