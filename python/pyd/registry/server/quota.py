"""How much may be kept: bytes of blobs, in all and per repository (a blob counts in each that shows it)."""

from __future__ import annotations

from pyd.registry.server.problem import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

TOTAL = "SELECT coalesce(sum(size), 0) FROM blobs"
OF_REPOSITORY = (
    "SELECT coalesce(sum(b.size), 0) FROM repository_blobs l JOIN blobs b USING (digest) "
    "WHERE l.repository = (SELECT id FROM repositories WHERE name = ?)"
)


class Quota:
    """Bytes; None for no limit. What is on its way in counts too, or many uploads at once would pass it."""

    def __init__(self, total: int | None = None, repository: int | None = None) -> None:
        self.total = total
        self.repository = repository
        self._coming: dict[str, int] = {}

    def __bool__(self) -> bool:
        return self.total is not None or self.repository is not None

    def room(self, name: str, one: Callable[..., Any]) -> int | None:
        """Bytes that `name` may still take, None for any number. `one` reads the first row of a statement."""
        rooms = []
        if self.total is not None:
            rooms.append(self.total - one(TOTAL)[0] - sum(self._coming.values()))
        if self.repository is not None:
            rooms.append(self.repository - one(OF_REPOSITORY, (name,))[0] - self._coming.get(name, 0))
        return min(rooms, default=None)

    def check(self, name: str, size: int, one: Callable[..., Any], *, is_new: bool = True) -> None:
        """Raises Problem if `size` bytes more are too many. `is_new`: no repository has them yet."""
        if self.total is not None and is_new and one(TOTAL)[0] + size > self.total:
            raise exceeded()
        if self.repository is not None and one(OF_REPOSITORY, (name,))[0] + size > self.repository:
            raise exceeded()

    def coming(self, name: str, size: int) -> None:
        """`size` bytes more (or fewer) are on their way into `name`."""
        left = self._coming.get(name, 0) + size
        if left > 0:
            self._coming[name] = left
        else:
            self._coming.pop(name, None)


def exceeded() -> Problem:
    return Problem(
        403, "DENIED", "quota exceeded: delete something, or ask the operator of the registry for more"
    )
