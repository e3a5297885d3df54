"""One run of one scenario: which engines take part, in what order they are measured, what failed."""

from __future__ import annotations

import random
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benches.engines import ENGINES, Engine, Place
from benches.programs import Unavailable
from benches.spawner import Failed

COLD_GAP = 0.15
"""Seconds of rest before each cold measurement. In a hot loop the kernel's RCU grace periods are always
under way and cost little; after this pause they, and the caches, cost what they cost a user.
"""
WARM_UP = 2
"""Rounds that are not counted."""
MOST_FAILURES = 3
"""In a row, then an engine takes no further part in the case."""

OURS = ("pyd-runtime", "pyd", "engine")
"""That one of these is left out is a failure."""

Metrics = dict[str, float]
Cases = dict[str, dict[str, dict[str, list[float | None]]]]
"""case -> engine -> metric -> one value per round, None where the round failed."""


@dataclass(frozen=True)
class Settings:
    """`engines` as the user named them, or empty: all that the scenario knows."""

    engines: tuple[str, ...] = ()
    quick: bool = False
    rounds: int = 0
    count: int = 0
    scale: float = 1.0
    seed: int = 1

    def rounds_or(self, default: int, quick: int) -> int:
        return self.rounds or (quick if self.quick else default)


@dataclass
class Bench:
    settings: Settings
    place: Place
    left_out: dict[str, str] = field(default_factory=dict)
    failures: list[dict[str, str]] = field(default_factory=list)
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.settings.seed)

    def names(self, ability: str) -> list[str]:
        """The engines to measure: those that can. One that the user named and that cannot is left out by
        name.
        """
        for name in self.settings.engines:
            if ability not in ENGINES[name].can:
                self.leave_out(name, f"has no {ability}")
        wanted = self.settings.engines or tuple(ENGINES)
        return [name for name in ENGINES if name in wanted and ability in ENGINES[name].can]

    def leave_out(self, name: str, reason: str) -> None:
        if name not in self.left_out:
            print(f"left out: {name}: {reason}", file=sys.stderr, flush=True)
            self.left_out[name] = reason

    def _absent(self, name: str, reason: str) -> None:
        """A peer may be absent; that pyd itself is, is a failure."""
        self.leave_out(name, reason)
        if name in OURS:
            self.failures.append({"case": "preparation", "engine": name, "message": reason})

    @contextmanager
    def ready(self, names: Iterable[str]) -> Iterator[list[Engine]]:
        """The named engines with an empty state each; those that cannot take part are left out by name."""
        engines: list[Engine] = []
        try:
            for name in names:
                try:
                    engine = ENGINES[name](self.place)
                    engines.append(engine)
                    engine.probe()
                except (Unavailable, Failed, OSError) as error:
                    self._absent(name, str(error))
            yield [engine for engine in engines if engine.name not in self.left_out]
        finally:
            for engine in engines:
                engine.close()
            for name in ENGINES:
                for state in (self.place.work / name, *self.place.work.glob(f"{name}.*")):
                    shutil.rmtree(state, ignore_errors=True)

    def interleave(
        self,
        case: str,
        engines: Iterable[Engine],
        measure: Callable[[Engine], Metrics],
        rounds: int,
        *,
        gap: float = 0,
        warm_up: int = WARM_UP,
    ) -> dict[str, dict[str, list[float | None]]]:
        """Measures every engine once per round, in a new order each time. The first are not counted."""
        taking_part = list(engines)
        found: dict[str, list[Metrics | None]] = {engine.name: [] for engine in taking_part}
        in_a_row: dict[str, int] = {}
        for number in range(-warm_up, rounds):
            for engine in self._random.sample(taking_part, len(taking_part)):
                if gap:
                    time.sleep(gap)
                value = self.attempt(case, engine, number, measure)
                if number >= 0:
                    found[engine.name].append(value)
                in_a_row[engine.name] = 0 if value else in_a_row.get(engine.name, 0) + 1
                if in_a_row[engine.name] == MOST_FAILURES:
                    taking_part.remove(engine)
                    self.fail(case, engine.name, f"given up after {MOST_FAILURES} failures in a row")
        return {name: by_metric(values) for name, values in found.items() if any(values)}

    def attempt(
        self, case: str, engine: Engine, number: int, measure: Callable[[Engine], Metrics]
    ) -> Metrics | None:
        try:
            return measure(engine)
        except Failed as error:
            self.fail(case, engine.name, f"round {number}: {error}")
            return None

    def fail(self, case: str, engine: str, message: str) -> None:
        print(f"failed: {case}: {engine}: {message}", file=sys.stderr, flush=True)
        self.failures.append({"case": case, "engine": engine, "message": message})


def by_metric(values: list[Metrics | None]) -> dict[str, list[float | None]]:
    """Rounds of metrics -> metrics of rounds."""
    names = list(dict.fromkeys(name for value in values if value for name in value))
    return {name: [value.get(name) if value else None for value in values] for name in names}


def directory(place: Place, name: str) -> Path:
    path = place.work / name
    path.mkdir(exist_ok=True)
    return path
