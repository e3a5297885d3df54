"""One registry: manifests and blobs (github.com/opencontainers/distribution-spec)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

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
from pyd.registry import credentials
from pyd.registry.auth import Authorizer
from pyd.registry.origin import origin
from pyd.registry.settings import is_loopback
from pyd.registry.transport import ATTEMPTS, Transport, is_temporary

HUB_HOST = "registry-1.docker.io"
_MAX_ERROR = 64 * 1024
_ACCEPT = ", ".join((*MANIFESTS, *INDEXES))
_RETRIED = frozenset((408, 425, 429, 500, 502, 503, 504))
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Served:
    """A manifest or index as a registry served it; the digest is that of these bytes."""

    data: bytes
    media_type: str
    digest: Digest


class Registry:
    """`host`: host[:port], or docker.io. `base`: its URL, when it is known (a mirror)."""

    def __init__(self, transport: Transport, host: str, base: str | None = None) -> None:
        self.host = host
        self._transport = transport
        self._base = httpx.URL(base) if base else self._locate()
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

    def blob(self, path: str, blob: Descriptor, offset: int = 0) -> Iterator[bytes]:
        """The bytes from `offset` on, in chunks of up to 1 MiB. A cut transfer goes on where it was cut.

        Never more than `blob.size` bytes in all; whether they are the right ones is for the reader to check.
        """
        url = self._url(f"/v2/{path}/blobs/{blob.digest}")
        failures = 0
        while offset < blob.size:
            start = offset
            try:
                for chunk in self._part(url, path, blob, offset):
                    offset += len(chunk)
                    yield chunk
                if offset < blob.size:
                    raise httpx.RemoteProtocolError("the transfer ended early")
            except _Retry as retry:
                failures += 1
                if failures >= ATTEMPTS:
                    raise RegistryError(
                        f"{self.host} answers with status {retry.status} for blob {blob.digest}"
                    ) from None
                self._transport.pause(failures - 1, retry.response)
            except httpx.TransportError as error:
                # as long as bytes arrive the transfer gets on, however often it is cut
                failures = failures + 1 if offset == start else 1
                if failures >= ATTEMPTS or not is_temporary(error):
                    raise self._transport.unreachable(url, error) from error
                self._transport.pause(failures - 1)

    def _part(self, url: httpx.URL, path: str, blob: Descriptor, offset: int) -> Iterator[bytes]:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        with self._transport_get(url, headers, f"repository:{path}:pull") as response:
            status = response.status_code
            if status in _RETRIED:
                raise _Retry(response)
            if status == 404:
                raise ImageNotFound(f"{self.host} does not have blob {blob.digest}")
            if status in (401, 403):
                raise Unauthorized(f"unauthorized: {self.host} refuses blob {blob.digest}")
            if status not in (200, 206):
                raise RegistryError(f"{self.host} answers with status {status} for blob {blob.digest}")
            skip = offset if status == 200 else 0  # it ignored the range: read what is here already again
            if status == 206:
                _check_range(response, offset, blob)
            _check_length(response, blob.size - offset + skip, blob)
            left = blob.size - offset
            for chunk in self._transport.chunks(response):
                fresh = chunk[skip:] if skip else chunk
                skip = max(0, skip - len(chunk))
                if len(fresh) > left:
                    raise RegistryError(
                        f"{self.host} sends more than the {blob.size} bytes of blob {blob.digest}"
                    )
                left -= len(fresh)
                if fresh:
                    yield fresh

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
                # a TLS server answers 400 to plain http
                return first if response.status_code in (200, 401) or first is secure else second
        except (httpx.TransportError, RegistryError):
            return second

    def _url(self, path: str) -> httpx.URL:
        return self._base.copy_with(raw_path=(self._base.path.rstrip("/") + path).encode("ascii"))


class _Retry(Exception):
    def __init__(self, response: httpx.Response) -> None:
        super().__init__()
        self.response = response
        self.status = response.status_code


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


def _check_range(response: httpx.Response, offset: int, blob: Descriptor) -> None:
    match = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if not match or int(match[1]) != offset or (match[3] != "*" and int(match[3]) != blob.size):
        raise RegistryError(
            f"{response.url.host} answers with another part of blob {blob.digest} than was asked for"
        )


def _check_length(response: httpx.Response, expected: int, blob: Descriptor) -> None:
    host, text = response.url.host, response.headers.get("Content-Length", "")
    if text.isascii() and text.isdigit() and int(text[:18]) != expected:
        raise CorruptData(
            f"blob {blob.digest}: {host} wants to send {text[:18]} bytes, the manifest says {blob.size}"
        )


def _clean(text: str) -> str:
    """Without what could steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:300]
