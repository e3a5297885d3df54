"""What this host says about registries: mirrors, and which may be reached without verified TLS.

From `registry-mirrors` and `insecure-registries` (lists, the names of Docker's daemon.json) of the
configuration file, then PYD_REGISTRY_MIRRORS and PYD_INSECURE_REGISTRIES (separated by commas or spaces),
then options of the command. How blobs are sent: `push-chunk-size` (PYD_PUSH_CHUNK_SIZE) and
`push-compression-level` (PYD_PUSH_COMPRESSION_LEVEL). What a pull may take and keeps: `max-unpacked-size`
("20g"; PYD_MAX_UNPACKED_SIZE), `keep-compressed-layers` and `foreign-layers` (true or false). The file is
$PYD_CONFIG, /etc/pyd/config.json for root, $XDG_CONFIG_HOME/pyd/config.json for others.
"""

from __future__ import annotations

import ipaddress
import json
import os
from urllib.parse import urlsplit

from pyd.errors import InvalidArgument, from_os_error
from pyd.record import Record
from pyd.sizes import parse_size


class Settings(Record):
    mirrors: tuple[str, ...] = ()  # base URLs, asked before Docker Hub, in this order
    insecure: tuple[str, ...] = ()  # host[:port] or CIDR
    push_chunk_size: int = 0  # bytes of each request of an upload; 0 = a blob in one
    push_compression_level: int = 6  # gzip, 1 to 9, of layers that are stored plain
    max_unpacked_size: int = 0  # bytes that an image may unpack to; 0 = what is free on the disk
    keep_compressed_layers: bool = True  # for a push, which has to make them again otherwise
    foreign_layers: bool = False  # whether layers that are not to be distributed may be pulled

    @classmethod
    def load(cls) -> Settings:
        document = _file()
        return cls(
            mirrors=tuple(
                _mirror(text)
                for text in _texts(document, "registry-mirrors") + _words("PYD_REGISTRY_MIRRORS")
            ),
            insecure=_texts(document, "insecure-registries") + _words("PYD_INSECURE_REGISTRIES"),
            push_chunk_size=_size(document, "push-chunk-size"),
            push_compression_level=_number(document, "push-compression-level", 6, 1, 9),
            max_unpacked_size=_size(document, "max-unpacked-size"),
            keep_compressed_layers=_flag(document, "keep-compressed-layers", True),
            foreign_layers=_flag(document, "foreign-layers", False),
        )

    def is_insecure(self, host: str) -> bool:
        """Whether plain http or an unverified certificate is fine for `host` (with its port): loopback always
        is.
        """
        if is_loopback(host) or host in self.insecure:
            return True
        name = split_port(host)[0]
        if name in self.insecure:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return any(
            address in network
            for text in self.insecure
            if "/" in text and (network := _network(text)).version == address.version
        )


def split_port(host: str) -> tuple[str, str]:
    """("name", "5000") of "name:5000"; brackets of IPv6 addresses are taken off."""
    if host.startswith("["):
        name, _, port = host[1:].partition("]")
        return name, port.removeprefix(":")
    name, _, port = host.partition(":")
    return name, port


def is_loopback(host: str) -> bool:
    name = split_port(host)[0].rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def config_path() -> str:
    """Path of pyd's configuration file."""
    path = os.environ.get("PYD_CONFIG")
    if path:
        return path
    home = os.environ.get("XDG_CONFIG_HOME") or os.environ.get("HOME", "/") + "/.config"
    return "/etc/pyd/config.json" if os.geteuid() == 0 else f"{home}/pyd/config.json"


def _file() -> dict[str, object]:
    path = config_path()
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise from_os_error(error, f"reading {path}") from error
    except ValueError as error:
        raise InvalidArgument(f"{path} is not valid JSON: {error}", f"correct or remove {path}") from error
    if not isinstance(document, dict):
        raise InvalidArgument(f"{path} must hold a JSON object", f"correct or remove {path}")
    return document


def _texts(document: dict[str, object], key: str) -> tuple[str, ...]:
    value = document.get(key) or []
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise InvalidArgument(f"{key} in the configuration file must be a list of strings")
    return tuple(value)


def _number(document: dict[str, object], key: str, default: int, least: int, most: int) -> int:
    """Of the environment (PYD_PUSH_COMPRESSION_LEVEL for push-compression-level), else of the file."""
    name = f"PYD_{key.upper().replace('-', '_')}"
    value: object = document.get(key, default)
    if name in os.environ:
        key, text = name, os.environ[name]
        value = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidArgument(f"{key} must be a whole number from {least} to {most}")
    return value


def _size(document: dict[str, object], key: str) -> int:
    """Bytes, from a number or from text ("20g"); the environment counts before the file."""
    text = os.environ.get(f"PYD_{key.upper().replace('-', '_')}") or document.get(key, 0)
    try:
        size = parse_size(str(text))
    except ValueError as error:
        raise InvalidArgument(f"{key}: {error}") from None
    if size < 0:
        raise InvalidArgument(f"{key} must not be negative")
    return size


def _flag(document: dict[str, object], key: str, default: bool) -> bool:
    value = document.get(key, default)
    if not isinstance(value, bool):
        raise InvalidArgument(f"{key} in the configuration file must be true or false")
    return value


def _words(name: str) -> tuple[str, ...]:
    return tuple(os.environ.get(name, "").replace(",", " ").split())


def _mirror(text: str) -> str:
    parts = urlsplit(text)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.query
        or parts.fragment
        or parts.username
    ):
        raise InvalidArgument(f"invalid registry mirror {text!r}", "write it as https://host[:port]")
    return text.rstrip("/")


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise InvalidArgument(f"invalid insecure registry {text!r}: {error}") from None
