"""IPv4 subnets and addresses. Nothing is stored here: what is in use is the store's to know."""

from __future__ import annotations

from _socket import AF_INET, inet_ntop, inet_pton  # `socket` builds enums, for milliseconds of each `run`
from collections.abc import Iterable, Iterator

from pyd import errors
from pyd.record import Record

# Docker's default pool begins at 172.17 and ends at 172.31 with /16, then 192.168 with /20. pyd begins in the
# upper half, so that both can live on one host.
DEFAULT_POOL = tuple(f"172.{n}.0.0/16" for n in (30, 31, 29, 28, 27, 26, 25, 24)) + tuple(
    f"{base}.0/20"
    for base in ("192.168.240", "192.168.224", "192.168.208", "10.210.0", "10.211.0", "10.212.0")
)


class Subnet(Record):
    """network: the first address as a number; prefix: the mask's length; host: the address as written."""

    network: int
    prefix: int
    host: int

    @classmethod
    def parse(cls, text: str) -> Subnet:
        """From "172.30.0.0/16" or, with a gateway, "172.30.0.1/16". A bare address is a /32."""
        address, slash, length = text.partition("/")
        if slash and not (length.isascii() and length.isdigit() and len(length) <= 2 and int(length) <= 32):
            raise errors.InvalidArgument(f"invalid CIDR address: {text}")
        prefix = int(length) if slash else 32
        host = number(address, text)
        return cls(host & _mask(prefix), prefix, host)

    @property
    def size(self) -> int:
        return 1 << (32 - self.prefix)

    @property
    def gateway(self) -> str:
        """The address as written if it is one of the hosts, else the first host."""
        return text(self.host if self.host != self.network else self.network + 1)

    def __str__(self) -> str:
        return f"{text(self.network)}/{self.prefix}"

    def contains(self, address: str) -> bool:
        return number(address) & _mask(self.prefix) == self.network

    def overlaps(self, other: Subnet) -> bool:
        mask = _mask(min(self.prefix, other.prefix))
        return self.network & mask == other.network & mask


def choose_subnet(taken: Iterable[str], pool: Iterable[str] = DEFAULT_POOL) -> Subnet:
    """The first subnet of the pool that none of the host's routes and addresses (CIDR) touches.

    A default route (0.0.0.0/0) is no claim on a subnet.
    """
    routes = [subnet for subnet in map(Subnet.parse, taken) if subnet.prefix]
    for candidate in map(Subnet.parse, pool):
        if not any(candidate.overlaps(route) for route in routes):
            return candidate
    raise errors.Conflict(
        "could not find an available, non-overlapping IPv4 address pool among the defaults"
        " to assign to the network",
        "choose a subnet that is free on this host with PYD_SUBNET",
    )


def default_subnet(bridge_subnet: str | None, configured: str | None, taken: Iterable[str]) -> Subnet:
    """The subnet of the default bridge: the configured one, else that of an existing bridge, else a free one.

    bridge_subnet: address of the existing bridge in CIDR, None if there is no bridge
    """
    chosen = configured or bridge_subnet
    if chosen is None:
        return choose_subnet(taken)
    subnet = Subnet.parse(chosen)
    if not 8 <= subnet.prefix <= 30:
        raise errors.InvalidArgument(f"invalid subnet {chosen}: the prefix must be between /8 and /30")
    return subnet


def allocate(subnet: str | Subnet, used: Iterable[str]) -> str:
    """The lowest address of the subnet that a container may have and none of `used` is."""
    net = subnet if isinstance(subnet, Subnet) else Subnet.parse(subnet)
    taken = frozenset(used)
    for candidate in candidates(net):
        if candidate not in taken:
            return candidate
    raise errors.Conflict(
        f"no available IPv4 addresses on this network's address pools: {net}",
        "remove containers that are not needed (pyd container prune)",
    )


def candidates(subnet: Subnet) -> Iterator[str]:
    """Addresses for containers, lowest first: all but the gateway, the network and the broadcast address.

    Reusing a low address at once is safe: its MAC follows from it, so that no neighbour holds a wrong entry.
    """
    gateway = number(subnet.gateway)
    for candidate in range(subnet.network + 1, subnet.network + subnet.size - 1):
        if candidate != gateway:
            yield text(candidate)


def mac_address(address: str) -> str:
    """02:42 and the four bytes of the address, as Docker: locally administered, unicast, stable."""
    return "02:42:" + ":".join(f"{byte:02x}" for byte in number(address).to_bytes(4, "big"))


def number(address: str, shown: str | None = None) -> int:
    """An IPv4 address as a number."""
    try:
        return int.from_bytes(inet_pton(AF_INET, address), "big")
    except (OSError, ValueError):
        raise errors.InvalidArgument(f"invalid CIDR address: {shown or address}") from None


def text(address: int) -> str:
    """A number as an IPv4 address."""
    return inet_ntop(AF_INET, address.to_bytes(4, "big"))


def _mask(prefix: int) -> int:
    return 0xFFFFFFFF << (32 - prefix) & 0xFFFFFFFF
