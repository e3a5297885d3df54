"""push: an image that was pulled to another registry on loopback, which is empty each time."""

from __future__ import annotations

from tests.support.registry import Registry

from benches.bench import Bench, Cases, Metrics
from benches.engines import Engine
from benches.images import served, title


def measure(bench: Bench) -> Cases:
    rounds = bench.settings.rounds_or(3, 1)
    scale = 0.02 if bench.settings.quick else bench.settings.scale
    results: Cases = {}
    with bench.ready(bench.names("push")) as engines:
        if not engines:
            return {}
        with served(scale, bench.place.work) as references:
            for case, reference in references.items():
                for engine in engines:
                    engine.pull(reference)

                def push(engine: Engine) -> Metrics:
                    # a registry that knows the layers would have them mounted instead
                    target = Registry(bench.place.work / "target")
                    try:
                        timing = engine.push(reference, f"{target.host}/pushed:1")  # noqa: B023
                    finally:
                        target.stop()
                    return {"seconds": timing.seconds, "cpu": timing.cpu}

                name = title(case, scale)
                results[name] = bench.interleave(name, engines, push, rounds, warm_up=1)
                for engine in engines:
                    engine.remove_image(reference)
    return results
