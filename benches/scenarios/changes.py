"""changes: `diff` and `commit` of a stopped container that has written 20,000 files."""

from __future__ import annotations

from benches.bench import Bench, Cases, Metrics
from benches.engines import Engine

FILES = 20_000


def measure(bench: Bench) -> Cases:
    rounds = bench.settings.rounds_or(5, 1)
    files = 500 if bench.settings.quick else FILES
    with bench.ready(bench.names("changes")) as engines:
        written = {engine.name: engine.writer(files) for engine in engines}

        def diff(engine: Engine) -> Metrics:
            timing = engine.diff(written[engine.name])
            return {"seconds": timing.seconds, "cpu": timing.cpu}

        def commit(engine: Engine) -> Metrics:
            timing = engine.commit(written[engine.name], "bench-commit:latest")
            engine.remove_image("bench-commit:latest")
            return {"seconds": timing.seconds, "cpu": timing.cpu}

        cases = {
            f"{name}, {files} files": bench.interleave(
                f"{name}, {files} files", engines, act, rounds, warm_up=1
            )
            for name, act in (("diff", diff), ("commit", commit))
        }
        for engine in engines:
            engine.remove([written[engine.name]])
    return cases
