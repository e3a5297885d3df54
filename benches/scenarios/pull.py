"""pull: an image from a registry on loopback, every digest checked, unpacked.

The peak of memory is the command's own: of docker and ctr it is the client's, whose daemon does the work.
"""

from __future__ import annotations

from benches.bench import Bench, Cases, Metrics
from benches.engines import Engine
from benches.images import served, title


def measure(bench: Bench) -> Cases:
    rounds = bench.settings.rounds_or(3, 1)
    scale = 0.02 if bench.settings.quick else bench.settings.scale
    results: Cases = {}
    with bench.ready(bench.names("pull")) as engines:
        if not engines:
            return {}
        with served(scale, bench.place.work) as references:
            for case, reference in references.items():

                def pull(engine: Engine) -> Metrics:
                    timing = engine.pull(reference)  # noqa: B023 used before the next image's turn
                    engine.remove_image(reference)  # noqa: B023
                    return {
                        "seconds": timing.seconds,
                        "cpu": timing.cpu,
                        "command_peak_mib": timing.peak_kib / 1024,
                    }

                name = title(case, scale)
                results[name] = bench.interleave(name, engines, pull, rounds, warm_up=1)
    return results
