"""split: the life of `true` as containerd and Podman drive a runtime, in three commands: create, start,
delete.

Between start and delete the container ends; that is waited for and not counted.
"""

from __future__ import annotations

from benches.bench import COLD_GAP, Bench, Cases
from benches.engines import Engine


def measure(bench: Bench) -> Cases:
    hot, cold = bench.settings.rounds_or(40, 3), bench.settings.rounds_or(20, 2)
    with bench.ready(bench.names("split")) as engines:
        return {
            "hot": bench.interleave("hot", engines, _split, hot),
            "cold": bench.interleave("cold", engines, _split, cold, gap=COLD_GAP, warm_up=1),
        }


def _split(engine: Engine) -> dict[str, float]:
    parts = {name: timing.seconds for name, timing in engine.split().items()}
    return {"seconds": sum(parts.values()), **parts}
