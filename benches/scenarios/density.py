"""density: many sleepers. Time to start each, memory of each, time to remove all.

Memory of a container is what it costs beside its own process: the PSS of what the engine keeps running for
it (the daemon's growth too), and the kernel's objects (slab, kernel stacks, page tables, per-cpu), from the
difference of /proc/meminfo before and after. The kernel's share is the machine's: other work at the time
disturbs it.
"""

from __future__ import annotations

from benches.bench import Bench, Cases, Metrics, by_metric
from benches.engines import Engine
from benches.processes import settled
from benches.spawner import Failed

SETTLE = 10.0
"""Seconds at most, until the kernel has freed what the container before left."""


def measure(bench: Bench) -> Cases:
    count = bench.settings.count or (5 if bench.settings.quick else 100)
    rounds = bench.settings.rounds_or(1, 1)
    settle = 0.2 if bench.settings.quick else SETTLE
    case = f"{count} sleepers"
    found: dict[str, list[Metrics | None]] = {}
    for number in range(rounds):
        for name in bench.names("density"):
            # alone: a neighbour's daemon is not to be counted
            with bench.ready([name]) as engines:
                for engine in engines:
                    value = bench.attempt(
                        case, engine, number, lambda engine: _density(engine, count, settle)
                    )
                    found.setdefault(name, []).append(value)
    return {case: {name: by_metric(values) for name, values in found.items() if any(values)}}


def _density(engine: Engine, count: int, settle: float) -> Metrics:
    warm, _ = engine.sleeper()
    names: list[str] = []
    try:
        before = settled(settle)
        seconds = 0.0
        for _ in range(count):
            name, timing = engine.sleeper()
            names.append(name)
            seconds += timing.seconds
        after = settled(settle)
    except Failed:
        engine.remove([*names, warm])
        raise
    engine.remove([warm])
    monitor = (after.watchers - before.watchers) / count / 1024
    kernel = (after.kernel - before.kernel) / count / 1024
    return {
        "start_each": seconds / count,
        "monitor_mib": monitor,
        "kernel_mib": kernel,
        "memory_mib": monitor + kernel,
        "remove_all": engine.remove(names),
    }
