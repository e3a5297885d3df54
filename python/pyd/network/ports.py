"""Published ports: `-p [ip:][host[-range]:]container[-range][/proto]`, `--expose`, choice of host ports.

Grammar and error texts are those of docker/go-connections (nat/nat.go: ParsePortSpec), that scripts match on.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_pton  # `socket` builds enums, for milliseconds of each `run`
from collections.abc import Callable, Iterable, Sequence

from pyd import errors
from pyd.record import Record, replace

PROTOCOLS = ("tcp", "udp")
# Docker's allocator and the kernel's default ip_local_port_range begin here
FIRST_EPHEMERAL, LAST_EPHEMERAL = 32768, 60999

Probe = Callable[[str, str, int], bool]


class PortMapping(Record):
    """One published container port.

    proto: "tcp" or "udp"
    host_ip: address of the host, "0.0.0.0" = all addresses, IPv6 ones too
    host_port: first host port that is allowed, 0 = any free one
    host_last: last host port that is allowed; not host_port only if one container port was given a host range
    """

    container_port: int
    proto: str = "tcp"
    host_ip: str = "0.0.0.0"  # noqa: S104 - what `-p 80` means
    host_port: int = 0
    host_last: int = 0

    @property
    def key(self) -> str:
        """Docker's name of the container port: "80/tcp"."""
        return f"{self.container_port}/{self.proto}"

    def document(self) -> dict[str, object]:
        """The entry of NETWORK.ports in shim.json; the host port must have been chosen."""
        return {
            "proto": self.proto,
            "host_ip": self.host_ip,
            "host_port": self.host_port,
            "container_port": self.container_port,
        }


def parse(spec: str) -> list[PortMapping]:
    """The mappings of one `-p` value, in rising order of container ports."""
    if "=" in spec:
        spec = _long_form(spec)
    address, host, container = _split(spec)
    container, proto = _split_proto(container)
    if address.startswith("["):
        if not address.endswith("]"):
            raise errors.InvalidArgument(f"invalid IP address: {address}")
        address = address[1:-1]
        if ":" not in address:
            raise errors.InvalidArgument(f"invalid IP address: {address}")
    if address and not is_ip(address):
        raise errors.InvalidArgument(f"invalid IP address: {address}")
    if not container:
        raise errors.InvalidArgument(f"no port specified: {spec}<empty>")
    first, last = _range(container, f"invalid containerPort: {container}")
    if first == 0:
        raise errors.InvalidArgument(f"invalid containerPort: {container}")
    host_first, host_last = _range(host, f"invalid hostPort: {host}") if host else (0, 0)
    if host and last - first != host_last - host_first and first != last:
        raise errors.InvalidArgument(
            f"invalid ranges specified for container and host Ports: {container} and {host}"
        )
    _check_proto(proto)
    where = address or PortMapping(1).host_ip
    if first == last:
        return [PortMapping(first, proto.lower(), where, host_first, host_last)]
    return [
        PortMapping(first + n, proto.lower(), where, host_first + n, host_first + n)
        if host
        else PortMapping(first + n, proto.lower(), where)
        for n in range(last - first + 1)
    ]


def parse_all(specs: Iterable[str]) -> list[PortMapping]:
    """The mappings of all `-p` values, each once, in the order given."""
    return list(dict.fromkeys(mapping for spec in specs for mapping in parse(spec)))


def parse_expose(spec: str) -> list[str]:
    """`--expose 80`, `53/udp` or `8000-8010/tcp` as Docker's keys: ["80/tcp"]."""
    if ":" in spec:
        raise errors.InvalidArgument(f"invalid port format for --expose: {spec}")
    text, proto = _split_proto(spec)
    reason = f"invalid range format for --expose: {spec}"
    first, last = _range(text, reason)
    if first == 0:
        raise errors.InvalidArgument(reason)
    _check_proto(proto)
    return [f"{port}/{proto.lower()}" for port in range(first, last + 1)]


def publish_all(exposed: Iterable[str], published: Sequence[PortMapping]) -> list[PortMapping]:
    """`-P`: a free host port for each exposed port ("80/tcp") that is not published explicitly."""
    known = {mapping.key for mapping in published}
    keys = [key for spec in exposed for key in parse_expose(spec)]
    return [
        PortMapping(int(port), proto)
        for key in dict.fromkeys(keys)
        if key not in known
        for port, proto in [key.split("/")]
    ]


