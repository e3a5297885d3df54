"""One blob out of its registry into a `LayerIngest`: retried, resumed, over several connections.

A blob of `LARGE` bytes or more is asked for piece by piece as long as its pass waits for bytes more than it
works; then further connections fetch the pieces behind it. Where one connection keeps the pass busy (a
registry on this machine or in this room) the rest comes over that one, in one answer.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import httpx

from pyd.errors import Cancelled, PydError
from pyd.oci.descriptor import Descriptor
from pyd.registry.client import Part, Registry, Retry
from pyd.registry.patience import LEAST
from pyd.registry.transport import ATTEMPTS, is_temporary

if TYPE_CHECKING:
    from pyd.registry.sink import Sink

LARGE = 64 << 20
HELPERS = 3  # further connections for one blob
SPARE = 5  # and for all blobs of a pull
_SLOW = 0.5  # part of its time that the pass waits for bytes


class _Span:
    """Bytes `at` to `end` are still to come; `start` to `end` are ours to fetch."""

    __slots__ = ("at", "end", "start")

    def __init__(self, start: int, end: int) -> None:
        self.start = self.at = start
        self.end = end


class Download:
    """`spare`: how many more connections the pull may open."""

    def __init__(
        self,
        registry: Registry,
        path: str,
        blob: Descriptor,
        ingest: Sink,
        spare: threading.Semaphore,
    ) -> None:
        self._registry = registry
        self._path = path
        self._blob = blob
        self._ingest = ingest
        self._spare = spare
        self._helpers: list[threading.Thread] = []
        self._ended = threading.Event()

    def run(self) -> None:
        """Returns when everything that nobody else fetches has come."""
        try:
            self._work()
        except BaseException:
            self._ended.set()
            raise
        finally:
            for helper in self._helpers:
                helper.join()
        # what a helper had to leave
        self._work()

    def _work(self) -> None:
        whole = self._blob.size < LARGE
        while (span := self._claim(whole)) is not None:
            began, starved = time.monotonic(), self._ingest.starved
            self._fetch(span)
            if whole or self._helpers:
                continue
            waited = self._ingest.starved - starved
            if waited > _SLOW * (time.monotonic() - began):
                self._call_helpers()
            else:
                whole = True

    def _claim(self, whole: bool) -> _Span | None:
        claimed = self._ingest.claim(whole=whole)
        return _Span(*claimed) if claimed else None

    def _call_helpers(self) -> None:
        for _ in range(HELPERS):
            if not self._spare.acquire(blocking=False):
                return
            helper = threading.Thread(target=self._help, name="piece")
            self._helpers.append(helper)
            helper.start()

    def _help(self) -> None:
        try:
            while not self._ended.is_set() and (span := self._claim(False)) is not None:
                self._fetch(span)
        except PydError:
            pass  # the first connection meets it too, or gets on without us
        finally:
            self._spare.release()

    def _fetch(self, span: _Span) -> None:
        try:
            if span.end - span.at == self._blob.size:
                span.at = self._registry.whole(self._path, self._blob, self._ingest)
            self._insist(span)
        finally:
            self._ingest.release(span.start, span.end)

    def _insist(self, span: _Span) -> None:
        failures = 0
        while span.at < span.end:
            before = span.at
            try:
                with self._registry.part(self._path, self._blob, span.at, span.end) as part:
                    self._take(part, span)
                # one byte in each answer would be an answer for each byte
                if span.at < span.end and span.at - before < LEAST:
                    raise httpx.RemoteProtocolError("the transfer ended early")
                failures = 0
            except Retry as retry:
                failures += 1
                if failures >= ATTEMPTS:
                    raise self._registry.gave_up(retry, self._blob) from None
                self._registry.transport.pause(failures - 1, retry.response)
            except httpx.TransportError as error:
                # as long as bytes arrive the transfer gets on, however often it is cut
                moved = span.at - before >= LEAST
                failures = 1 if moved else failures + 1
                if failures >= ATTEMPTS or not is_temporary(error):
                    raise self._registry.unreachable(self._path, self._blob, error) from error
                if not moved or self._registry.transport.is_stopped:
                    self._registry.transport.pause(failures - 1)

    def _take(self, part: Part, span: _Span) -> None:
        if part.is_whole and span.end < self._blob.size:
            self._widen(span)
        transport, end = self._registry.transport, min(span.end, span.at + part.length)
        for at in transport.deliver(part.response, self._ingest, span.at, end, part.skip):
            span.at = at

    def _widen(self, span: _Span) -> None:
        """The registry knows no ranges and sends everything: take what nobody else fetches."""
        more = self._claim(True)
        while more is not None and more.at == span.end:
            span.end = more.end
            more = self._claim(True)
        if more is not None:
            self._ingest.release(more.start, more.end)


def fetch(
    registries: list[Registry],
    path: str,
    blob: Descriptor,
    ingest: Sink,
    spare: threading.Semaphore,
) -> None:
    """From the first of `registries` (mirrors, then the registry itself) that has it."""
    for registry in registries[:-1]:
        try:
            Download(registry, path, blob, ingest, spare).run()
        except Cancelled:
            raise
        except PydError:
            if ingest.failed:
                raise
            continue  # a mirror that fails is no reason to fail
        return
    Download(registries[-1], path, blob, ingest, spare).run()
