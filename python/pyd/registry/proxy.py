"""Which proxy leads to a registry: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, in either case.

NO_PROXY is read as Docker reads it (golang.org/x/net/http/httpproxy), with networks (10.0.0.0/8) and ports,
which httpx does not know. `proxies` in config.json is not for us: it is what containers get.
"""

from __future__ import annotations

import ipaddress
import os

import httpx

from pyd.errors import InvalidArgument, NotSupported
from pyd.registry.settings import is_loopback


def proxy_for(url: httpx.URL) -> httpx.Proxy | None:
    """None for a direct connection. Raises InvalidArgument for what is no proxy: its text, which may hold a
    password, is not repeated.
    """
    name, text = _setting(url.scheme)
    # a proxy has no way to our loopback
    if not text or is_loopback(url.host) or _is_direct(url):
        return None
    try:
        proxy = httpx.URL(text if "://" in text else f"http://{text}")
    except httpx.InvalidURL:
        raise InvalidArgument(f"{name} is not a valid URL", f"write {name} as http://host:port") from None
    if proxy.scheme.startswith("socks"):
        raise NotSupported(f"{name} names a SOCKS proxy: pyd speaks to http and https proxies")
    if proxy.scheme not in ("http", "https") or not proxy.host:
        raise InvalidArgument(f"{name} is not the URL of a proxy", f"write {name} as http://host:port")
    return httpx.Proxy(proxy)


def shown(url: httpx.URL) -> str:
    """host:port of the proxy that leads to `url`, for messages; "" for a direct connection."""
    proxy = proxy_for(url)
    return proxy.url.netloc.decode("ascii") if proxy else ""


def _setting(scheme: str) -> tuple[str, str]:
    """(name of the variable, its value)"""
    for name in (f"{scheme}_proxy", "all_proxy"):
        for each in (name.upper(), name):
            if os.environ.get(each):
                return each, os.environ[each]
    return "", ""


def _is_direct(url: httpx.URL) -> bool:
    text = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    port = str(url.port or (443 if url.scheme == "https" else 80))
    return any(_matches(entry.strip().lower(), url.host.lower(), port) for entry in text.split(","))


def _matches(entry: str, host: str, port: str) -> bool:
    if not entry:
        return False
    if entry == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        pass
    name, colon, wanted = entry.rpartition(":")
    if colon and wanted.isdigit():
        if wanted != port:
            return False
        entry = name.strip("[]")
    if entry.startswith("*."):
        entry = entry[1:]
    return host == entry or host.endswith(entry if entry.startswith(".") else f".{entry}")
