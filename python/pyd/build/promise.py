"""A state that one thread makes and others wait for. (`concurrent.futures` imports logging: 20 ms.)"""

from __future__ import annotations

import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyd.build.result import State


class Promise:
    """Kept once, with a state or an error."""

    __slots__ = ("_error", "_kept", "_state")

    def __init__(self) -> None:
        self._kept = threading.Event()
        self._state: State | None = None
        self._error: BaseException | None = None

    def keep(self, state: State) -> None:
        self._state = state
        self._kept.set()

    def fail(self, error: BaseException) -> None:
        self._error = error
        self._kept.set()

    def state(self) -> State:
        """Waits. Raises what `fail` was given."""
        self._kept.wait()
        if self._error is not None:
            raise self._error
        assert self._state is not None
        return self._state

    @property
    def error(self) -> BaseException | None:
        """What it failed with so far."""
        return self._error
