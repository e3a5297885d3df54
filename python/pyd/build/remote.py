"""A file by http or https: ADD of a URL, remote contexts and Dockerfiles.

Who is asked is checked at every redirect (registry/origin.py); credentials stay with the origin that they
were given for. What a server said about a file is kept as a JSON value (`Fetched.memory`): with it the next
build asks only whether the file is still the same.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from collections.abc import Callable, Mapping
from urllib.parse import unquote, urlsplit

from pyd.build.room import Room
from pyd.build.urls import basic_auth, checked, host_of, redacted, without_user
from pyd.errors import CorruptData, InvalidArgument, NotFound, Unavailable, from_os_error
from pyd.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import httpx

    from pyd.registry.transport import Transport

Told = Callable[[str, int, int], None]  # what, bytes done, bytes in all (0: not known)
Lookup = Callable[[str], bytes | None]  # a secret by its id

UNNAMED = "__unnamed__"  # what BuildKit calls a file whose URL names none
_RETRIED = frozenset((408, 425, 429, 500, 502, 503, 504))
_ATTEMPTS = 4
_STRONG = 60  # seconds after which Last-Modified names one content only (RFC 9110, section 8.8.2.2)
_MAX_NAME = 255  # bytes, NAME_MAX


class Fetched(Record):
    """path: the file on this host, "" when nothing was fetched because it is known and has not changed
    last_modified: as the server wrote it, "" if it did not
    etag: without the mark of a weak one, as BuildKit compares them
    dated: whether `last_modified` is old enough to tell this content from a later one
    """

    path: str
    digest: str  # sha256:…
    filename: str
    size: int  # bytes
    last_modified: str = ""
    etag: str = ""
    dated: bool = False

    @property
    def mtime(self) -> int:
        """Last-Modified in seconds since 1970; 0 if there is none."""
        return _seconds(self.last_modified) or 0

    def memory(self) -> dict[str, Any]:
        """A JSON value: `known` of the next fetch of the same URL."""
        return {name: value for name, value in self.__dict__.items() if name != "path"}


def file_name(url: str, disposition: str = "") -> str:
    """The name that ADD gives the file in a directory: the last part of the URL's path, else of the
    Content-Disposition header, else "__unnamed__". Always a plain name.
    """
    offered = unquote(urlsplit(url).path)
    name = posixpath.basename(offered.rstrip("/"))
    if not _is_name(name) and disposition:
        from email.message import Message  # builds without URLs do not wait for it

        message = Message()
        message["Content-Disposition"] = disposition
        name = posixpath.basename((message.get_filename() or "").replace("\\", "/"))
    return name if _is_name(name) else UNNAMED


def check_checksum(checksum: str) -> str:
    """Raises InvalidArgument unless it is "" or sha256:<64 hex digits>."""
    if checksum and not re.fullmatch("sha256:[0-9a-f]{64}", checksum):
        raise InvalidArgument(f"invalid checksum {checksum!r}", "write it as sha256:<64 hex digits>")
    return checksum


def fetch(
    url: str,
    *,
    scratch: str,
    checksum: str = "",
    known: Mapping[str, Any] | None = None,
    secret: Lookup | None = None,
    limit: int = 0,
    told: Told | None = None,
) -> Fetched:
    """Get `url` into a new file in the directory `scratch`.

    known: the `memory` of an earlier fetch; an answer that nothing has changed gives a result without a path
    secret: HTTP_AUTH_HEADER_<host> and HTTP_AUTH_TOKEN_<host> are looked up, as in BuildKit
    limit: bytes that it may have; 0: what the disk has room for

    Raises InvalidArgument for a URL or checksum that is none, NotFound for 404 and 410, CorruptData when the
    checksum differs, Unavailable when the server cannot be reached or answers otherwise, RegistryError for a
    redirect that is not followed.
    """
    check_checksum(checksum)
    asked = checked(url)
    known = _usable(known, checksum)
    if known is not None and checksum:
        return _unchanged(known)
    import httpx

    from pyd.registry.settings import Settings
    from pyd.registry.transport import Transport, is_temporary

    transport = Transport(Settings())  # insecure-registries says nothing about other servers
    target = httpx.URL(without_user(asked))
    try:
        for attempt in range(_ATTEMPTS):
            last = attempt + 1 == _ATTEMPTS
            try:
                with transport.follow(target, _conditions(known), _authorization(asked, secret)) as response:
                    _check_peer(target, response)
                    if response.status_code in _RETRIED and not last:
                        transport.pause(attempt, response)
                        continue
                    if known is not None and _says_unchanged(response, known):
                        return _unchanged(known)
                    if response.status_code == 304 and not last:
                        known = None  # not for what we have: ask for the whole
                        continue
                    return _save(transport, response, asked, scratch, checksum, limit, told)
            except httpx.TransportError as error:
                if last or not is_temporary(error):
                    raise transport.unreachable(target, error) from error
                transport.pause(attempt)
    finally:
        transport.close()
    raise AssertionError("unreachable")


def _save(
    transport: Transport,
    response: httpx.Response,
    url: str,
    scratch: str,
    checksum: str,
    limit: int,
    told: Told | None,
) -> Fetched:
    status = response.status_code
    if status in (404, 410):
        raise NotFound(f"failed to load {redacted(url)}: invalid response status {status}")
    if not 200 <= status < 300:
        hint = None
        if status in (401, 403):
            hint = f"give credentials with --secret id=HTTP_AUTH_TOKEN_{host_of(url)},src=FILE"
        raise Unavailable(f"failed to load {redacted(url)}: invalid response status {status}", hint)
    length = response.headers.get("Content-Length", "")
    total = int(length) if length.isascii() and length.isdigit() and len(length) < 19 else 0
    room = Room(scratch, redacted(url), limit)
    room.need(total)
    path = f"{scratch}/{os.urandom(8).hex()}"
    digest, size = hashlib.sha256(), 0
    try:
        with open(path, "xb") as file:
            for chunk in transport.chunks(response):
                room.take(len(chunk))
                digest.update(chunk)
                file.write(chunk)
                size += len(chunk)
                if told is not None:
                    told(redacted(url), size, total)
        found = f"sha256:{digest.hexdigest()}"
        if checksum and found != checksum:
            raise CorruptData(f"digest mismatch for {redacted(url)}: {found} (expected: {checksum})")
    except BaseException as error:
        _discard(path)
        if isinstance(error, OSError):
            raise from_os_error(error, f"writing {path}") from error
        raise
    modified = response.headers.get("Last-Modified", "")[:100]
    return Fetched(
        path=path,
        digest=found,
        filename=file_name(url, response.headers.get("Content-Disposition", "")),
        size=size,
        last_modified=modified if _seconds(modified) is not None else "",
        etag=_etag(response),
        dated=_is_dated(modified, response.headers.get("Date", "")),
    )


def _discard(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


def _authorization(url: str, secret: Lookup | None) -> str | None:
    """Of the URL itself, else of a secret for its host."""
    own = basic_auth(url)
    if own or secret is None:
        return own or None
    host = host_of(url)
    header = secret(f"HTTP_AUTH_HEADER_{host}")
    token = secret(f"HTTP_AUTH_TOKEN_{host}") if header is None else None
    text = (header if header is not None else b"Bearer " + token if token is not None else b"").decode(
        "latin-1"
    )
    if text.strip() and not text.strip().isprintable():
        raise InvalidArgument(f"the secret HTTP_AUTH_… for {host} is no HTTP header", "it must be one line")
    return text.strip() or None


def _check_peer(source: httpx.URL, response: httpx.Response) -> None:
    from pyd.registry.origin import check_peer, origin
    from pyd.registry.proxy import proxy_for

    target = response.url
    stream = response.extensions.get("network_stream")
    if origin(target) == origin(source) or stream is None or proxy_for(target) is not None:
        return
    address = stream.get_extra_info("server_addr")
    if address:
        check_peer(source, target, str(address[0]))


def _usable(known: Mapping[str, Any] | None, checksum: str) -> Mapping[str, Any] | None:
    """What was kept may be damaged, or of another version of pyd."""
    if not isinstance(known, Mapping) or set(known) != set(Fetched._fields) - {"path"}:
        return None
    texts = ("digest", "filename", "last_modified", "etag")
    if not all(isinstance(known[name], str) for name in texts) or not isinstance(known["size"], int):
        return None
    if not re.fullmatch("sha256:[0-9a-f]{64}", known["digest"]) or not _is_name(known["filename"]):
        return None
    return known if not checksum or known["digest"] == checksum else None


def _conditions(known: Mapping[str, Any] | None) -> dict[str, str]:
    if known is None:
        return {}
    if known["etag"]:
        return {"If-None-Match": f"{known['etag']}, W/{known['etag']}"}
    if known["last_modified"] and known["dated"] is True:
        return {"If-Modified-Since": known["last_modified"]}
    return {}


def _says_unchanged(response: httpx.Response, known: Mapping[str, Any]) -> bool:
    if response.status_code == 304:
        # some servers leave the tag out, there was only one (buildkit#905)
        return bool(_conditions(known)) and _etag(response) in ("", known["etag"])
    # and some ignore the condition
    return response.status_code == 200 and bool(known["etag"]) and _etag(response) == known["etag"]


def _unchanged(known: Mapping[str, Any]) -> Fetched:
    return Fetched(path="", **known)


def _etag(response: httpx.Response) -> str:
    text: str = response.headers.get("ETag", "").strip().removeprefix("W/")
    # what is not of the form of RFC 9110 is not sent back
    return text if re.fullmatch(r'"[\x21\x23-\x7e]{0,500}"', text) else ""


def _is_dated(modified: str, date: str) -> bool:
    then, now = _seconds(modified), _seconds(date)
    return then is not None and now is not None and now - then >= _STRONG


def _seconds(text: str) -> int | None:
    from email.utils import parsedate_to_datetime

    try:
        return int(parsedate_to_datetime(text).timestamp())
    except (ValueError, TypeError, OverflowError):
        return None


def _is_name(name: str) -> bool:
    return (
        name not in ("", ".", "..")
        and "/" not in name
        and "\0" not in name
        and len(name.encode("utf-8", "surrogateescape")) <= _MAX_NAME
    )
