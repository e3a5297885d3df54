"""Directories that `RUN --mount=type=cache` keeps between builds: data-root/build/mounts/<name>/data.

The name is a digest of the id and of what the directory started from. A lock file for each says who uses it:
steps share it, have it alone (`locked`), or get another one (`private`); whoever removes it takes the lock
alone.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from contextlib import ExitStack

from pyd import _native
from pyd.errors import from_os_error
from pyd.oci.digest import sha256_hex
from pyd.store.locks import acquire, try_acquire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyd.build.files import Tree
    from pyd.store import Store

_PRIVATE = 64  # directories of one id that may be in use at once


def name_of(mount_id: str, base: str = "") -> str:
    """`base`: digest of what it starts from."""
    return sha256_hex(f"{mount_id}\0{base}".encode())[:32]


def path_of(store: Store, name: str) -> str:
    return f"{store.paths.build}/mounts/{name}"


def lock_of(store: Store, name: str) -> str:
    return f"{store.paths.run_root}/locks/cache-mount-{name}"


def opened(
    store: Store,
    mount_id: str,
    *,
    sharing: str,
    mode: int,
    uid: int,
    gid: int,
    base: Tree | None,
    source: str,
    stack: ExitStack,
    restore: Callable[[str, str], bool],
) -> str:
    """The directory, or the part `source` of it; it is the step's until `stack` ends. `restore`: fills one
    that is new here, by name and directory, if it can.
    """
    digest = base.select([source or "/"]).digest if base is not None else ""
    name = name_of(mount_id, digest)
    if sharing == "private":
        name = _take_private(store, name, stack)
    else:
        fd = acquire(lock_of(store, name), shared=sharing == "shared")
        stack.callback(os.close, fd)
    data = f"{path_of(store, name)}/data"
    if not os.path.isdir(data):
        _make(store, name, data, mode, uid, gid, base, source, restore)
    store.build_cache.use_mount(name, mount_id)
    return data


def _take_private(store: Store, name: str, stack: ExitStack) -> str:
    for number in range(_PRIVATE):
        one = f"{name}-{number}" if number else name
        fd = try_acquire(lock_of(store, one))
        if fd is not None:
            stack.callback(os.close, fd)
            return one
    fd = acquire(lock_of(store, name))
    stack.callback(os.close, fd)
    return name


def _make(
    store: Store,
    name: str,
    data: str,
    mode: int,
    uid: int,
    gid: int,
    base: Tree | None,
    source: str,
    restore: Callable[[str, str], bool],
) -> None:
    """Filled under another name first: whoever is killed here leaves nothing that counts."""
    directory = path_of(store, name)
    fd = acquire(f"{lock_of(store, name)}.make")
    try:
        if os.path.isdir(data):
            return
        os.makedirs(directory, 0o700, exist_ok=True)
        new = f"{directory}/new"
        _native.remove_tree(new)
        os.mkdir(new, 0o755)
        if not restore(name, new) and base is not None:
            base.copy(base.select([source or "/"]), f"{directory}/work", new)
        os.chown(new, uid, gid)
        os.chmod(new, mode)
        os.rename(new, data)
    except OSError as error:
        raise from_os_error(error, f"making {data}") from error
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)
