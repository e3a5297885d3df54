"""The default network: an address on the bridge, NAT to the outside, published ports."""

from __future__ import annotations

from pyd import errors
from pyd.network import ipam, ports
from pyd.network.endpoint import Endpoint, NetworkOptions, Site

MTU = 1500


class BridgeDriver:
    name = "bridge"

    def check(self, options: NetworkOptions) -> None:
        if options.ip:
            raise errors.InvalidArgument(
                "invalid config for network bridge: invalid endpoint settings:\n"
                "user specified IP address is supported on user defined networks only"
            )
        if options.mac:
            check_mac(options.mac)

    def connect(self, options: NetworkOptions, site: Site) -> Endpoint:
        address = site.address or ipam.allocate(site.subnet, site.used)
        mac = options.mac.lower() or ipam.mac_address(address)
        published = tuple(ports.assign(options.ports, site.taken))
        return Endpoint(
            network=self.name,
            address=address,
            prefix=site.subnet.prefix,
            gateway=site.subnet.gateway,
            mac=mac,
            ports=published,
            document={
                "bridge": {
                    "name": site.bridge,
                    "gateway": site.subnet.gateway,
                    "prefix": site.subnet.prefix,
                },
                "address": address,
                "mac": mac,
                "mtu": MTU,
                "ports": [mapping.document() for mapping in published],
            },
        )


def check_mac(mac: str) -> None:
    """Six hexadecimal bytes of one station: the lowest bit of the first says group."""
    parts = mac.split(":")
    digits = set("0123456789abcdefABCDEF")
    if len(parts) != 6 or any(len(part) != 2 or not set(part) <= digits for part in parts):
        raise errors.InvalidArgument(f"{mac} is not a valid mac address")
    if int(parts[0], 16) & 1:
        raise errors.InvalidArgument(f"{mac} is not a valid mac address: it is a multicast address")
