"""The facts that figures depend on."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

from benches.engines import ENGINES
from benches.engines.runtimes import hybrid, pyd_runtime
from benches.programs import HERE, Unavailable, find


def facts(work: Path) -> dict[str, Any]:
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "distribution": _distribution(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "cgroup": cgroup_mode(),
        "filesystem": filesystem(work, Path("/proc/self/mountinfo").read_text()),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "PYTHONDONTWRITEBYTECODE": "PYTHONDONTWRITEBYTECODE" in os.environ,
        "pyd": pyd(),
        "versions": versions(),
    }


def cgroup_mode() -> str:
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return "v2"
    return "hybrid" if hybrid() else "v1"


def filesystem(path: Path, mountinfo: str) -> str:
    """The type of the file system that `path` lies on: that of the last mount at its nearest parent."""
    best, kind = -1, "unknown"
    for line in mountinfo.splitlines():
        place, found = line.split()[4], line.partition(" - ")[2].split()[0]
        inside = place == "/" or path == Path(place) or Path(place) in path.parents
        if inside and len(place) >= best:
            best, kind = len(place), found
    return kind


def pyd() -> dict[str, Any]:
    """Which pyd: the commit of this source tree, where the program is from, whether it is a release build."""
    commit = _output(["git", "-C", str(HERE), "rev-parse", "--short=12", "HEAD"])
    changed = _output(["git", "-C", str(HERE), "status", "--porcelain", "--untracked-files=no"])
    found: dict[str, Any] = {"commit": commit, "changed": bool(changed)}
    try:
        program = Path(pyd_runtime())
    except Unavailable:
        return found
    # the release profiles strip, development builds do not
    stripped = b".symtab" not in program.read_bytes()
    return found | {
        "runtime": str(program),
        "bytes": program.stat().st_size,
        "build": "release" if stripped else "development",
        "stale": stale(program),
    }


def stale(program: Path) -> bool:
    """Whether what is measured is older than this source tree, so that the commit is not its own."""
    last = _output(["git", "-C", str(HERE.parent), "log", "-1", "--format=%ct", "--", "rust", "Cargo.lock"])
    if last and program.stat().st_mtime < int(last):
        return True
    source, installed = HERE.parent / "python" / "pyd", Path(program).parents[1]
    if installed.name != "pyd" or not source.is_dir():
        return False  # a runtime given by $PYD_RUNTIME
    names = (path.relative_to(source) for path in source.rglob("*.py"))
    return any(_bytes(source / name) != _bytes(installed / name) for name in names)


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def versions() -> dict[str, str]:
    """Of the peers that are installed."""
    found = {}
    for name in sorted({name for engine in ENGINES.values() for name in engine.programs}):
        try:
            program = find(name)
        except Unavailable:
            continue
        line = _output([program, "--version"])
        if line:
            found[name] = line.splitlines()[0]
    return found


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
