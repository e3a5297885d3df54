"""What the engine asks the host's kernel about cgroups and links, and the clean-up after a shim that was
killed. The extension is imported when it is asked: most commands need nothing of it.
"""

from __future__ import annotations

import functools
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@functools.cache
def cgroup_mode() -> str:
    """v1, v2 or hybrid."""
    # Without asking the extension, which also lists controllers: this is on the path of every start
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        return "v2"
    return "hybrid" if os.path.isdir("/sys/fs/cgroup/unified") else "v1"


def cgroup_info() -> dict[str, Any]:
    from pyd import _native

    return _native.cgroup_info()


def cgroup_pids(path: str) -> list[int]:
    from pyd import _native

    return _native.cgroup_pids(path)


def cgroup_stats(path: str) -> dict[str, Any]:
    from pyd import _native

    return _native.cgroup_stats(path)


def clean_up(container_id: str, cgroup: str) -> None:
    """Remove what a killed shim left: its container's processes, cgroups, firewall rules and link."""
    from pyd import _native

    _native.cgroup_destroy(cgroup)
    _native.network_forget(container_id)


def seccomp_supported() -> bool:
    from pyd import _native

    return _native.seccomp_supported()


def capabilities() -> dict[str, list[str]]:
    from pyd import _native

    return _native.capabilities()


def subnets() -> list[str]:
    """IPv4 subnets that the host's routes and addresses use."""
    from pyd import _native

    return _native.network_addresses()


def bridge_subnet(name: str) -> str | None:
    """Address of the bridge in CIDR, None if there is no bridge of this name."""
    from pyd import _native

    for link in _native.network_links():
        if link["name"] == name and link.get("addresses"):
            return str(link["addresses"][0])
    return None


def usage(path: str) -> int:
    """Bytes in regular files and symlinks below `path`."""
    from pyd import _native

    try:
        return _native.tree_usage(path)[0]
    except FileNotFoundError:
        return 0
