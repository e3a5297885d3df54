"""start, exec, density, pull, imports: each measures all engines in turn and returns case -> engine ->
numbers.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benches.engines import ENGINES, Engine, Unavailable
from benches.harness import COLD_GAP, engines, interleave, summary

Results = dict[str, dict[str, dict[str, float]]]


def start(arguments: argparse.Namespace) -> Results:
    """Life of `true`: created, run, waited for, removed."""
    with engines(arguments.engine, arguments.work) as ready:
        floor = _floor(arguments.floor)
        results: Results = {}
        for case, gap, rounds in (("hot", 0.0, arguments.rounds), ("cold", COLD_GAP, arguments.rounds // 2)):
            times = interleave(ready, lambda engine: float(engine.start()["seconds"]), rounds, gap=gap)
            results[case] = {name: summary(values) for name, values in times.items()}
            if floor:
                results[case]["floor"] = summary(floor(rounds, gap))
        return results


def _floor(path: str | None) -> Callable[[int, float], list[float]] | None:
    """A program that does the kernel's work of one start and nothing else, given with --floor."""
    if not path:
        return None

    def measure(rounds: int, gap: float) -> list[float]:
        times = []
        for _ in range(rounds + 2):
            time.sleep(gap)
            begin = time.perf_counter()
            subprocess.run([path], check=True, capture_output=True)
            times.append(time.perf_counter() - begin)
        return times[2:]

    return measure


def execute(arguments: argparse.Namespace) -> Results:
    """`true` in a container that is already running."""
    with engines([name for name in arguments.engine if name != "pyd-engine"], arguments.work) as ready:
        sleepers = {engine.name: engine.sleeper() for engine in ready}
        try:
            results: Results = {}
            for case, gap, rounds in (
                ("hot", 0.0, arguments.rounds),
                ("cold", COLD_GAP, arguments.rounds // 2),
            ):
                times = interleave(
                    ready,
                    lambda engine: float(engine.execute(sleepers[engine.name])["seconds"]),
                    rounds,
                    gap=gap,
                )
                results[case] = {name: summary(values) for name, values in times.items()}
        finally:
            for engine in ready:
                engine.stop([sleepers[engine.name]])
        return results


def parallel(arguments: argparse.Namespace) -> Results:
    """Containers per second, four at once: each lane has a runner of its own."""
    results: Results = {"four at once": {}}
    for name in arguments.engine:
        with ThreadPoolExecutor(4) as pool, engines([name], arguments.work) as ready:
            if not ready:
                continue
            engine = ready[0]
            lanes = [engine.lane(number) for number in range(1, 5)]
            begin = time.perf_counter()
            list(pool.map(lambda lane: [lane.start() for _ in range(arguments.rounds)], lanes))
            seconds = time.perf_counter() - begin
            for lane in lanes:
                lane.close_runner()
            results["four at once"][name] = {"per_second": 4 * arguments.rounds / seconds}
    return results


def density(arguments: argparse.Namespace) -> Results:
    """Many sleepers: time to start each, memory of the processes that watch over them, time to remove all."""
    results: Results = {f"{arguments.count} sleepers": {}}
    for name in arguments.engine:
        with engines([name], arguments.work) as ready:
            for engine in ready:
                before = _watchers()
                begin = time.perf_counter()
                names = [engine.sleeper() for _ in range(arguments.count)]
                each = (time.perf_counter() - begin) / arguments.count
                memory = sum(_watchers().values()) - sum(before.values())
                removed = float(engine.stop(names)["seconds"])
                results[f"{arguments.count} sleepers"][name] = {
                    "start_each": each,
                    "mib_each": memory / arguments.count / 1024,
                    "remove_all": removed,
                }
    return results


def _watchers() -> dict[str, int]:
    """PSS in KiB of the shims, monitors and daemons that are running, by pid."""
    found = {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            name = (directory / "comm").read_text().strip()
            if not name.startswith(("pyd-", "containerd", "conmon", "dockerd")):
                continue
            rollup = (directory / "smaps_rollup").read_text()
        except OSError:
            continue
        pss = [line.split()[1] for line in rollup.splitlines() if line.startswith("Pss:")]
        found[directory.name] = int(pss[0]) if pss else 0
    return found


def pull(arguments: argparse.Namespace) -> Results:
    """From a registry on loopback, verified and unpacked."""
    from benches.images import served_images

    names = [name for name in arguments.engine if name in {"pyd", "podman", "docker"}]
    results: Results = {}
    with engines(names, arguments.work) as ready, served_images(arguments.scale) as references:
        for case, reference in references.items():
            times: dict[str, list[dict[str, Any]]] = {}
            for number in range(arguments.rounds + 1):
                for engine in list(ready):
                    try:
                        answer = engine.pull(reference)
                        engine.remove_image(reference)
                    except Unavailable as error:
                        print(f"left out: {error}", file=sys.stderr)
                        ready.remove(engine)
                        continue
                    if number:
                        times.setdefault(engine.name, []).append(answer)
            results[case] = {
                name: summary([answer["seconds"] for answer in answers])
                | {"client_cpu": statistics.median(answer["cpu"] for answer in answers)}
                for name, answers in times.items()
            }
    return results


def imports(arguments: argparse.Namespace) -> Results:
    """What a command costs before it does anything: whole processes, in turn."""
    with engines(["pyd"], arguments.work) as ready:
        if not ready:
            return {}
        (engine,) = ready
        base = list(getattr(engine, "base"))  # noqa: B009 not part of Engine
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "import pyd": [sys.executable, "-c", "import pyd"],
            "pyd version": [*base, "version"],
            "pyd ps": [*base, "ps"],
            "pyd ps --format": [*base, "ps", "--format", "{{.ID}}"],
            "pyd --help": [*base, "--help"],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(arguments.rounds + 2):
            for name, argv in commands.items():
                seconds = float(engine.ask({"argv": argv})["seconds"])
                if number >= 2:
                    times[name].append(seconds)
        return {"whole command": {name: summary(values) for name, values in times.items()}}


SCENARIOS: dict[str, Callable[[argparse.Namespace], Results]] = {
    "start": start,
    "exec": execute,
    "parallel": parallel,
    "density": density,
    "pull": pull,
    "imports": imports,
}
ALL = list(ENGINES)

__all__ = ["ALL", "SCENARIOS", "Engine"]
