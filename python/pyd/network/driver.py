"""The one seam of networking: a driver turns the flags of a container into an endpoint."""

from __future__ import annotations

from pyd import errors
from pyd.network.endpoint import Endpoint, NetworkOptions, Site

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object  # nothing here is checked at run time


class Driver(Protocol):
    """A way to connect a container. Drivers hold no state and make no system calls."""

    name: str

    def check(self, options: NetworkOptions) -> None:
        """At create: refuse flags that contradict this network, in Docker's words."""

    def connect(self, options: NetworkOptions, site: Site) -> Endpoint:
        """At start: the endpoint, with address and host ports chosen. The shim makes it real."""


def driver_for(mode: str) -> Driver:
    """The driver of a --network value. NetworkNotFound for a name that is none of the built-in ones."""
    if mode in ("", "default", "bridge"):
        from pyd.network.bridge import BridgeDriver

        return BridgeDriver()
    if mode == "none":
        from pyd.network.none import NoneDriver

        return NoneDriver()
    if mode == "host":
        from pyd.network.host import HostDriver

        return HostDriver()
    if mode.startswith("container:"):
        from pyd.network.container import ContainerDriver

        return ContainerDriver()
    raise errors.NetworkNotFound(
        f"network {mode} not found",
        "use --network bridge, none, host or container:<name|id>; networks of your own come later",
    )
