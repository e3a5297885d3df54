"""The handle on one running container: spawning its shim, and talking to it over its control socket.

A task is alive as long as its shim holds the lock on shim.lock: unlike a pid, a lock cannot be taken over
by a stranger. Protocol: one JSON line each way per connection; attach and exec go on with frames (a header
of 8 bytes: stream, three zero bytes, length big-endian); `wait` and `exec_wait` answer at the end only.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import time
from collections.abc import Mapping

from pyd import errors
from pyd.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.runtime.connection import Connection

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 30.0  # a monitor answers within milliseconds, unless it is stopped or stuck
_AT_THE_END = ("wait", "exec_wait")  # these answer when the container or process has ended
_LINE_LIMIT = 4 << 20
_BUSY_TRIES = 100  # of an executable that is busy, a millisecond apart


class Started(Record):
    """The shim's report: host pids and the time of the start."""

    pid: int
    shim_pid: int
    started_at: str
    warnings: tuple[str, ...] = ()  # what the container was asked to have and runs without


def spawn(runtime: str, bundle: str, attach: Connection | None = None) -> tuple[Started, int]:
    """Start the shim on `bundle` and wait for its report: (report, pid of our child).

    `attach`: a connected socket that becomes the first attached client, so that no output is lost.
    posix_spawn because a fork of this interpreter costs milliseconds and is unsafe with threads.
    """
    read_end, write_end = os.pipe()
    try:
        arguments = ["pyd-runtime", "shim", "--bundle", bundle, "--report-fd", "3"]
        # Descriptors that posix_spawn copies onto 3 and 4 must not be these numbers themselves
        report = fcntl.fcntl(write_end, fcntl.F_DUPFD_CLOEXEC, 10)
        os.close(write_end)
        write_end = report
        actions: list[Any] = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0),
            (os.POSIX_SPAWN_DUP2, 0, 1),
            (os.POSIX_SPAWN_DUP2, 0, 2),
            (os.POSIX_SPAWN_DUP2, write_end, 3),
        ]
        stream = -1
        if attach is not None:
            stream = fcntl.fcntl(attach.fileno(), fcntl.F_DUPFD_CLOEXEC, 10)
            actions.append((os.POSIX_SPAWN_DUP2, stream, 4))
            arguments += ["--attach-fd", "4"]
        try:
            child = _execute(runtime, arguments, actions)
        except OSError as error:
            raise errors.KernelError(
                f"{runtime}: {os.strerror(error.errno or 0).lower()}",
                "reinstall pyd, or set PYD_RUNTIME to the path of pyd-runtime",
                op="posix_spawn",
                path=runtime,
                errno=error.errno or 0,
            ) from error
        finally:
            if stream >= 0:
                os.close(stream)
        os.close(write_end)
        write_end = -1
        try:
            return _report(read_end, child), child
        except errors.PydError:
            raise
        except BaseException:
            # Ctrl-C while it starts: a shim that nobody waits for must not go on
            os.kill(child, signal.SIGKILL)
            reap(child)
            raise
    finally:
        os.close(read_end)
        if write_end >= 0:
            os.close(write_end)


def _execute(runtime: str, arguments: list[str], actions: list[Any]) -> int:
    """posix_spawn with an empty environment: pid of the child."""
    left = _BUSY_TRIES
    while True:
        try:
            return os.posix_spawn(
                runtime,
                arguments,
                {},
                file_actions=actions,
                setsid=True,
                setsigmask=(),
                # Python ignores these two; an ignored signal survives execve into the container
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
            )
        except OSError as error:
            left -= 1
            # For a moment, when a container has just tried to write to it (rust/runtime/src/seal.rs)
            if error.errno != errno.ETXTBSY or not left:
                raise
            time.sleep(0.001)


def _report(fd: int, child: int) -> Started:
    data = b""
    while not data.endswith(b"\n"):
        chunk = os.read(fd, 65536)
        if not chunk:
            break
        data += chunk
    try:
        report = json.loads(data)
    except ValueError:
        reap(child)
        raise errors.StartError(
            "the container's monitor (pyd-runtime shim) ended before the container was started",
            "run `pyd doctor` to see what this host lacks",
            stage="shim",
        ) from None
    if "error" in report:
        reap(child)
        raise start_error(report["error"])
    return Started(
        report["pid"], report["shim_pid"], report["started_at"], tuple(report.get("warnings") or ())
    )


