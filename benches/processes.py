"""What runs and what it costs in memory. The suite has a pid namespace of its own, so /proc lists nothing
else.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

OWN = ("Pss_Anon", "Pss_Shmem")
KERNEL = ("Slab", "KernelStack", "PageTables", "Percpu")


@dataclass(frozen=True)
class Memory:
    """In KiB. `watchers`: PSS of what an engine keeps running; `kernel`: of the whole machine."""

    watchers: int
    kernel: int


def watchers(outside: Iterable[int] = ()) -> dict[int, str]:
    """Processes neither in a container nor the suite's own: monitors, shims, daemons. pid -> name."""
    known = {*outside, *_suite()}
    found = {}
    for directory in Path("/proc").glob("[0-9]*"):
        pid = int(directory.name)
        try:
            in_container = len(_status(directory, "NSpid").split()) > 1
            if pid not in known and not in_container:
                found[pid] = (directory / "comm").read_text().strip()
        except (OSError, ValueError):
            continue  # it has just ended
    return found


def _suite() -> set[int]:
    """This process and those above it."""
    chain, pid = set(), os.getpid()
    while pid:
        chain.add(pid)
        pid = int(_status(Path(f"/proc/{pid}"), "PPid"))
    return chain


def _status(directory: Path, key: str) -> str:
    for line in (directory / "status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return line.partition(":")[2].strip()
    raise ValueError(key)


def pss(pids: Iterable[int], kinds: tuple[str, ...] = ("Pss",)) -> int:
    """KiB, shared pages divided among those that share them. OWN: only what no file backs."""
    total = 0
    for pid in pids:
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue  # it has just ended
        lines = [line.split() for line in rollup.splitlines() if line.startswith("Pss")]
        total += sum(int(words[1]) for words in lines if words[0].rstrip(":") in kinds)
    return total


def kernel() -> int:
    """KiB of the whole machine's kernel memory for objects, stacks, page tables and per-cpu data."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    values = {line.partition(":")[0]: int(line.split()[1]) for line in lines}
    return sum(values.get(key, 0) for key in KERNEL)


def settled(limit: float, step: float = 0.5, noise: int = 256) -> Memory:
    """Memory when the kernel's has hardly changed for two steps, or after `limit` seconds.

    Namespaces and cgroups of containers that are gone are freed in the background, for seconds.
    """
    until = time.monotonic() + limit
    before, quiet = kernel(), 0
    while quiet < 2 and time.monotonic() < until:
        time.sleep(min(step, limit))
        now = kernel()
        quiet = quiet + 1 if abs(now - before) < noise else 0
        before = now
    return Memory(pss(watchers()), kernel())
