"""A fake build: events as an engine tells them, at the times of a clock that tests set."""

from __future__ import annotations

from pyd.build.events import Step, Watcher


class Clock:
    """Seconds, which pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += seconds


def step(number: int, text: str, line: int = 0, stage: str = "build") -> Step:
    return Step(id=number, name=f"[{stage} {number}/9] {text}", stage=stage, instruction=text, line=line)


BASE = step(1, "FROM docker.io/library/alpine:3")
MAKE = step(2, "RUN make", line=2)
COPY = step(3, "COPY --from=tools /bin/x /bin/", line=3)
FAIL = step(4, "RUN false", line=4)
LINES = ("FROM alpine:3 AS build", "RUN make", "COPY --from=tools /bin/x /bin/", "RUN false", "CMD x")


def replay(watcher: Watcher, clock: Clock, *, error: Exception | None = None) -> None:
    """A build of one stage; with `error` its last step fails."""
    watcher.reads("Dockerfile", LINES)
    watcher.begins(BASE)
    watcher.cached(BASE)
    watcher.ends(BASE)
    watcher.begins(MAKE)
    watcher.explains(MAKE, "src/main.c changed")
    clock.passes(0.4125)
    watcher.writes(MAKE, 1, b"cc -c main.c\ncc -o m")
    watcher.writes(MAKE, 2, b"main.c:1: warning: x\n")
    watcher.writes(MAKE, 1, b"ain main.o\n")
    clock.passes(0.8)
    watcher.ends(MAKE)
    watcher.warns("JSONArgsRecommended: JSON arguments recommended for CMD", 5)
    watcher.begins(FAIL)
    clock.passes(0.1)
    watcher.writes(FAIL, 1, b"no end of line")
    watcher.ends(FAIL, error)
    watcher.finishes()
