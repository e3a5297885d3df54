"""Interleaving, statistics, results. Times are in seconds."""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benches.engines import ENGINES, Engine, Unavailable

RESULTS = Path(__file__).parent / "results"
COLD_GAP = 0.15  # after this pause the kernel's RCU grace periods and the caches cost what they cost a user


def isolate() -> None:
    """Starts this command anew in its own network and mount namespace, so that no engine touches the
    host's.
    """
    if os.environ.get("PYD_BENCH_ISOLATED"):
        return
    os.environ["PYD_BENCH_ISOLATED"] = "1"
    script = 'ip link set lo up 2>/dev/null; mount -t tmpfs tmpfs /run; exec "$@"'
    words = ["unshare", "-n", "-m", "sh", "-c", script, "sh", sys.executable, "-m", "benches", *sys.argv[1:]]
    os.execvp(words[0], words)


@contextmanager
def engines(names: list[str], work: str | None) -> Iterator[list[Engine]]:
    """The named engines, ready; those that cannot take part are named on stderr and left out."""
    from tests.images.builder import busybox_tree

    directory = Path(tempfile.mkdtemp(prefix="pyd-bench-", dir=work))
    rootfs = directory / "rootfs"
    rootfs.mkdir()
    busybox_tree(rootfs)
    ready: list[Engine] = []
    try:
        for name in names:
            try:
                ready.append(ENGINES[name](directory, rootfs))
            except (Unavailable, ImportError, FileNotFoundError) as error:
                print(f"left out: {name}: {error}", file=sys.stderr)
        yield ready
    finally:
        for engine in ready:
            engine.close()
        shutil.rmtree(directory, ignore_errors=True)
        _remove_cgroups()


def _remove_cgroups() -> None:
    """The peers leave their (empty) parent cgroups behind."""
    for hierarchy in [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*/")]:
        for parent in [*hierarchy.glob("pyd-bench-*"), hierarchy / "docker", hierarchy / "libpod_parent"]:
            for directory in [*sorted(parent.rglob("*/"), reverse=True), parent]:
                with suppress(OSError):  # absent, or in use by somebody else
                    directory.rmdir()


def interleave(
    ready: list[Engine], measure: Callable[[Engine], float], rounds: int, *, warm_up: int = 2, gap: float = 0
) -> dict[str, list[float]]:
    """Measures A B C, A B C, ...: what drifts on the machine drifts for all. The first rounds are dropped."""
    times: dict[str, list[float]] = {engine.name: [] for engine in ready}
    for number in range(rounds + warm_up):
        for engine in list(ready):
            if gap:
                time.sleep(gap)
            try:
                value = measure(engine)
            except Unavailable as error:
                print(f"left out: {error}", file=sys.stderr)
                ready.remove(engine)
                continue
            if number >= warm_up:
                times[engine.name].append(value)
    return {name: values for name, values in times.items() if values}


def summary(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "n": len(ordered),
        "median": statistics.median(ordered),
        "p95": ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))],
        "min": ordered[0],
    }


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    processor = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    return {
        "kernel": platform.release(),
        "python": platform.python_version(),
        "processor": processor[0].partition(":")[2].strip() if processor else platform.machine(),
        "cores": os.cpu_count(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "cgroup": _cgroup_mode(),
        "load": os.getloadavg()[0],
        "versions": {name: _version(name) for name in ("crun", "runc", "podman", "dockerd")},
    }


def _cgroup_mode() -> str:
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return "v2"
    return "hybrid" if Path("/sys/fs/cgroup/unified/cgroup.procs").exists() else "v1"


def _version(name: str) -> str | None:
    path = shutil.which(name, path=f"/usr/bin:/usr/sbin:{os.environ['PATH']}")
    if not path:
        return None
    out = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    return out.splitlines()[0] if out else None


def save(scenario: str, results: dict[str, Any]) -> Path:
    """Writes benches/results/<scenario>-<time>.json; `python -m benches report` reads the newest of each."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{scenario}-{time.strftime('%Y%m%dT%H%M%S')}.json"
    path.write_text(json.dumps({"scenario": scenario, "machine": machine(), "results": results}, indent=1))
    for case, by_engine in results.items():
        print(f"{scenario} {case}")
        for engine, numbers in by_engine.items():
            print("   ", engine.ljust(16), "  ".join(f"{key} {value:.4g}" for key, value in numbers.items()))
    return path
