"""Who may be asked what: the rules that keep credentials and requests where they belong.

- an Authorization header goes to the origin (scheme, host, port) that it was made for, never along a redirect
to another - from https nothing leads to http - a registry in the world may not send us to this host's
loopback or link-local addresses (cloud metadata lives at
  169.254.169.254), by redirect or by token realm
"""

from __future__ import annotations

import ipaddress
import socket

import httpx

from pyd.errors import RegistryError
from pyd.registry.settings import is_loopback

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def origin(url: httpx.URL) -> tuple[str, str, int]:
    """(scheme, host, port)"""
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)


def check_redirect(source: httpx.URL, target: httpx.URL) -> None:
    """Raises RegistryError when `target` must not be followed from `source`."""
    if target.scheme not in ("http", "https") or not target.host:
        raise RegistryError(f"{source.host} redirects to {_shown(target)}, which is neither http nor https")
    if source.scheme == "https" and target.scheme != "https":
        raise RegistryError(f"{source.host} redirects from https to plain http ({target.host}): refused")
    if target.userinfo:
        # httpx would log in with it: whoever redirects would choose who we are, to anybody
        raise RegistryError(f"{source.host} redirects to {target.host} with credentials of its own: refused")
    if origin(source) != origin(target):
        _check_inward(source, target, "redirects")


def check_realm(registry: httpx.URL, realm: httpx.URL) -> None:
    """Raises RegistryError when credentials for `registry` must not be sent to the token server `realm`."""
    if realm.scheme not in ("http", "https") or not realm.host:
        raise RegistryError(f"{registry.host} names an invalid token server {_shown(realm)}")
    if realm.scheme == "http" and not (registry.scheme == "http" and realm.host == registry.host):
        raise RegistryError(
            f"{registry.host} wants credentials sent to {realm.host} over plain http: refused"
        )
    if realm.host != registry.host:
        _check_inward(registry, realm, "sends")


def check_peer(source: httpx.URL, target: httpx.URL, address: str) -> None:
    """Raises RegistryError when a redirect from `source` to `target` has led to this IP address of ours: a
    name may have had another one when `check_redirect` asked (DNS rebinding).
    """
    _check_address(source, target, "redirects", _address(address))


def _check_inward(source: httpx.URL, target: httpx.URL, verb: str) -> None:
    for address in _addresses(target.host):
        _check_address(source, target, verb, address)


def _check_address(source: httpx.URL, target: httpx.URL, verb: str, address: _Address) -> None:
    is_here = (address.is_loopback or address.is_unspecified) and not is_loopback(source.host)
    if is_here or address.is_link_local or address.is_multicast:
        raise RegistryError(f"{source.host} {verb} us to {target.host}, an address of this host: refused")


def _addresses(host: str) -> list[_Address]:
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        return []  # then connecting fails as well, with a better message
    return [_address(str(text)) for text in found]


def _address(text: str) -> _Address:
    address = ipaddress.ip_address(text.partition("%")[0])
    # ::ffff:127.0.0.1 is loopback too
    return getattr(address, "ipv4_mapped", None) or address


def _shown(url: httpx.URL) -> str:
    # written by hand: what is no URL of the web (data:, javascript:) cannot be copied without its query
    return f"{url.scheme}:{'//' if url.host else ''}{url.host}{url.path}"[:200]
