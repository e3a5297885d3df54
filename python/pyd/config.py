"""Settings of one engine: flags first, then the environment, then defaults. And the user's Docker
config.json.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from pyd import errors
from pyd.paths import Paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Config:
    """What an Engine needs to know about this host. Nothing here changes after construction.

    cgroup_parent: cgroup path below which every container gets its own, `PYD_CGROUP_PARENT`, default /pyd
    bridge: name of the default bridge, `PYD_BRIDGE`, default pyd0
    subnet: IPv4 subnet of the default bridge in CIDR, `PYD_SUBNET`; None = the first free one
    runtime: path of the static pyd-runtime, `PYD_RUNTIME`, default the one in the wheel
    """

    __slots__ = ("bridge", "cgroup_parent", "paths", "runtime", "subnet")

    def __init__(
        self,
        *,
        data_root: str | None = None,
        run_root: str | None = None,
        cgroup_parent: str | None = None,
        bridge: str | None = None,
        subnet: str | None = None,
        runtime: str | None = None,
    ) -> None:
        environ = os.environ
        self.paths = Paths(data_root, run_root)
        parent = cgroup_parent or environ.get("PYD_CGROUP_PARENT") or "/pyd"
        if ".." in parent.split("/"):
            raise errors.InvalidArgument(f"invalid cgroup parent {parent!r}: it must not contain ..")
        self.cgroup_parent = "/" + parent.strip("/")
        self.bridge = bridge or environ.get("PYD_BRIDGE") or "pyd0"
        self.subnet = subnet or environ.get("PYD_SUBNET") or None
        self.runtime = (
            runtime or environ.get("PYD_RUNTIME") or f"{os.path.dirname(__file__)}/_bin/pyd-runtime"
        )

    def cgroup(self, container_id: str) -> str:
        return f"{self.cgroup_parent}/{container_id}"


def docker_config_path() -> str:
    """Path of the user's config.json: $DOCKER_CONFIG/config.json or ~/.docker/config.json."""
    directory = os.environ.get("DOCKER_CONFIG") or f"{os.environ.get('HOME', '/')}/.docker"
    return f"{directory}/config.json"


def docker_config() -> Mapping[str, Any]:
    """The user's Docker config.json; empty if there is none.

    Keys that pyd reads: auths, credsStore, credHelpers, detachKeys, psFormat, imagesFormat, statsFormat,
    proxies.
    """
    path = docker_config_path()
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except FileNotFoundError:
        return {}
    except OSError as error:
        # without the remedies of the data-root: it is the user's file
        message = errors.from_os_error(error, f"reading {path}").message
        raise errors.KernelError(message, path=path, errno=error.errno or 0) from error
    except (ValueError, RecursionError) as error:
        raise errors.InvalidArgument(
            f"{path} is not valid JSON: {error}", f"correct or remove {path}"
        ) from error
    if not isinstance(value, dict):
        raise errors.InvalidArgument(f"{path} must hold a JSON object", f"correct or remove {path}")
    return value
