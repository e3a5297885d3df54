"""parallel: containers per second, one at a time and four at once.

The commands of a block are handed to four processes ahead, and all begin at the same instant; nothing of
this suite runs until the last has ended.
"""

from __future__ import annotations

import time

from benches.bench import Bench, Cases
from benches.engines import Engine
from benches.spawner import Failed, Lane

LANES = 4
BLOCK = 0.6
"""Seconds that a block of starts is meant to take."""
HEAD_START = 20_000_000
"""Nanoseconds in which all processes get their commands before the first begins."""


def measure(bench: Bench) -> Cases:
    rounds = bench.settings.rounds_or(5, 1)
    seconds = 0.2 if bench.settings.quick else BLOCK
    with bench.ready(bench.names("parallel")) as engines:
        lanes = {engine.name: [engine.main, *(engine.lane() for _ in range(LANES - 1))] for engine in engines}
        sizes: dict[tuple[str, int], int] = {}

        def throughput(engine: Engine) -> dict[str, float]:
            found = {}
            for metric, count in (("one", 1), ("four", LANES)):
                size = sizes.get((engine.name, count), 2)
                rate = _block(engine, lanes[engine.name][:count], size)
                sizes[engine.name, count] = max(2, round(rate * seconds / count))
                found[metric] = rate
            return found

        try:
            return {"per second": bench.interleave("per second", engines, throughput, rounds, warm_up=1)}
        finally:
            for engine in engines:
                for lane in lanes[engine.name][1:]:
                    lane.close()


def _block(engine: Engine, lanes: list[Lane], size: int) -> float:
    """Starts per second of `size` starts in each lane."""
    commands = [[engine.start_command() for _ in range(size)] for _ in lanes]
    begin = time.monotonic_ns() + HEAD_START
    failure: Failed | None = None
    ends = []
    try:
        for lane, words in zip(lanes, commands, strict=True):
            lane.send("until", str(begin))
            for command in words:
                lane.send("run", *command)
        for lane in lanes:
            lane.answer()
            for _ in range(size):
                try:
                    ends.append(lane.answer().end)
                except Failed as error:  # the answers of the others are still on their way
                    failure = error
    finally:
        engine.started()
    if failure:
        raise failure
    return len(lanes) * size / ((max(ends) - begin) / 1e9)
