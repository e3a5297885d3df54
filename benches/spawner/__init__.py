"""Processes that start commands and time them: `Lane` talks to spawn.c, or to anything that speaks as it
does.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benches.programs import compiled

LONGEST_COMMAND = 300.0  # seconds; a peer that hangs is reported, and the run goes on


class Failed(Exception):
    """A command failed; the message is what it printed."""


@dataclass(frozen=True)
class Timing:
    """Of one command. `begin` and `end` are CLOCK_MONOTONIC in nanoseconds."""

    begin: int
    end: int
    cpu: float
    peak_kib: int

    @property
    def seconds(self) -> float:
        return (self.end - self.begin) / 1e9


class Lane:
    """One process that starts commands one after the other."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], output: Path) -> None:
        self._output = output
        self._buffer = b""
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, bufsize=0
        )
        # requests that do not fit would hold up those of the next lane
        fcntl.fcntl(self._process.stdin, fcntl.F_SETPIPE_SZ, 1 << 20)  # type: ignore[arg-type]

    @classmethod
    def spawner(cls, environment: dict[str, str], output: Path, view: Sequence[str] = ()) -> Lane:
        """spawn.c in a mount namespace of its own, changed as the words of `view` say."""
        program = compiled("spawn", ["spawner/spawn.c"])
        return cls([program, str(output), *view], environment, output)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, *words: str) -> None:
        """A request; several may be on the way before the first answer is read."""
        payload = b"".join(os.fsencode(word) + b"\0" for word in words)
        assert self._process.stdin
        self._process.stdin.write(struct.pack("=I", len(payload)) + payload)

    def answer(self) -> Timing:
        """Of the oldest request that has none yet. Failed with the command's output when it failed."""
        begin, end, cpu, peak, status = (int(word) for word in self._line().split())
        if status:
            raise Failed(f"{_meaning(status)}: {self._text()}")
        return Timing(begin, end, cpu / 1e6, peak)

    def run(self, command: Sequence[str]) -> Timing:
        self.send("run", *command)
        try:
            return self.answer()
        except Failed as error:
            raise Failed(f"{os.path.basename(command[0])}: {error}") from None

    def gone(self, pid: int) -> None:
        """Waits until a process that this one has adopted is gone."""
        self.send("gone", str(pid))
        self.answer()

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(timeout=LONGEST_COMMAND)
        self._process.stdout.close()

    def _line(self) -> bytes:
        assert self._process.stdout
        descriptor = self._process.stdout.fileno()
        until = time.monotonic() + LONGEST_COMMAND
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise Failed(f"no end after {LONGEST_COMMAND:.0f} s: {self._text()}")
            block = os.read(descriptor, 65536)
            if not block:
                raise Failed(f"the spawner ended ({self._process.wait()})")
            self._buffer += block
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _text(self) -> str:
        text = self._output.read_text(errors="replace") if self._output.exists() else ""
        return " ".join(text.split())[-400:]


def _meaning(status: int) -> str:
    if status < 0:
        return os.strerror(-status)
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return f"exit status {os.waitstatus_to_exitcode(status)}"
