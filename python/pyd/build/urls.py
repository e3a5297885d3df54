"""URLs that users write into commands and Dockerfiles: what may be shown of them, and what kind they are."""

from __future__ import annotations

import base64
from urllib.parse import unquote, urlsplit, urlunsplit

from pyd.errors import InvalidArgument

_HIDDEN = "xxxxx"


def is_http(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def redacted(url: str) -> str:
    """The URL with "xxxxx" for user and password, as BuildKit shows it. For everything that is written down:
    messages, history, provenance (CVE-2023-26054).
    """
    head, at, rest = _authority(url)
    if not at:
        return url
    hidden = f"{_HIDDEN}:{_HIDDEN}" if ":" in head.partition("://")[2] else _HIDDEN
    return f"{head.partition('://')[0]}://{hidden}@{rest}"


def without_user(url: str) -> str:
    """The URL without user and password."""
    head, at, rest = _authority(url)
    return f"{head.partition('://')[0]}://{rest}" if at else url


def basic_auth(url: str) -> str:
    """The Authorization header for the user and password in the URL; "" if it has none."""
    head, at, _ = _authority(url)
    if not at:
        return ""
    user, _, password = head.partition("://")[2].partition(":")
    text = f"{unquote(user)}:{unquote(password)}".encode()
    return f"Basic {base64.b64encode(text).decode()}"


def host_of(url: str) -> str:
    """Name of the host, without port and user."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def checked(url: str) -> str:
    """The URL without its fragment. Raises InvalidArgument for what is no http(s) URL with a host."""
    try:
        parts = urlsplit(url)
        port = parts.port  # raises ValueError beyond 65535
    except ValueError:
        port = 0
    if port == 0 or not is_http(url) or not parts.hostname or not url.isprintable() or " " in url:
        raise InvalidArgument(f"invalid URL {redacted(url)!r}", "write it as https://host/path")
    return urlunsplit(parts._replace(fragment=""))


def _authority(url: str) -> tuple[str, bool, str]:
    """("scheme://user:password", whether there is a user, "host/path…")"""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url, False, ""
    cut = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
    user, at, host = rest[:cut].rpartition("@")
    return f"{scheme}://{user}", bool(at), host + rest[cut:]
