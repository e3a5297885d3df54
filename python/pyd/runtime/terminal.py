"""The caller's own terminal while a container's is shown in it: raw mode, size, signals. Always given
back.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# All that a person or script sends to a process; the others are about the process itself
_PROXIED = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGCONT,
)


def size(fd: int = 1) -> tuple[int, int]:
    """(rows, columns) of the terminal; (0, 0) if `fd` is none."""
    try:
        found = os.get_terminal_size(fd)
    except OSError:
        return 0, 0
    return found.lines, found.columns


@contextmanager
def raw(fd: int) -> Iterator[None]:
    """The terminal in raw mode; a descriptor that is no terminal is left alone."""
    if not os.isatty(fd):
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd, termios.TCSANOW)
        yield
    finally:
        # TCSADRAIN would wait for ever on a terminal that is stopped with ctrl-s
        termios.tcsetattr(fd, termios.TCSANOW, before)


@contextmanager
def handlers(
    proxy: Callable[[int], None] | None = None, resized: Callable[[int, int], None] | None = None
) -> Iterator[None]:
    """Hand signals to `proxy` and changes of the terminal's size to `resized`, while inside. Main thread
    only.

    Python runs handlers between two bytecodes of the main thread and then continues the interrupted poll.
    """
    before: dict[int, object] = {}

    def on_signal(number: int, _: FrameType | None) -> None:
        if proxy is not None:
            proxy(number)

    def on_resize(_: int, __: FrameType | None) -> None:
        if resized is not None:
            resized(*size())

    try:
        if proxy is not None:
            for number in _PROXIED:
                before[number] = signal.signal(number, on_signal)
        if resized is not None:
            before[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, on_resize)
        yield
    finally:
        for caught, handler in before.items():
            signal.signal(caught, handler)  # type: ignore[arg-type]