def reap(child: int, *, wait: bool = True) -> bool:
    """Collect the exit of our own child; True when it is gone."""
    try:
        return os.waitpid(child, 0 if wait else os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


def start_error(error: Mapping[str, Any]) -> errors.PydError:
    """The exception for an error object of the shim."""
    status = error.get("status")
    message, hint = (
        str(error.get("message") or "the container's monitor reported an error"),
        error.get("hint"),
    )
    if error.get("exit_code") in (126, 127):
        status = None  # the command itself is the cause, whatever else it may be called
    if status == 409:
        return errors.Conflict(message, hint)
    if status == 404:
        return errors.ExecNotFound(message, hint)
    if status == 400:
        return errors.InvalidArgument(message, hint)
    return errors.StartError(
        message,
        hint,
        stage=error.get("stage") or "",
        op=error.get("op") or "",
        path=error.get("path") or "",
        errno=error.get("errno") or 0,
        exit_code=error.get("exit_code") or 125,
    )


def is_alive(bundle: str) -> bool:
    """Whether a shim holds the lock of this bundle."""
    try:
        fd = os.open(f"{bundle}/shim.lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN):
            return True
        raise
    finally:
        os.close(fd)
    return False


class Task:
    """The running task of a bundle directory. Nothing is kept open between calls."""

    __slots__ = ("bundle",)

    def __init__(self, bundle: str) -> None:
        self.bundle = bundle

    def call(self, op: str, **values: Any) -> dict[str, Any]:
        """Ask and return the answer. Raises Conflict when the task is gone, or the error that the shim
        names.
        """
        with self.open(op, **values) as stream:
            return stream.answer

    def open(self, op: str, **values: Any) -> Stream:
        """The same, and keep the connection for what follows the answer."""
        stream = self.ask(op, **values)
        try:
            if op in _AT_THE_END:
                stream.wait()
            elif stream.wait(_ANSWER_SECONDS) is None:
                raise _silent()
        except BaseException:
            stream.close()
            raise
        return stream

    def ask(self, op: str, **values: Any) -> Stream:
        """Ask without waiting for the answer: `wait` gets its own only when the container ends."""
        connection = self._connect()
        try:
            connection.sendall(json.dumps({"op": op, **values}).encode("utf-8", "surrogateescape") + b"\n")
        except OSError as error:
            connection.close()
            if isinstance(error, TimeoutError):
                raise _silent() from error
            raise errors.Conflict("the container has just stopped") from error
        return Stream(connection)

    def _connect(self) -> Connection:
        """Connect through /proc/self/fd: a socket's path may have 108 bytes only, a run-root may be
        longer.
        """
        from pyd.runtime.connection import Connection

        try:
            directory = os.open(self.bundle, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise errors.Conflict("the container is not running") from error
        connection = Connection()
        try:
            connection.settimeout(_CONNECT_SECONDS)
            connection.connect(f"/proc/self/fd/{directory}/shim.sock")
        except OSError as error:
            connection.close()
            if isinstance(error, TimeoutError):
                raise _silent() from error
            raise errors.Conflict("the container is not running") from error
        finally:
            os.close(directory)
        return connection


def _silent() -> errors.Unavailable:
    return errors.Unavailable(
        "the container's monitor (pyd-runtime shim) does not answer",
        "the host may be overloaded: try again. If it stays so, kill the monitor, which ends the container: "
        "it is the parent of the process that `pyd inspect -f '{{.State.Pid}}'` names",
    )


class Stream:
    """A connection after its answer: `buffer` is what was read beyond it."""

    __slots__ = ("answer", "buffer", "socket")

    def __init__(self, connection: Connection) -> None:
        self.socket = connection
        self.buffer = b""
        self.answer: dict[str, Any] = {}

    def wait(self, timeout: float | None = None) -> dict[str, Any] | None:
        """The answer; None if there is none within `timeout` seconds. Raises what `Task.call` does."""
        self.socket.settimeout(timeout)
        try:
            self.answer = self._read_line()
        except TimeoutError:
            return None
        except (OSError, EOFError, ValueError) as error:
            raise errors.Conflict("the container has just stopped") from error
        finally:
            self.socket.settimeout(None)
        if "error" in self.answer:
            raise start_error(self.answer["error"])
        return self.answer

    def _read_line(self) -> dict[str, Any]:
        data = b""
        while b"\n" not in data:
            chunk = self.socket.recv(65536)
            if not chunk:
                raise EOFError
            data += chunk
            if len(data) > _LINE_LIMIT:
                raise ValueError("line too long")
        line, _, self.buffer = data.partition(b"\n")
        value = json.loads(line)
        if not isinstance(value, dict):
            raise ValueError("not an object")
        return value

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
