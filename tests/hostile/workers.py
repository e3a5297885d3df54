"""Many rounds of one campaign in processes of their own: a crash, a hang and a bloat each have a number.

A worker writes a line when it begins a round and one when it is done. One that says nothing for too long is
killed, one that dies is replaced; the seed that it was at is a failure, and the next one goes on after it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

HANG = 5.0  # seconds for one round of the code under test
SILENCE = 30.0  # seconds until a worker is taken for dead: the comparison with others takes time too


class Outcome(Protocol):
    @property
    def fate(self) -> str: ...
    @property
    def failure(self) -> str: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def seconds(self) -> float: ...


@dataclass(frozen=True)
class Campaign:
    """`open` makes what the rounds of one worker share; `close` ends it."""

    run: Callable[[int, Any], Outcome]
    open: Callable[[], Any] = lambda: None
    close: Callable[[Any], None] = lambda place: None
    memory: int = 300 << 20  # bytes that a worker may have resident at most


@dataclass
class Report:
    fates: Counter[str] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)
    longest: float = 0.0
    memory: int = 0  # bytes, the most that any worker had

    @property
    def rounds(self) -> int:
        return sum(self.fates.values())

    def __str__(self) -> str:
        fates = ", ".join(f"{count} {fate}" for fate, count in sorted(self.fates.items()))
        lines = [
            f"{self.rounds} rounds: {fates}; longest {self.longest:.2f} s; memory {self.memory >> 20} MB",
            *(f"  {count} x {name}" for name, count in self.classes.most_common()),
            f"{len(self.failures)} failures",
            *(f"  seed {seed}: {text}" for seed, text in self.failures[:50]),
        ]
        return "\n".join(lines)


def run_all(campaign: Campaign, seeds: Sequence[int], workers: int = 1) -> Report:
    """Every seed once."""
    report = Report()
    queues = [list(seeds[number::workers]) for number in range(workers)]
    alive = {worker.fd: worker for queue in queues if queue and (worker := _Worker.start(campaign, queue))}
    try:
        while alive:
            ready, _, _ = select.select(list(alive), [], [], SILENCE)
            for fd in ready or list(alive):
                worker = alive[fd]
                if (fd in ready and worker.hear(report)) or worker.is_done:
                    continue
                del alive[fd]
                rest = worker.bury(report, hangs=fd not in ready)
                if rest:
                    again = _Worker.start(campaign, rest)
                    alive[again.fd] = again
    finally:
        for worker in alive.values():
            worker.bury(report, hangs=True)
    return report


class _Worker:
    def __init__(self, pid: int, fd: int, queue: list[int], campaign: Campaign) -> None:
        self.pid, self.fd = pid, fd
        self.is_done = False
        self._queue, self._campaign = queue, campaign
        self._text = b""
        self._at: int | None = None

    @classmethod
    def start(cls, campaign: Campaign, queue: list[int]) -> _Worker:
        reader, writer = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            status = 1
            try:
                _work(campaign, queue, writer)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(writer)
        return cls(pid, reader, queue, campaign)

    def hear(self, report: Report) -> bool:
        """Take in what it says; False when it has ended."""
        data = os.read(self.fd, 1 << 16)
        self._text += data
        *lines, self._text = self._text.split(b"\n")
        for line in lines:
            document = json.loads(line)
            self._at = document["seed"]
            if "fate" not in document:
                continue
            self._queue.remove(self._at)
            report.fates[document["fate"]] += 1
            report.classes.update(document["classes"])
            report.longest = max(report.longest, document["seconds"])
            report.memory = max(report.memory, document["memory"])
            failure = document["failure"]
            if not failure and document["seconds"] > HANG:
                failure = f"took {document['seconds']:.1f} seconds"
            if not failure and document["memory"] > self._campaign.memory:
                failure = f"{document['memory'] >> 20} MB were resident"
            if failure:
                report.failures.append((self._at, failure))
            self._at = None
        return bool(data)

    def bury(self, report: Report, *, hangs: bool) -> list[int]:
        """What it has not done; the round that it was at is a failure."""
        if hangs:
            os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        code = os.waitstatus_to_exitcode(status)
        if self._at is not None:
            what = "hangs" if hangs else f"the process ended with {code}"
            report.fates["ended"] += 1
            report.failures.append((self._at, what))
            self._queue.remove(self._at)
        elif code != 0:
            report.failures.append((-1, f"a worker ended with {code} between two rounds"))
            return []
        return self._queue


def _work(campaign: Campaign, queue: list[int], writer: int) -> None:
    with os.fdopen(writer, "w", buffering=1) as out:
        place = campaign.open()
        try:
            for seed in list(queue):
                print(json.dumps({"seed": seed}), file=out)
                outcome = campaign.run(seed, place)
                print(
                    json.dumps(
                        {
                            "seed": seed,
                            "fate": outcome.fate,
                            "failure": outcome.failure[:500],
                            "classes": outcome.classes,
                            "seconds": outcome.seconds,
                            "memory": peak_memory(),
                        }
                    ),
                    file=out,
                )
        finally:
            campaign.close(place)


def peak_memory() -> int:
    """Bytes that this process has had resident at most."""
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return 0
