"""memory: what one container costs at its peak and while it runs.

peak: the largest process of the command that starts it (a daemon's work is not in a client's figure).
while it runs: PSS of what runs for one container that does nothing, with its log; a daemon counts whole,
since one container needs all of it. Pages of program files count as well, though many containers share
them (density divides them) and the kernel may drop them; "of its own" is without them.
"""

from __future__ import annotations

import time

from benches.bench import Bench, Cases, Metrics, by_metric
from benches.engines import Engine
from benches.processes import OWN, pss, watchers

SETTLE = 0.5


def measure(bench: Bench) -> Cases:
    rounds = bench.settings.rounds_or(3, 1)
    found: dict[str, list[Metrics | None]] = {}
    for name in bench.names("memory"):
        with bench.ready([name]) as engines:
            for engine in engines:
                values = [bench.attempt("memory", engine, number, _memory) for number in range(rounds)]
                found[name] = values
    return {"one container": {name: by_metric(values) for name, values in found.items() if any(values)}}


def _memory(engine: Engine) -> Metrics:
    peak = engine.start().peak_kib
    spawner = engine.main.pid
    name, _ = engine.sleeper()
    try:
        time.sleep(SETTLE)
        running = watchers([spawner])
        whole, own = pss(running), pss(running, OWN)
        execute = engine.execute(name).peak_kib
    finally:
        engine.remove([name])
    return {
        "running_mib": whole / 1024,
        "own_mib": own / 1024,
        "peak_mib": peak / 1024,
        "exec_peak_mib": execute / 1024,
    }
