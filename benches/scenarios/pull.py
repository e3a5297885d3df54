"""pull: an image from a registry on loopback, every digest checked, unpacked.

The peak of memory is the command's own: of docker and ctr it is the client's, whose daemon does the work.

On a disk each pull goes into an empty state of its own, and nothing is removed before the end: ext4 without a
journal hands the inodes of deleted files out again after a minute at the earliest, and meanwhile each new
file passes over all of them. And what others have written is written out before, and leaves the memory: a
syncfs waits for all that is dirty, whoever it belongs to, and freeing full memory took pyd up to 2 seconds
of CPU.

The image of many small layers has five times the rounds: a pull of it is short, and what another engine's
daemon still does weighs more in it.
"""

from __future__ import annotations

import os

from benches.bench import Bench, Cases, Metrics
from benches.engines import Engine
from benches.images import served, title

SHORT = "40 layers"


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
                    if bench.place.on_disk:
                        engine.renew()
                        os.sync()
                    timing = engine.pull(reference)  # noqa: B023 used before the next image's turn
                    if bench.place.on_disk:
                        os.sync()
                        engine.forget()
                    else:
                        engine.remove_image(reference)  # noqa: B023
                    return {
                        "seconds": timing.seconds,
                        "cpu": timing.cpu,
                        "command_peak_mib": timing.peak_kib / 1024,
                    }

                name = title(case, scale)
                count = rounds * 5 if case == SHORT and not bench.settings.quick else rounds
                results[name] = bench.interleave(name, engines, pull, count, warm_up=1)
    return results
