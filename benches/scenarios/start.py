"""start: life of `true`. A container is created, run to its end and removed; the whole command is timed.

Hot is one after the other, cold has a rest before each.
"""

from __future__ import annotations

from benches.bench import COLD_GAP, Bench, Cases
from benches.engines import Engine


def measure(bench: Bench) -> Cases:
    hot, cold = bench.settings.rounds_or(40, 3), bench.settings.rounds_or(20, 2)
    with bench.ready(bench.names("start")) as engines:
        return {
            "hot": bench.interleave("hot", engines, _start, hot),
            "cold": bench.interleave("cold", engines, _start, cold, gap=COLD_GAP, warm_up=1),
        }


def _start(engine: Engine) -> dict[str, float]:
    timing = engine.start()
    return {"seconds": timing.seconds, "cpu": timing.cpu}
