"""save: an image that was pulled becomes an archive in a file. Docker and Podman write layers plain, pyd
writes them as they came.
"""

from __future__ import annotations

from benches.bench import Bench, Cases, Metrics, directory
from benches.engines import Engine
from benches.images import served, title


def measure(bench: Bench) -> Cases:
    rounds = bench.settings.rounds_or(3, 1)
    scale = 0.02 if bench.settings.quick else bench.settings.scale
    results: Cases = {}
    with bench.ready(bench.names("save")) as engines:
        if not engines:
            return {}
        archive = directory(bench.place, "archives") / "saved.tar"
        with served(scale, bench.place.work) as references:
            for case, reference in references.items():
                for engine in engines:
                    engine.pull(reference)

                def save(engine: Engine) -> Metrics:
                    timing = engine.save(reference, archive)  # noqa: B023 used before the next image's turn
                    archive.unlink()
                    return {"seconds": timing.seconds, "cpu": timing.cpu}

                name = title(case, scale)
                results[name] = bench.interleave(name, engines, save, rounds, warm_up=1)
                for engine in engines:
                    engine.remove_image(reference)
    return results
