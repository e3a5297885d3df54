"""Where the key of a sealed file comes from: SOURCE is one of

file:/path         a file of the user's alone, for example on a stick, or on a disk that is encrypted
env:NAME           a variable, for example of a CI system
systemd:NAME       a credential of the unit (systemd.exec(5), LoadCredentialEncrypted=)
passphrase         typed once after each boot (`pyd credential unlock`); the kernel's keyring keeps the key
"""

from __future__ import annotations

import hashlib
import os
import stat

from pyd.errors import InvalidArgument, KernelError, Unauthorized, Unavailable, from_os_error
from pyd.registry import private_file
from pyd.registry.vault import kernel
from pyd.registry.vault.sealing import Lock

_LEAST = 8  # bytes of a secret
_MOST = 1 << 16
PASSPHRASE = "passphrase"  # noqa: S105 - the name of a source


def check(source: str) -> None:
    """Raises InvalidArgument for what is no source."""
    kind, colon, name = source.partition(":")
    if source == PASSPHRASE or (kind in ("file", "env", "systemd") and colon and name):
        if kind == "file" and not os.path.isabs(name):
            raise InvalidArgument(f"the path of the key must be absolute: {name}")
        if kind == "systemd" and "/" in name:
            raise InvalidArgument(f"invalid name of a systemd credential {name!r}")
        return
    raise InvalidArgument(
        f"invalid key {source.partition(':')[0]!r}", "file:/path, env:NAME, systemd:NAME or passphrase"
    )


def of(source: str, path: str, lock: Lock) -> bytes:
    """The key of the sealed file `path`. Raises Unauthorized when it must be unlocked first."""
    kind, _, name = source.partition(":")
    if source == PASSPHRASE:
        return _unlocked(path, lock)
    if kind == "env":
        secret = os.environ.get(name, "").encode()
    elif kind == "systemd":
        directory = os.environ.get("CREDENTIALS_DIRECTORY")
        if not directory:
            raise Unavailable(
                f"the key is systemd's credential {name}, but $CREDENTIALS_DIRECTORY is not set",
                f"run it in a unit with LoadCredentialEncrypted={name}",
            )
        secret = _file(f"{directory}/{name}")
    else:
        secret = _file(name)
    if len(secret) < _LEAST:
        raise Unavailable(f"the key {source} has fewer than {_LEAST} bytes", "see docs/credentials.md")
    return lock.key(secret)


def make_file(path: str) -> None:
    """A new key, durably, mode 0600; a file that is there stays as it is."""
    with private_file.changing(path) as target:
        if not os.path.exists(target):
            private_file.replace(target, os.urandom(32).hex().encode() + b"\n")


def remember(path: str, lock: Lock, key: bytes) -> None:
    """Keep the key in the kernel's memory until the next boot or `forget`."""
    kernel.add(kernel.user_keyring(), _name(path, lock), key)


def forget(path: str, lock: Lock) -> None:
    ring = kernel.user_keyring()
    found = kernel.search(ring, "user", _name(path, lock))
    if found is not None:
        kernel.unlink(ring, found)


def _unlocked(path: str, lock: Lock) -> bytes:
    found = kernel.search(kernel.user_keyring(), "user", _name(path, lock))
    if found is None:
        raise Unauthorized(f"{path} is locked", "unlock it: pyd credential unlock")
    return kernel.read(found)


def _name(path: str, lock: Lock) -> str:
    return f"pyd:unlocked:{hashlib.sha256(path.encode() + lock.header).hexdigest()[:32]}"


def _file(path: str) -> bytes:
    """Without the line break at its end. What others may read is no secret."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise Unavailable(f"the key {path} does not exist", "see docs/credentials.md") from None
    except OSError as error:
        raise _failed(error, path) from error
    try:
        state = os.fstat(fd)
        if not stat.S_ISREG(state.st_mode):
            raise Unavailable(f"the key {path} is not a regular file")
        if state.st_mode & 0o077 or state.st_uid not in (0, os.geteuid()):
            raise Unavailable(f"the key {path} can be read by others", f"chmod 600 {path}")
        return os.read(fd, _MOST).rstrip(b"\r\n")
    except OSError as error:
        raise _failed(error, path) from error
    finally:
        os.close(fd)


def _failed(error: OSError, path: str) -> KernelError:
    return KernelError(from_os_error(error, f"reading the key {path}").message, errno=error.errno or 0)