def assign(
    mappings: Iterable[PortMapping], taken: Iterable[tuple[str, int]] = (), probe: Probe | None = None
) -> list[PortMapping]:
    """Give every mapping one host port.

    A port that was named exactly is kept unseen: the shim reserves it and says "port is already allocated".
    taken: (proto, port) of other containers that must not be chosen
    probe: whether (proto, ip, port) can be bound now; the default tries it
    """
    is_free = probe or can_bind
    used = set(taken)
    wanted = list(mappings)
    used.update((m.proto, m.host_port) for m in wanted if m.host_port and m.host_port == m.host_last)
    assigned = []
    for mapping in wanted:
        if mapping.host_port and mapping.host_port == mapping.host_last:
            assigned.append(mapping)
            continue
        first, last = mapping.host_port, mapping.host_last
        if not first:
            first, last = FIRST_EPHEMERAL, LAST_EPHEMERAL
        for port in range(first, last + 1):
            if (mapping.proto, port) not in used and is_free(mapping.proto, mapping.host_ip, port):
                break
        else:
            raise errors.KernelError(
                f"Bind for {mapping.host_ip}:{first}-{last} failed: all ports are allocated",
                "stop a container that publishes one of these ports, or choose another range",
            )
        used.add((mapping.proto, port))
        assigned.append(replace(mapping, host_port=port, host_last=port))
    return assigned


def can_bind(proto: str, host_ip: str, port: int) -> bool:
    """Whether the host port is free at this moment. The shim reserves it for good a moment later."""
    import socket  # only whoever publishes a port pays for it

    family = AF_INET6 if ":" in host_ip else AF_INET
    kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
    try:
        with socket.socket(family, kind) as probe:
            if proto == "tcp":
                # as the shim does: connections in TIME_WAIT do not hold a port
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host_ip, port))
            if proto == "tcp":
                probe.listen(1)
    except OSError:
        return False
    return True


def is_ip(text: str) -> bool:
    """Whether text is an IPv4 or IPv6 address, strictly as Go's net.ParseIP takes it."""
    return is_ipv4(text) or is_ipv6(text)


def is_ipv4(text: str) -> bool:
    return _is_address(AF_INET, text)


def is_ipv6(text: str) -> bool:
    return _is_address(AF_INET6, text)


def _is_address(family: int, text: str) -> bool:
    try:
        inet_pton(family, text)
    except (OSError, ValueError):
        return False
    return True


def _long_form(spec: str) -> str:
    """`published=8080,target=80,protocol=tcp`, that `docker run -p` takes as well."""
    values = {"protocol": "tcp", "published": "", "target": ""}
    for part in spec.split(","):
        name, equals, value = part.partition("=")
        if not equals or not name:
            raise errors.InvalidArgument(
                f"invalid publish opts format (should be name=value but got '{part}')"
            )
        values[name] = value
    return f"{values['published']}:{values['target']}/{values['protocol']}"


def _split(spec: str) -> tuple[str, str, str]:
    """(address, host port, container port); all but the last two colons belong to the address."""
    parts = spec.split(":")
    if len(parts) == 1:
        return "", "", spec
    return ":".join(parts[:-2]), parts[-2], parts[-1]


def _split_proto(text: str) -> tuple[str, str]:
    port, _, proto = text.partition("/")
    return (port, proto or "tcp") if port else ("", "")


def _range(text: str, reason: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    low, high = _port(first, reason), _port(last, reason) if dash else _port(first, reason)
    if high < low:
        raise errors.InvalidArgument(reason)
    return low, high


def _port(text: str, reason: str) -> int:
    # str.isdigit takes other scripts' digits, which Go does not
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) > 65535:
        raise errors.InvalidArgument(reason)
    return int(text)


def _check_proto(proto: str) -> None:
    if proto.lower() == "sctp":
        raise errors.NotSupported(
            "sctp ports cannot be published by pyd",
            "use --network host, or publish the port as tcp or udp",
        )
    if proto.lower() not in PROTOCOLS:
        raise errors.InvalidArgument(f"invalid proto: {proto}")
