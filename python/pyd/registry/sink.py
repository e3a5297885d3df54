"""Where the bytes of a blob go: what `_native.LayerIngest` offers to those who fetch."""

from __future__ import annotations

from typing import Protocol


class Sink(Protocol):
    @property
    def starved(self) -> float:
        """Seconds that it had to wait for bytes so far."""

    @property
    def failed(self) -> bool:
        """Whether an error has ended it."""

    def claim(self, *, whole: bool = True) -> tuple[int, int] | None:
        """(start, end) of bytes that are missing and now the caller's to fetch; None: nothing is left."""

    def release(self, start: int, end: int) -> None:
        """Give up a claim; what did not come can be claimed again."""

    def write(self, data: bytes, offset: int | None = None, /) -> None:
        """Bytes that belong at `offset`."""

    def receive(self, socket: int, start: int, end: int, *, patience: float) -> tuple[int, str, int]:
        """Read bytes from a connection: (how many came, why no more did, errno)."""

    def ask(self, socket: int, request: bytes, *, patience: float) -> tuple[int, bool]:
        """Send a request for all of the blob and read its answer: (how many bytes came, whether the
        connection can be used again).
        """
