"""What `pyd registry serve` is told, and the combinations that are refused."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from pyd.errors import InvalidArgument
from pyd.registry.server.collector import GRACE, UPLOAD_EXPIRY


@dataclass(frozen=True, slots=True)
class Options:
    root: str
    shared: str | None = None  # pyd's content store, when the root lies beside it
    host: str = "127.0.0.1"
    port: int = 5000
    tls_certificate: str | None = None
    tls_key: str | None = None
    allow_http: bool = False
    htpasswd: str | None = None
    access: str | None = None
    token: bool = False  # Bearer tokens of its own
    token_realm: str | None = None  # URL of the token server, when that is another or behind a proxy
    token_key: str | None = None  # the other token server's public key
    token_service: str = "pyd-registry"  # noqa: S105 - a name
    token_issuer: str | None = None
    read_only: bool = False
    delete: bool = True
    mirror: str | None = None  # URL of the registry to mirror
    mirror_ttl: float = 60.0  # seconds for which a tag is not asked for again
    quota: int | None = None  # bytes
    repository_quota: int | None = None  # bytes
    max_uploads: int = 64
    max_connections: int = 1000
    gc_interval: float = 3600.0  # seconds; 0 for never
    gc_grace: float = GRACE
    upload_expiry: float = UPLOAD_EXPIRY
    delete_untagged: bool = False
    shutdown: float = 30.0  # seconds that requests get to end
    access_log: bool = True

    @property
    def has_auth(self) -> bool:
        return bool(self.htpasswd or self.token_key)

    @property
    def has_tls(self) -> bool:
        return self.tls_certificate is not None

    @property
    def is_open(self) -> bool:
        """Whether strangers may push."""
        return self.is_writable and not self.has_auth and not is_loopback(self.host)

    @property
    def is_writable(self) -> bool:
        return not self.read_only and self.mirror is None

    def check(self) -> None:
        """Raises InvalidArgument for what contradicts itself or would be open to the world."""
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise InvalidArgument("--tls-cert and --tls-key belong together")
        if self.token and not self.htpasswd and not self.token_key:
            raise InvalidArgument(
                "--token needs --htpasswd FILE, the users who get tokens",
                "pyd registry htpasswd USER >> FILE",
            )
        if self.token_key and not self.token_realm:
            raise InvalidArgument("--token-key needs --token-realm URL, where clients get their tokens")
        if self.access and not self.htpasswd:
            raise InvalidArgument("--access needs --htpasswd FILE, the users that it speaks of")
        if self.mirror and (self.quota is not None or self.repository_quota is not None):
            raise InvalidArgument("a mirror has no quota", "limit the file system that its root is on")
        if not is_loopback(self.host) and not self.has_tls and not self.allow_http:
            raise InvalidArgument(
                f"{self.host} can be reached from other machines, and without TLS passwords "
                "and images travel in the clear",
                "use --tls-cert and --tls-key (pyd registry certificate HOST makes them), "
                "or --allow-http if something in front of it speaks TLS",
            )


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_listen(text: str) -> tuple[str, int]:
    """("127.0.0.1", 5000) of "127.0.0.1:5000", "[::1]:5000" or ":5000" (all addresses)."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise InvalidArgument(f"invalid address {text!r}", "write IPv6 addresses as [::1]:5000")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise InvalidArgument(f"invalid address {text!r}", "write it as ADDRESS:PORT")
    return host or "0.0.0.0", int(port)  # noqa: S104 - refused without TLS
