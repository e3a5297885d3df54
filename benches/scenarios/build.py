"""build: twelve steps, COPY of 20,000 files, three stages of a second each; everything anew, and unchanged.

Docker's client sends the whole context to its daemon, BuildKit's what has changed; buildah and pyd read it
where it is. A build that is measured as new has a context that no engine has seen: a copy in another
directory, with one file of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from benches.bench import Bench, Cases, Metrics, directory
from benches.engines import Engine

FILES = 20_000
REFERENCE = "bench-build:latest"

STEPS = """FROM busybox
LABEL org.opencontainers.image.title=bench
ENV APP=/srv/app LEVEL=info
WORKDIR /srv/app
COPY requirements.txt ./
RUN mkdir -p /srv/lib && cp requirements.txt /srv/lib/installed
RUN echo app:x:1000:1000::/srv/app:/bin/sh >>/etc/passwd
COPY src ./src
RUN find src -type f | xargs md5sum >MANIFEST
RUN chown -R 1000:1000 /srv/app
USER app
CMD ["cat", "MANIFEST"]
"""
COPY = """FROM busybox
COPY . /srv/
"""
STAGES = """FROM busybox AS one
RUN sleep 1; echo one >/out
FROM busybox AS two
RUN sleep 1; echo two >/out
FROM busybox AS three
RUN sleep 1; echo three >/out
FROM busybox
COPY --from=one /out /one
COPY --from=two /out /two
COPY --from=three /out /three
"""


def measure(bench: Bench) -> Cases:
    quick = bench.settings.quick
    files = 500 if quick else FILES
    with bench.ready(bench.names("build")) as engines:
        if not engines:
            return {}
        place = directory(bench.place, "contexts")
        few = _context(place / "few", STEPS, 20)
        many = _context(place / "many", COPY, files)
        stages = _context(place / "stages", STAGES, 0)
        plan: tuple[tuple[str, Callable[[Engine], Metrics], int], ...] = (
            ("12 steps, new", _new(few), 7),
            ("12 steps, unchanged", _unchanged(few), 11),
            (f"COPY of {files} files, new", _new(many), 3),
            (f"COPY of {files} files, unchanged", _unchanged(many), 5),
            ("3 stages of 1 s, new", _new(stages), 3),
        )
        results: Cases = {}
        for case, build, rounds in plan:
            count = bench.settings.rounds_or(rounds, 1)
            results[case] = bench.interleave(case, engines, build, count, warm_up=1)
    return results


def _context(path: Path, dockerfile: str, files: int) -> Path:
    """Small files, a hundred to a directory, as in a tree of modules."""
    path.mkdir()
    (path / "Dockerfile").write_text(dockerfile)
    (path / "requirements.txt").write_text("bench==1.0\n")
    for number in range(files):
        file = path / "src" / f"part{number // 100}" / f"module{number}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# module {number}\n" + "value = 'some text of a module'\n" * (number % 64))
    return path


def _new(original: Path) -> Callable[[Engine], Metrics]:
    numbers = iter(range(1_000_000))

    def build(engine: Engine) -> Metrics:
        number = next(numbers)
        context = original.with_name(f"{original.name}-{number}")
        shutil.copytree(original, context)
        (context / "requirements.txt").write_text(f"bench==1.{number}\n")
        timing = engine.build(context, REFERENCE, cache=False)
        engine.forget_build(REFERENCE)
        shutil.rmtree(context)
        return {"seconds": timing.seconds, "cpu": timing.cpu, "command_peak_mib": timing.peak_kib / 1024}

    return build


def _unchanged(context: Path) -> Callable[[Engine], Metrics]:
    """The round of the warm-up is the one that builds."""

    def build(engine: Engine) -> Metrics:
        timing = engine.build(context, REFERENCE)
        return {"seconds": timing.seconds, "cpu": timing.cpu, "command_peak_mib": timing.peak_kib / 1024}

    return build
