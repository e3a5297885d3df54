"""`EXPOSE 80 53/udp 8000-8010`: what is exposed, and what the text says that is not heeded."""

from __future__ import annotations

from functools import lru_cache

from pyd.errors import InvalidArgument
from pyd.record import Record

_PROTOCOLS = ("tcp", "udp", "sctp")
_HIGHEST = 65535


class Exposed(Record):
    """`ports` are keys of an image config, "80/tcp". `protocol` is as written, "" when it is not.

    `maps` says that there is an address or a port of the host, which EXPOSE cannot set.
    """

    ports: tuple[str, ...]
    protocol: str
    maps: bool


@lru_cache(maxsize=16)  # a file may have all the ports in each of its lines
def parse_exposed(text: str) -> Exposed:
    """`[[ip:]port:]port[-port][/protocol]`. Raises InvalidArgument."""
    *before, port = text.split(":")
    host_port = before.pop() if before else ""
    address = ":".join(before)
    number, _, protocol = port.partition("/")
    if not number:
        raise InvalidArgument(f'invalid port: "{text}": no port specified')
    if protocol and protocol.lower() not in _PROTOCOLS:
        raise InvalidArgument(f'invalid port: "{text}": invalid proto: {protocol}')
    if address:
        _check_address(address)
    first, last = _range(number, "containerPort")
    if host_port:
        begin, end = _range(host_port, "hostPort")
        if last != first and end - begin != last - first:
            what = f"{number} and {host_port}"
            raise InvalidArgument(f"invalid ranges specified for container and host Ports: {what}")
    kind = protocol.lower() or "tcp"
    ports = tuple(f"{each}/{kind}" for each in range(first, last + 1))
    return Exposed(ports, protocol, bool(address or host_port))


def _range(text: str, what: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    begin, end = _number(first), _number(last if dash else first)
    if begin is None or end is None or end < begin:
        raise InvalidArgument(f"invalid {what}: {text}", "write a port or a range: 80, 8000-8010")
    return begin, end


def _number(text: str) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _HIGHEST):
        return None
    return int(text)


def _check_address(text: str) -> None:
    from ipaddress import ip_address

    plain = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        ip_address(plain)
    except ValueError:
        raise InvalidArgument(f"invalid IP address: {text}") from None
