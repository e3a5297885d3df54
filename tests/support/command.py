"""The pyd command, run as a user runs it."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def executable() -> list[str]:
    """The command beside this interpreter, or the module when pyd runs from a source tree."""
    script = Path(sys.executable).parent / "pyd"
    return [str(script)] if script.exists() else [sys.executable, "-m", "pyd.cli.main"]


@dataclass(frozen=True)
class Result:
    args: tuple[str, ...]
    code: int
    stdout: str
    stderr: str

    @property
    def out(self) -> str:
        return self.stdout.strip()

    @property
    def lines(self) -> list[str]:
        return self.stdout.splitlines()

    def json(self) -> Any:
        return json.loads(self.stdout)

    def __str__(self) -> str:
        return f"pyd {' '.join(self.args)} -> {self.code}\nstdout: {self.stdout}\nstderr: {self.stderr}"


def run_client(
    name: str,
    words: list[str],
    *,
    code: int | None = 0,
    input: str | None = None,
    timeout: float = 60,
    env: dict[str, str] | None = None,
    shown: Sequence[object] = (),
) -> Result:
    """Another engine's command (`words`), which the result calls `name` and `shown`. With `code=None` any
    status will do.
    """
    __tracebackhide__ = True
    done = subprocess.run(
        words,
        input=input,
        stdin=subprocess.DEVNULL if input is None else None,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        env=env,
        check=False,
    )
    result = Result((name, *(str(word) for word in shown)), done.returncode, done.stdout, done.stderr)
    assert code is None or result.code == code, result
    return result


class CommandFailed(AssertionError):
    pass


class Pyd:
    """`pyd("run", "--rm", "busybox", "true")` runs the command; `code=` is the exit status that the test
    expects.

    With `code=None` any status will do. `popen` gives the running process for those that must be killed or
    talked to.
    """

    def __init__(self) -> None:
        self.base = executable()
        self._started: list[subprocess.Popen[str]] = []
        self._terminals: list[Terminal] = []

    def __call__(
        self,
        *args: object,
        code: int | None = 0,
        input: str | None = None,
        timeout: float = 60,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Result:
        __tracebackhide__ = True
        words = tuple(str(arg) for arg in args)
        done = subprocess.run(
            [*self.base, *words],
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            timeout=timeout,
            env=os.environ | (env or {}),
            cwd=cwd,
            text=True,
            errors="replace",
            check=False,
        )
        result = Result(words, done.returncode, done.stdout, done.stderr)
        if code is not None and result.code != code:
            raise CommandFailed(f"expected exit status {code}: {result}")
        return result

    def popen(self, *args: object, **options: Any) -> subprocess.Popen[str]:
        options = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
        } | options
        process: subprocess.Popen[str] = subprocess.Popen(
            [*self.base, *(str(arg) for arg in args)], **options
        )
        self._started.append(process)
        return process

    def terminal(self, *args: object, rows: int = 24, columns: int = 80) -> Terminal:
        """The command on a pseudo terminal."""
        terminal = Terminal([*self.base, *(str(arg) for arg in args)], rows, columns)
        self._terminals.append(terminal)
        return terminal

    def close(self) -> None:
        """Ends what a test started and left, because it failed or because it did not care."""
        for terminal in self._terminals:
            terminal.end()
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def inspect(self, name: str) -> Any:
        return self("inspect", name).json()[0]

    def state(self, name: str) -> Any:
        return self.inspect(name)["State"]

    def pid(self, name: str) -> int:
        return int(self.state(name)["Pid"])


class Terminal:
    """A command on a pseudo terminal: what a person sees of `run -it` and `exec -it`."""

    def __init__(self, command: list[str], rows: int = 24, columns: int = 80) -> None:
        self.master, slave = pty.openpty()
        import fcntl
        import struct
        import termios

        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, close_fds=True
        )
        os.close(slave)
        self.seen = ""

    def write(self, text: str) -> None:
        os.write(self.master, text.encode())

    def expect(self, text: str, timeout: float = 15) -> str:
        """Reads until `text` was shown; returns all that was seen before and including it, and forgets it."""
        until = time.monotonic() + timeout
        while text not in self.seen:
            readable, _, _ = select.select([self.master], [], [], max(0.0, until - time.monotonic()))
            block = b""
            if readable:
                try:
                    block = os.read(self.master, 65536)
                except OSError:  # EIO: the other side is closed
                    block = b""
            if not block:
                raise AssertionError(f"{text!r} was not shown; seen: {self.seen!r}")
            self.seen += block.decode(errors="replace")
        before, _, self.seen = self.seen.partition(text)
        return before + text

    def close(self, timeout: float = 15) -> int:
        """Waits for the command and returns its status; a command that does not end is killed and fails the
        test.
        """
        try:
            code = self.process.wait(timeout)
        finally:
            self.end()
        return code

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.master >= 0:
            os.close(self.master)
            self.master = -1


def wait_until(condition: Callable[[], Any], timeout: float = 10, what: str = "") -> Any:
    """Calls `condition` until it gives something true, and returns that."""
    until = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError(f"not within {timeout} s: {what or condition}")
        time.sleep(0.02)


def find_program(*names: str) -> str | None:
    for name in names:
        path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if path:
            return path
    return None
