"""unpack: an image is loaded from a file of plain layer tars, as `docker save` writes it; no network, no
inflating.
"""

from __future__ import annotations

from benches.bench import Bench, Cases, Metrics, directory
from benches.engines import Engine
from benches.images import CASES, docker_archive, title
from benches.programs import Unavailable

TAG = {"ctr": "docker.io/library/bench:latest"}


def measure(bench: Bench) -> Cases:
    rounds = bench.settings.rounds_or(3, 1)
    scale = 0.02 if bench.settings.quick else bench.settings.scale
    results: Cases = {}
    with bench.ready(bench.names("load")) as engines:
        if not engines:
            return {}
        for case in CASES:
            archive = directory(bench.place, "archives") / "image.tar"
            try:
                docker_archive(case, scale, archive)
            except OSError as error:
                raise Unavailable(f"the image {case}: {error}") from None

            def load(engine: Engine) -> Metrics:
                timing = engine.load(archive)  # noqa: B023 used before the next image is made
                engine.remove_image(TAG.get(engine.name, "bench:latest"))
                return {"seconds": timing.seconds, "cpu": timing.cpu}

            name = title(case, scale)
            results[name] = bench.interleave(name, engines, load, rounds, warm_up=1)
            archive.unlink()
    return results
