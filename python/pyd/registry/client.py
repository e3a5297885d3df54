"""One registry: manifests and blobs (github.com/opencontainers/distribution-spec)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import httpx

from pyd.errors import (
    CorruptData,
    Forbidden,
    ImageNotFound,
    PydError,
    RegistryError,
    Unauthorized,
    Unavailable,
)
from pyd.oci.descriptor import INDEXES, MANIFESTS, Descriptor
from pyd.oci.digest import Digest
from pyd.oci.document import MAX_MANIFEST
from pyd.oci.reference import HUB, Reference
from pyd.record import Record
from pyd.registry import credentials
from pyd.registry.auth import Authorizer
from pyd.registry.origin import origin
from pyd.registry.patience import LEAST
from pyd.registry.served import Served
from pyd.registry.settings import is_loopback
from pyd.registry.transport import ATTEMPTS, Transport, is_temporary

if TYPE_CHECKING:
    from pyd.registry.sink import Sink

HUB_HOST = "registry-1.docker.io"
_MAX_ERROR = 64 * 1024
_ACCEPT = ", ".join((*MANIFESTS, *INDEXES))
_RETRIED = frozenset((408, 425, 429, 500, 502, 503, 504))
_TAGS_PAGE = 1000
MAX_TAGS = 10_000
# compiled when they are needed, which few pulls do
_TAG = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"  # distribution-spec, "Pulling manifests"
_NEXT = r"<[^<>?]*\?([!-;=?-~]{1,2000})>\s*;\s*rel=\"?next\"?"
_RANGE = r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)"


class Registry:
    """`host`: host[:port], or docker.io. `base`: its URL, when it is known (a mirror)."""

    def __init__(self, transport: Transport, host: str, base: str | None = None) -> None:
        self.host = host
        self._transport = transport
        self._base = httpx.URL(base) if base else self._locate()
        if not base:
            transport.send_with(self._base, credentials.meta_headers())
        self._authorizer = Authorizer(transport, self._base, partial(credentials.find, host))

    @property
    def transport(self) -> Transport:
        return self._transport

    @property
    def authorizer(self) -> Authorizer:
        return self._authorizer

    def url(self, path: str) -> httpx.URL:
        """`path` begins with /v2/ and is percent-encoded."""
        return self._url(path)

    def manifest(self, reference: Reference) -> Served:
        """The manifest or index behind a tag or digest; a digest is verified."""
        wanted = reference.digest or reference.tag
        scope = f"repository:{reference.path}:pull"
        url = self._url(f"/v2/{reference.path}/manifests/{wanted}")
        for attempt in range(ATTEMPTS):
            try:
                with self._transport_get(url, {"Accept": _ACCEPT}, scope) as response:
                    if response.status_code in _RETRIED and attempt + 1 < ATTEMPTS:
                        self._transport.pause(attempt, response)
                        continue
                    if response.status_code != 200:
                        self._refused(response, reference)
                    data = self._transport.body(response, MAX_MANIFEST)
                    return self._served(response, data, reference)
            except httpx.TransportError as error:
                if attempt + 1 == ATTEMPTS or not is_temporary(error):
                    raise self._transport.unreachable(url, error) from error
                self._transport.pause(attempt)
        raise AssertionError("unreachable")

    def tags(self, path: str) -> tuple[str, ...]:
        """All tags of a repository, in the registry's order (distribution-spec, "Listing Tags"), at most
        MAX_TAGS.
        """
        query, found = f"n={_TAGS_PAGE}", dict[str, None]()
        while True:
            url = self._url(f"/v2/{path}/tags/list").copy_with(query=query.encode("ascii"))
            tags, link = self._tags_page(url, path)
            known = len(found)
            found.update(dict.fromkeys(tags))
            if len(found) > MAX_TAGS:
                raise RegistryError(
                    f"{path} has more than {MAX_TAGS} tags", "pull those that you need by name"
                )
            # only the query of the next page is believed: host and path are ours. No new tag, no next page.
            following = re.search(_NEXT, link, re.ASCII)
            if not following or len(found) == known:
                return tuple(found)
            query = following[1]

    def _tags_page(self, url: httpx.URL, path: str) -> tuple[list[str], str]:
        """(tags, Link header)"""
        for attempt in range(ATTEMPTS):
            try:
                with self._transport_get(url, {}, f"repository:{path}:pull") as response:
                    if response.status_code in _RETRIED and attempt + 1 < ATTEMPTS:
                        self._transport.pause(attempt, response)
                        continue
                    if response.status_code != 200:
                        self._refused(response, Reference.parse(f"{self.host}/{path}"))
                    return _tags(self._transport.body(response, MAX_MANIFEST)), response.headers.get(
                        "Link", ""
                    )
            except httpx.TransportError as error:
                if attempt + 1 == ATTEMPTS or not is_temporary(error):
                    raise self._transport.unreachable(url, error) from error
                self._transport.pause(attempt)
        raise AssertionError("unreachable")

    def blob(self, path: str, blob: Descriptor, offset: int = 0) -> Iterator[bytes]:
        """The bytes from `offset` on, in chunks of up to 1 MiB. A cut transfer goes on where it was cut.

        Never more than `blob.size` bytes in all; whether they are the right ones is for the reader to check.
        """
        failures = 0
        while offset < blob.size:
            start = offset
            try:
                with self.part(path, blob, offset, blob.size) as part:
                    skip = part.skip
                    for chunk in self._transport.chunks(part.response):
                        fresh = chunk[skip:]
                        skip = max(0, skip - len(chunk))
                        if len(fresh) > blob.size - offset:
                            raise RegistryError(
                                f"{self.host} sends more than the {blob.size} bytes of blob {blob.digest}"
                            )
                        offset += len(fresh)
                        if fresh:
                            yield fresh
                if offset < blob.size:
                    raise httpx.RemoteProtocolError("the transfer ended early")
            except Retry as retry:
                failures += 1
                if failures >= ATTEMPTS:
                    raise self.gave_up(retry, blob) from None
                self._transport.pause(failures - 1, retry.response)
            except httpx.TransportError as error:
                # as long as bytes arrive the transfer gets on, however often it is cut
                failures = failures + 1 if offset - start < LEAST else 1
                if failures >= ATTEMPTS or not is_temporary(error):
                    raise self.unreachable(path, blob, error) from error
                self._transport.pause(failures - 1)

    def whole(self, path: str, blob: Descriptor, ingest: Sink) -> int:
        """Put a blob of which nothing is there into `ingest`: how many bytes came. `part` is for the rest."""
        url = self._url(f"/v2/{path}/blobs/{blob.digest}")
        authorization = self._authorizer.header(f"repository:{path}:pull", url)
        return self._transport.whole(url, authorization, ingest)

    @contextmanager
    def part(self, path: str, blob: Descriptor, start: int, end: int) -> Iterator[Part]:
        """An answer with the bytes `start` to `end` of a blob, checked but for the bytes themselves.

        Raises Retry and httpx.TransportError when trying again may help.
        """
        url = self._url(f"/v2/{path}/blobs/{blob.digest}")
        is_all = start == 0 and end == blob.size
        last = "" if end == blob.size else end - 1
        headers = {} if is_all else {"Range": f"bytes={start}-{last}"}
        with self._transport_get(url, headers, f"repository:{path}:pull") as response:
            status = response.status_code
            if status in _RETRIED:
                raise Retry(response)
            if status == 404:
                raise ImageNotFound(f"{self.host} does not have blob {blob.digest}")
            if status in (401, 403):
                raise Unauthorized(f"unauthorized: {self.host} refuses blob {blob.digest}")
            if status == 206 and not is_all:
                length = _ranged(response, start, end, blob)
                _check_length(response, length, blob)
                yield Part(response, 0, length)
            elif status == 200:
                # if a range was asked for it was ignored: what is here already comes again
                _check_length(response, blob.size, blob)
                yield Part(response, start, blob.size - start, is_whole=True)
            else:
                raise RegistryError(f"{self.host} answers with status {status} for blob {blob.digest}")

    def unreachable(self, path: str, blob: Descriptor, error: Exception) -> PydError:
        return self._transport.unreachable(self._url(f"/v2/{path}/blobs/{blob.digest}"), error)

    def gave_up(self, retry: Retry, blob: Descriptor) -> RegistryError:
        return RegistryError(f"{self.host} answers with status {retry.status} for blob {blob.digest}")

    def _transport_get(self, url: httpx.URL, headers: dict[str, str], scope: str) -> _Authorized:
        return _Authorized(self._transport, self._authorizer, url, headers, scope)

    def _served(self, response: httpx.Response, data: bytes, reference: Reference) -> Served:
        digest = Digest.of(data)
        if reference.digest and digest != reference.digest:
            raise RegistryError(
                f"{self.host} serves another manifest than {reference.digest}: its digest is {digest}"
            )
        stated = response.headers.get("Docker-Content-Digest", "")
        if stated.startswith("sha256:") and stated != digest:
            raise RegistryError(
                f"{self.host} says that the manifest's digest is {_clean(stated)}, but it is {digest}"
            )
        return Served(data, response.headers.get("Content-Type", ""), digest)

    def _refused(self, response: httpx.Response, reference: Reference) -> NoReturn:
        status = response.status_code
        code, message = self._diagnosis(response)
        name = reference.familiar_repository
        denied = f"pull access denied for {name}, repository does not exist or may require 'docker login'"
        if status == 404 and code != "NAME_UNKNOWN":
            raise ImageNotFound(
                f"manifest for {reference.familiar} not found: manifest unknown: manifest unknown"
            )
        if status == 404:
            raise ImageNotFound(denied)
        if status == 401:
            raise Unauthorized(f"{denied}: denied: {message or 'requested access to the resource is denied'}")
        if status == 403:
            raise Forbidden(f"{denied}: denied: {message or 'requested access to the resource is denied'}")
        if status == 429:
            raise Unavailable(
                f"toomanyrequests: {message or 'the registry allows no more requests now'}", "log in, or wait"
            )
        raise RegistryError(
            f"{self.host} answers with status {status} for {reference.familiar}: {message or code}"
        )

    def _diagnosis(self, response: httpx.Response) -> tuple[str, str]:
        """(code, message) of the registry's error document, "" for what it does not say."""
        try:
            first = json.loads(self._transport.body(response, _MAX_ERROR))["errors"][0]
            return _clean(str(first.get("code", ""))), _clean(str(first.get("message", "")))
        except (PydError, ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            return "", ""

    def _locate(self) -> httpx.URL:
        """https; where that need not be, whichever of https and http answers."""
        host = HUB_HOST if self.host == HUB else self.host
        try:
            secure, plain = httpx.URL(f"https://{host}"), httpx.URL(f"http://{host}")
        except httpx.InvalidURL:
            raise RegistryError(f"{host} is not a valid host name") from None
        if not self._transport.is_insecure(host):
            return secure
        # on loopback plain http is the rule, and a certificate would prove nothing
        first, second = (plain, secure) if is_loopback(host) else (secure, plain)
        try:
            with self._transport.follow(first.join("/v2/"), {}, None) as response:
                # to its end, and the connection is used again
                with suppress(httpx.TransportError, RegistryError):
                    self._transport.body(response, _MAX_ERROR)
                # a TLS server answers 400 to plain http; one that is busy (503) speaks it all the same
                return second if first is plain and response.status_code == 400 else first
        except httpx.TimeoutException:
            return first  # one that speaks TLS only does not keep silent
        except (httpx.TransportError, RegistryError):
            return second

    def _url(self, path: str) -> httpx.URL:
        return self._base.copy_with(raw_path=(self._base.path.rstrip("/") + path).encode("ascii"))


class Retry(Exception):
    """A status that may be another one later."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__()
        self.response = response
        self.status = response.status_code


class Part(Record):
    """An answer with bytes of a blob: `skip` of them before those that were asked for, then `length`."""

    response: httpx.Response
    skip: int
    length: int
    is_whole: bool = False  # it has the whole blob, whatever was asked for


class _Authorized:
    """A GET that answers one challenge. A context manager by hand: its body runs at most once."""

    def __init__(
        self,
        transport: Transport,
        authorizer: Authorizer,
        url: httpx.URL,
        headers: dict[str, str],
        scope: str,
    ) -> None:
        self._transport = transport
        self._authorizer = authorizer
        self._url = url
        self._headers = headers
        self._scope = scope

    def __enter__(self) -> httpx.Response:
        sent = self._authorizer.header(self._scope, self._url)
        self._request = self._transport.follow(self._url, self._headers, sent)
        response = self._request.__enter__()
        # a 401 of the storage behind a redirect is no challenge of the registry
        if response.status_code != 401 or origin(response.url) != origin(self._url):
            return response
        try:
            challenge = response.headers.get("WWW-Authenticate", "")
            answer = self._authorizer.answer(challenge, self._scope, sent) if challenge else None
        except BaseException:
            self._request.__exit__(None, None, None)
            raise
        if answer is None:
            return response
        self._request.__exit__(None, None, None)
        self._request = self._transport.follow(self._url, self._headers, answer)
        return self._request.__enter__()

    def __exit__(self, *error: object) -> None:
        # the error itself is not passed in: it would be raised twice
        self._request.__exit__(None, None, None)


def _ranged(response: httpx.Response, start: int, end: int, blob: Descriptor) -> int:
    """How many bytes from `start` on a 206 brings; it may be fewer than were asked for."""
    match = re.fullmatch(_RANGE, response.headers.get("Content-Range", "").strip())
    if (
        not match
        or int(match[1]) != start
        or not start <= int(match[2]) < end
        or (match[3] != "*" and int(match[3]) != blob.size)
    ):
        raise RegistryError(
            f"{response.url.host} answers with another part of blob {blob.digest} than was asked for"
        )
    return int(match[2]) + 1 - start


def _tags(data: bytes) -> list[str]:
    try:
        tags = json.loads(data)["tags"] or []
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RegistryError("the registry gives no list of tags") from None
    is_tag = re.compile(_TAG).fullmatch
    if not isinstance(tags, list) or not all(isinstance(tag, str) and is_tag(tag) for tag in tags):
        raise RegistryError("the registry gives invalid tags")
    return tags


def _check_length(response: httpx.Response, expected: int, blob: Descriptor) -> None:
    host, text = response.url.host, response.headers.get("Content-Length", "")
    if text.isascii() and text.isdigit() and int(text[:18]) != expected:
        raise CorruptData(
            f"blob {blob.digest}: {host} wants to send {text[:18]} bytes, the manifest says {blob.size}"
        )


def _clean(text: str) -> str:
    """Without what could steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:300]
