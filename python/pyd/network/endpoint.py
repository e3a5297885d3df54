"""What a driver is asked for and what it gives: values for config.json, shim.json and the inspect output."""

from __future__ import annotations

from pyd.network.ipam import Subnet
from pyd.network.ports import PortMapping
from pyd.record import Record


class NetworkOptions(Record):
    """The flags of `run` and `create` that concern the network.

    mode: value of --network: "bridge" (or "default", or ""), "host", "none", "container:<name or id>"
    ports: published ports, host ports not yet chosen (`ports.parse_all`, `ports.publish_all`)
    hostname: as given by --hostname, "" = none given
    """

    mode: str = "bridge"
    ports: tuple[PortMapping, ...] = ()
    exposed: tuple[str, ...] = ()
    hostname: str = ""
    domainname: str = ""
    mac: str = ""
    ip: str = ""
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()


class Site(Record):
    """What a driver must know of this host at the start of a container.

    address: the container's, if the store has already given it one out of `ipam.candidates(subnet)`
    used: addresses of the other containers of the bridge, for a choice without the store
    taken: (proto, host port) that other running containers publish
    peer_id, peer_pid: the container of `container:x` and the pid of its init; 0 when it does not run
    """

    bridge: str
    subnet: Subnet
    address: str = ""
    used: frozenset[str] = frozenset()
    taken: frozenset[tuple[str, int]] = frozenset()
    peer_id: str = ""
    peer_pid: int = 0


class Endpoint(Record):
    """The attachment of one container to its network.

    network: Docker's name of it ("bridge", "host", "none"), "container" for a shared one
    namespace: None = a new network namespace; "" = the host's; else the path of one to join
    document: NETWORK of shim.json; None when the shim has nothing to do
    gateway: what `host-gateway` stands for; None where the host cannot be reached
    share_with: id of the container whose hosts, hostname and resolv.conf are used
    """

    network: str
    namespace: str | None = None
    address: str | None = None
    prefix: int = 0
    gateway: str | None = None
    mac: str | None = None
    ports: tuple[PortMapping, ...] = ()
    document: dict[str, object] | None = None
    share_with: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def host_network(self) -> bool:
        return self.namespace == ""
