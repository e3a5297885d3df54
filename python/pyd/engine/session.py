"""A person at a container: stdio carried both ways, terminal in raw mode, signals and window size handed
on.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import ExitStack

from pyd.engine.options import Created, ExecOptions
from pyd.errors import InvalidArgument, PydError
from pyd.runtime import terminal
from pyd.runtime.attach import DETACH_KEYS, Pump, parse_detach_keys, to_descriptors
from pyd.runtime.connection import Connection, pair

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.engine.engine import Engine
    from pyd.runtime.task import Task

_DETACHED = b"read escape sequence\n"


class Session:
    """How the caller's stdio takes part. Descriptors are 0, 1, 2 or None."""

    def __init__(
        self,
        *,
        tty: bool,
        stdin: bool,
        stdout: bool = True,
        stderr: bool = True,
        proxy: bool = True,
        detach_keys: str = "",
        leave_at_eof: bool = False,
    ) -> None:
        self.leave_at_eof = leave_at_eof and stdin and _is_data(0)
        self.tty = tty
        self.stdin = 0 if stdin else None
        self.stdout = 1 if stdout else None
        self.stderr = 2 if stderr else None
        self.proxy = proxy
        try:
            keys = parse_detach_keys(detach_keys or DETACH_KEYS)
        except ValueError as error:
            raise InvalidArgument(f"invalid detach keys ({detach_keys}): {error}") from None
        # Only a person types keys: a file on stdin may hold these bytes
        self.keys = keys if tty and stdin and os.isatty(0) else b""

    def check_terminal(self) -> None:
        if self.tty and self.stdin is not None and not os.isatty(0):
            raise InvalidArgument(
                "the input device is not a TTY", "leave out -t when stdin is a pipe or a file"
            )

    def carry(
        self,
        connection: Connection,
        task: Callable[[], Task],
        *,
        exec_id: str | None = None,
        received: bytes = b"",
    ) -> tuple[dict[str, Any] | None, bool]:
        """Until it ends: (exit record, detached?)."""

        def proxy(number: int) -> None:
            self._quietly(task, "kill", signal=number, all=False)

        def resized(height: int, width: int) -> None:
            if height and width:
                self._quietly(task, "resize", height=height, width=width, exec_id=exec_id)

        with ExitStack() as stack:
            if self.tty and self.stdin is not None:
                stack.enter_context(terminal.raw(0))
            follow_size = self.tty and (os.isatty(1) or os.isatty(0))
            stack.enter_context(
                terminal.handlers(proxy if self.proxy else None, resized if follow_size else None)
            )
            if follow_size:
                resized(*terminal.size())
            pump = Pump(
                connection,
                to_descriptors(self.stdout, self.stderr),
                stdin=self.stdin,
                detach_keys=self.keys,
                received=received,
                leave_at_eof=self.leave_at_eof,
            )
            ended = pump.run()
        if pump.detached:
            os.write(2, _DETACHED)
        return ended, pump.detached or pump.left

    def _quietly(self, task: Callable[[], Task], op: str, **values: Any) -> None:
        try:
            task().call(op, **values)
        except PydError:
            pass  # it has ended: the pump is about to say so


def _is_data(fd: int) -> bool:
    """Whether it is a pipe, file or socket, which somebody has put there, and not /dev/null or a terminal."""
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def run(engine: Engine, created: Created, session: Session, remove: bool) -> int:
    """Start a created container with the caller attached: its exit code, 0 after detaching."""
    from pyd.engine import run as _run
    from pyd.engine import start

    ours, theirs = pair()
    with ours:
        try:
            console = terminal.size() if session.tty else (0, 0)
            record = start.start(engine, created.id, attach=theirs, console=console)
        except BaseException:
            _run.abandon(engine, created.id, remove)
            raise
        finally:
            theirs.close()
        # From here on it runs by itself. When we are interrupted or our stdout has no reader any more it goes
        # on without us, as under Docker, and a --rm container is swept when it ends
        ended, detached = session.carry(ours, lambda: engine.task(record))
    if detached:
        return 0
    return _run.collect(engine, created.id, ended)


def start_attached(engine: Engine, container_id: str, session: Session) -> int:
    """`start -a`: like run, for a container that existed before and is kept on errors."""
    from pyd.engine import run as _run
    from pyd.engine import start

    ours, theirs = pair()
    with ours:
        try:
            console = terminal.size() if session.tty else (0, 0)
            record = start.start(engine, container_id, attach=theirs, console=console)
        finally:
            theirs.close()
        ended, detached = session.carry(ours, lambda: engine.task(record))
    if detached:
        return 0
    return _run.collect(engine, record.id, ended)


def attach(engine: Engine, name: str, session: Session) -> int:
    """Join a running container: its exit code, or 0 after detaching."""
    from pyd.engine import run as _run

    record = engine.running(name, "attach to")
    stream = engine.task(record).open(
        "attach",
        stdin=session.stdin is not None,
        stdout=session.stdout is not None,
        stderr=session.stderr is not None,
    )
    with stream:
        ended, detached = session.carry(stream.socket, lambda: engine.task(record), received=stream.buffer)
    if detached:
        return 0
    return _run.collect(engine, record.id, ended)


def exec_attached(engine: Engine, name: str, options: ExecOptions, session: Session) -> int:
    """`exec`: the exit code of the process. Signals are not handed on, as in Docker: Ctrl-C ends only the
    client.
    """
    from pyd.engine import execs

    console = terminal.size() if options.tty else (0, 0)
    record, exec_id, stream = execs.open_exec(engine, name, options, console)
    with stream:
        ended, detached = session.carry(
            stream.socket, lambda: engine.task(record), exec_id=exec_id, received=stream.buffer
        )
    if detached:
        return 0
    if ended is None:
        return 137  # the container was stopped under it
    return int(ended["exit_code"])
