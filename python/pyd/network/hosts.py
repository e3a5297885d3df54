"""/etc/hosts and /etc/hostname of a container, and `--add-host`. Texts as moby's libnetwork/etchosts."""

from __future__ import annotations

from collections.abc import Iterable

from pyd import errors
from pyd.network.ports import is_ip

HOST_GATEWAY = "host-gateway"

_LOCAL = (
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::\tip6-localnet\n"
    "ff00::\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\n"
    "ff02::2\tip6-allrouters\n"
)


def parse_extra_host(spec: str) -> tuple[str, str]:
    """`name:ip`, `name=ip` or `name:host-gateway` as (name, address); IPv6 may stand in brackets."""
    name, separator, address = spec.partition("=")
    if not separator:
        name, separator, address = spec.partition(":")
    if not separator or not name or not address:
        raise errors.InvalidArgument(f'bad format for add-host: "{spec}"')
    if any(c.isspace() or ord(c) < 32 for c in name):
        # a newline would write a line of its own into /etc/hosts
        raise errors.InvalidArgument(f'bad format for add-host: "{spec}"')
    if address == HOST_GATEWAY:
        return name, address
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    if not is_ip(address):
        raise errors.InvalidArgument(f'invalid IP address in add-host: "{address}"')
    return name, address


def hostname_file(hostname: str) -> str:
    return f"{hostname}\n"


def hosts_file(
    hostname: str,
    address: str | None,
    extra_hosts: Iterable[str] = (),
    *,
    domainname: str = "",
    gateway: str | None = None,
    base: str | None = None,
) -> str:
    """Contents of /etc/hosts.

    address: of the container; None when it has none of its own
    gateway: what `host-gateway` stands for
    base: the host's own file, for --network host, in place of the standard lines
    """
    lines = [base if base is not None else _LOCAL]
    if base and not base.endswith("\n"):
        lines.append("\n")
    for spec in extra_hosts:
        name, target = parse_extra_host(spec)
        if target == HOST_GATEWAY:
            if gateway is None:
                raise errors.InvalidArgument(
                    f"cannot resolve host-gateway for {name}: this network has no gateway",
                    "give the address of the host instead of host-gateway, or use --network bridge",
                )
            target = gateway
        lines.append(f"{target}\t{name}\n")
    if address is not None:
        names = f"{hostname}.{domainname} {hostname}" if domainname else _names(hostname)
        lines.append(f"{address}\t{names}\n")
    return "".join(lines)


def _names(hostname: str) -> str:
    """A full name is followed by its first label, as Docker does for `--hostname a.example.com`."""
    label, dot, _ = hostname.partition(".")
    return f"{hostname} {label}" if dot and label else hostname
