"""/etc/resolv.conf of a container: the host's, without what cannot be reached, or what --dns* say.

The rules are those of moby's libnetwork/internal/resolvconf for a network without an own name server.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyd import errors
from pyd.network.ports import is_ip, is_ipv4
from pyd.record import Record

HOST_FILE = "/etc/resolv.conf"
# systemd-resolved's stub is on a loopback address that no container reaches; this file has the real servers
RESOLVED_FILE = "/run/systemd/resolve/resolv.conf"
FALLBACK = ("8.8.8.8", "8.8.4.4")


class ResolvConf(Record):
    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> ResolvConf:
        """From a resolv.conf(5): all nameservers, the last search or domain line, all options."""
        nameservers: list[str] = []
        search: tuple[str, ...] = ()
        options: list[str] = []
        for line in text.splitlines():
            words = line.split("#", 1)[0].split(";", 1)[0].split()
            if len(words) < 2:
                continue
            if words[0] == "nameserver" and is_ip(words[1].split("%")[0]):
                nameservers.append(words[1])
            elif words[0] in ("search", "domain"):
                search = tuple(words[1:])
            elif words[0] == "options":
                options += words[1:]
        return cls(tuple(nameservers), search, tuple(options))

    def __str__(self) -> str:
        lines = [f"nameserver {address}\n" for address in self.nameservers]
        if self.search:
            lines.append(f"search {' '.join(self.search)}\n")
        if self.options:
            lines.append(f"options {' '.join(self.options)}\n")
        return "".join(lines)


def resolv_conf(
    host: str,
    *,
    dns: Sequence[str] = (),
    search: Sequence[str] = (),
    options: Sequence[str] = (),
    host_network: bool = False,
) -> str:
    """Contents of the container's file.

    host: text of the host's file (see `read_host`)
    dns, search, options: the flags; each replaces what the host says. `--dns-search .` means no search list
    host_network: the container is in the host's namespace, so that loopback servers are within reach
    """
    for address in dns:
        if not is_ip(address):
            raise errors.InvalidArgument(f"{address} is not an ip address")
    for word in (*search, *options):
        if not word or any(c.isspace() for c in word):
            raise errors.InvalidArgument(f"{word!r} is not a valid domain or option for resolv.conf")
    if host_network and not (dns or search or options):
        return host
    found = ResolvConf.parse(host)
    nameservers = tuple(dns) or (found.nameservers if host_network else _reachable(found.nameservers))
    domains = tuple(search) or found.search
    return str(ResolvConf(nameservers, () if domains == (".",) else domains, tuple(options) or found.options))


def read_host(path: str = HOST_FILE, resolved: str = RESOLVED_FILE) -> str:
    """The host's file that names servers which others can reach; empty text if there is none."""
    text = _read(path)
    if ResolvConf.parse(text).nameservers == ("127.0.0.53",):
        return _read(resolved) or text
    return text


def _reachable(nameservers: Sequence[str]) -> tuple[str, ...]:
    """Without loopback servers, that are the host's own, and without IPv6, that the bridge does not carry."""
    kept = tuple(a for a in nameservers if is_ipv4(a) and not a.startswith("127."))
    return kept or FALLBACK


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise errors.from_os_error(error, f"reading {path}") from error
