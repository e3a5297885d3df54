"""exec: `true` in a container that is already running, hot and cold."""

from __future__ import annotations

from benches.bench import COLD_GAP, Bench, Cases
from benches.engines import Engine
from benches.spawner import Failed


def measure(bench: Bench) -> Cases:
    hot, cold = bench.settings.rounds_or(40, 3), bench.settings.rounds_or(20, 2)
    with bench.ready(bench.names("exec")) as engines:
        sleepers: dict[str, str] = {}
        for engine in engines:
            try:
                sleepers[engine.name], _ = engine.sleeper()
            except Failed as error:
                bench.leave_out(engine.name, str(error))
        running = [engine for engine in engines if engine.name in sleepers]

        def execute(engine: Engine) -> dict[str, float]:
            timing = engine.execute(sleepers[engine.name])
            return {"seconds": timing.seconds, "cpu": timing.cpu}

        try:
            return {
                "hot": bench.interleave("hot", running, execute, hot),
                "cold": bench.interleave("cold", running, execute, cold, gap=COLD_GAP, warm_up=1),
            }
        finally:
            for engine in running:
                engine.remove([sleepers[engine.name]])
