"""The upload of one blob (distribution spec, "Pushing a blob").

Small ones in one request (POST, PUT), others streamed (POST, PATCH, PUT) as Docker does it: several PATCHes,
which not every registry takes, only when the user asks for chunks, or when a proxy refuses the whole (413).
After a cut the registry is asked how far it came (GET on the upload), and the rest follows; a registry that
has forgotten the upload, or drops it as docker-registry 2 does, gets a new one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

import httpx

from pyd.errors import Cancelled, RegistryError
from pyd.oci.descriptor import Descriptor
from pyd.registry.transport import ATTEMPTS, is_temporary
from pyd.registry.writer import RETRIED, Answer, Body, Writer

Read = Callable[[int], Iterable[bytes]]
"""The bytes of a blob from an offset on, in chunks of about 1 MiB."""

_MONOLITHIC = 1 << 20  # bytes up to which one request has it all
_LEAST_CHUNK = 5 << 20  # what S3 behind a registry takes
_FIRST_CHUNK = 64 << 20  # after a first 413
_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,18})", re.ASCII)
_OCTETS = {"Content-Type": "application/octet-stream"}


class Sent:
    """How far a transfer is, for who watches: both may be read by another thread at any time."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0


class Upload:
    """`chunk`: bytes of each PATCH, 0 = all in one."""

    def __init__(self, writer: Writer, blob: Descriptor, read: Read, sent: Sent, chunk: int = 0) -> None:
        self._writer = writer
        self._transport = writer.registry.transport
        self._blob = blob
        self._read = read
        self._sent = sent
        self._chunk = chunk
        self._least = 0
        self._location: httpx.URL | None = None
        self._offset = 0  # what the registry has confirmed

    def run(self, location: httpx.URL | None = None) -> None:
        """`location`: an upload that the registry has begun already, when it could not mount."""
        self._location = location
        failures, reached = 0, 0
        while True:
            try:
                self._go_on()
                return
            except _Again as again:
                reason: Exception = again.error
                response = again.response
            except httpx.TransportError as error:
                if not is_temporary(error):
                    raise self._unreachable(error) from error
                reason, response = error, None
            # as long as bytes arrive the transfer gets on, however often it is cut
            failures = 1 if self._offset > reached else failures + 1
            reached = max(reached, self._offset)
            if failures >= ATTEMPTS:
                if isinstance(reason, httpx.TransportError):
                    raise self._unreachable(reason) from reason
                raise reason
            self._transport.pause(failures - 1, response)
            if self._location is not None and self._resume():
                return

    def _go_on(self) -> None:
        if self._location is None:
            self._begin()
        if self._blob.size <= _MONOLITHIC and not self._offset and not self._chunk:
            self._finish(self._part(0, self._blob.size))
            return
        while self._offset < self._blob.size:
            self._patch()
        self._finish(None)

    def _begin(self) -> None:
        answer = self._exchange("POST", self._writer.url("/blobs/uploads/"), {})
        if answer.status != 202:
            self._writer.refused(answer, f"to the upload of {self._blob.digest}")
        self._offset = self._sent.done = 0
        self._take_location(answer)
        least = answer.headers.get("OCI-Chunk-Min-Length", "")
        self._least = int(least) if least.isascii() and least.isdigit() and len(least) < 12 else 0

    def _patch(self) -> None:
        assert self._location is not None
        start = self._offset
        chunk = max(self._chunk, self._least) if self._chunk else self._blob.size
        end = min(start + chunk, self._blob.size)
        headers = dict(_OCTETS)
        if start or end < self._blob.size:
            headers["Content-Range"] = f"{start}-{end - 1}"
        answer = self._exchange("PATCH", self._location, headers, self._part(start, end))
        if answer.status == 413 and self._shrink(end - start):
            self._location = None  # what is left of it differs from proxy to proxy
            raise _Again(RegistryError("the registry takes no chunk that large"))
        if answer.status == 416:
            raise _Again(RegistryError(f"{self._writer.registry.host} wants another part of the upload"))
        self._check(answer, (202, 201, 204))
        self._take_location(answer)
        reached = _reached(answer)
        if reached is not None and not start < reached <= end:
            raise RegistryError(
                f"{self._writer.registry.host} says that it has {reached} bytes of blob {self._blob.digest}, "
                f"but {end} were sent"
            )
        self._offset = self._sent.done = end if reached is None else reached

    def _finish(self, body: Body | None) -> None:
        assert self._location is not None
        url = self._location.copy_merge_params({"digest": self._blob.digest})
        headers = dict(_OCTETS) if body else {"Content-Length": "0"}
        answer = self._exchange("PUT", url, headers, body)
        self._check(answer, (201, 204))
        stated = answer.headers.get("Docker-Content-Digest", "")
        if stated.startswith("sha256:") and stated != self._blob.digest:
            raise RegistryError(
                f"{self._writer.registry.host} has stored another blob than {self._blob.digest}"
            )
        self._sent.done = self._blob.size

    def _resume(self) -> bool:
        """Ask how far the upload is; one that is gone begins anew. True when the blob is there already: only
        the answer to the last request was lost.
        """
        assert self._location is not None
        try:
            answer = self._writer.exchange("GET", self._location)
            reached = _reached(answer)
            # "0-0" is said of nothing and of one byte, and that byte must not be sent twice
            usable = answer.status in (200, 202, 204) and reached != 1 and (reached or 0) <= self._blob.size
            if usable:
                self._take_location(answer)
                self._offset = self._sent.done = reached or 0
                return False
            self._location = None
            head = self._writer.exchange("HEAD", self._writer.url(f"/blobs/{self._blob.digest}"))
            return head.status == 200
        except httpx.TransportError:
            return False  # the next attempt at the upload itself will tell

    def _check(self, answer: Answer, good: tuple[int, ...]) -> None:
        if answer.status in good:
            return
        if answer.status == 404:
            self._location = None
            raise _Again(RegistryError(f"{self._writer.registry.host} has forgotten the upload"))
        self._writer.refused(answer, f"to the upload of {self._blob.digest}")

    def _exchange(
        self, method: str, url: httpx.URL, headers: dict[str, str], body: Body | None = None
    ) -> Answer:
        with self._writer.open(method, url, headers, body) as response:
            if response.status_code in RETRIED:
                status, host = response.status_code, self._writer.registry.host
                raise _Again(
                    RegistryError(
                        f"{host} answers with status {status} to the upload of {self._blob.digest}"
                    ),
                    response,
                )
            data = self._transport.body(response, 1 << 20)
            return Answer(response.status_code, response.headers, data, response.url)

    def _part(self, start: int, end: int) -> Body:
        return Body(end - start, lambda: self._bytes(start, end))

    def _bytes(self, start: int, end: int) -> Iterator[bytes]:
        position = start
        for chunk in self._read(start):
            if self._transport.is_stopped:
                raise Cancelled("cancelled")
            if not chunk:
                continue
            piece = chunk if position + len(chunk) <= end else chunk[: end - position]
            position += len(piece)
            yield piece
            self._sent.done = position
            if position == end:
                return
        if position < end:
            # httpx would call it a protocol error of the peer's
            raise RegistryError(f"blob {self._blob.digest} is shorter than the manifest says")

    def _take_location(self, answer: Answer) -> None:
        location = answer.location or self._location
        if location is None:
            raise RegistryError(f"{self._writer.registry.host} does not say where to upload to")
        self._location = location

    def _shrink(self, tried: int) -> bool:
        smaller = min(_FIRST_CHUNK, tried // 4)
        if smaller < max(_LEAST_CHUNK, self._least):
            return False
        self._chunk = smaller
        return True

    def _unreachable(self, error: Exception) -> Exception:
        return self._transport.unreachable(self._writer.url("/blobs/uploads/"), error)


class _Again(Exception):
    """Worth another try; `error` is what to say when there is none left."""

    def __init__(self, error: Exception, response: httpx.Response | None = None) -> None:
        super().__init__()
        self.error = error
        self.response = response


def _reached(answer: Answer) -> int | None:
    """Bytes that the registry has, by its Range header ("0-1023" are 1024); None when it does not say."""
    match = _RANGE.fullmatch(answer.headers.get("Range", "").strip())
    return int(match[1]) + 1 if match else None
