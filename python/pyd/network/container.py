"""The network namespace of another container, with its hosts, hostname and resolv.conf."""

from __future__ import annotations

from pyd import errors
from pyd.network.endpoint import Endpoint, NetworkOptions, Site


class ContainerDriver:
    name = "container"

    def check(self, options: NetworkOptions) -> None:
        if not target(options.mode):
            raise errors.InvalidArgument("invalid container format container:<name|id>")
        contradictions = (
            (options.hostname, "hostname and the network mode"),
            (options.dns or options.dns_search or options.dns_options, "dns and the network mode"),
            (options.extra_hosts, "custom host-to-IP mapping and the network mode"),
            (options.mac, "mac-address and the network mode"),
            (options.ports, "port publishing and the container type network mode"),
            (options.exposed, "port exposing and the container type network mode"),
        )
        for given, what in contradictions:
            if given:
                raise errors.InvalidArgument(f"conflicting options: {what}")

    def connect(self, options: NetworkOptions, site: Site) -> Endpoint:
        """In the namespace of the running container that the engine found for this mode."""
        if not site.peer_pid:
            raise errors.Conflict(
                f"cannot join network of a non running container: {site.peer_id}",
                f"start it first: pyd start {site.peer_id[:12]}",
            )
        return Endpoint(network=self.name, namespace=f"/proc/{site.peer_pid}/ns/net", share_with=site.peer_id)


def target(mode: str) -> str:
    """Name or id after "container:"."""
    return mode.removeprefix("container:")
