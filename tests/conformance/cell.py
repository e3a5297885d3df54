"""A cell for one program: namespaces and cgroups of its own, so that whatever it leaves behind ends with it.

The validation programs put containers into `/cgrouptest` and the like at the top of every cgroup hierarchy
and kill their containers only when all goes well. In a cell the top is a directory of ours, all processes end
with the first one, mounts end with the namespace; what a runtime left is counted before that.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")

# $1: the directory for results. The rest: the program. Runs as pid 1 of the cell.
_INSIDE = r"""
set -eu
results=$1; shift
{mounts}
# a second link: linux_cgroups_network takes the first two
ip link set lo up && ip link add eth0 type veth peer name eth1 || true
"$@" </dev/null >"$results/stdout" 2>"$results/stderr" && code=0 || code=$?
echo $code >"$results/code"
# what the program did not delete is its own doing; what is still there after that, the runtime's
for state in "$results"/state/*/; do
    [ -d "$state" ] || continue
    id=${{state%/}}; id=${{id##*/}}
    echo "$id" >>"$results/containers"
    "$RUNTIME" delete --force "$id" >/dev/null 2>&1 || true
done
sleep 0.1
find /sys/fs/cgroup -mindepth 2 -type d ! -name harness >"$results/cgroups"
"""


@dataclass
class Outcome:
    """How a program ended: its exit code (None: stopped after the timeout) and what it wrote and left."""

    code: int | None
    stdout: str
    stderr: str
    seconds: float
    containers: list[str] = field(default_factory=list)
    """Containers that the program itself did not delete."""
    cgroups: list[str] = field(default_factory=list)
    """Directories that were left after every container was deleted."""


def run(program: Path, runtime: list[str], timeout: float) -> Outcome:
    """Runs `program` (in its own directory, as it expects) with $RUNTIME set to the command `runtime`, which
    gets `--root` for a state directory of the cell's.
    """
    top = f"pyd-conformance-{os.getpid()}-{program.name}"
    hierarchies = _hierarchies()
    work = Path(tempfile.mkdtemp(prefix="pyd-conformance-"))
    try:
        # the root of a user namespace must be able to walk to the bundle
        work.chmod(0o755)
        results, bundles = work / "results", work / "bundles"
        results.mkdir()
        bundles.mkdir()
        wrapper = work / "runtime"
        words = " ".join(f"'{word}'" for word in [*runtime, "--root", str(results / "state")])
        wrapper.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        wrapper.chmod(0o755)
        for directory in hierarchies:
            _make(directory / top, realtime=program.name.endswith("_cpus"))
        joins = "".join(f"echo $$ >'{directory / top}/cgroup.procs'; " for directory in hierarchies)
        inside = work / "inside"
        inside.write_text(_INSIDE.format(mounts=_mounts()))
        unshare = ["unshare", "-nmpCiu", "--fork", "--kill-child", "--mount-proc"]
        command = [*unshare, "sh", str(inside), str(results), str(program)]
        environ = os.environ | {"RUNTIME": str(wrapper), "TMPDIR": str(bundles)}
        start = time.monotonic()
        process = subprocess.Popen(
            ["sh", "-ec", f'{joins}exec "$@"', "sh", *command],
            cwd=program.parent,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            _, noise = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()  # and with it the cell: --kill-child
            _, noise = process.communicate()
        seconds = time.monotonic() - start
        code = _text(results / "code").strip()
        return Outcome(
            int(code) if code else None,
            _text(results / "stdout"),
            _text(results / "stderr") + noise,
            seconds,
            _text(results / "containers").split(),
            _text(results / "cgroups").split(),
        )
    finally:
        for directory in hierarchies:
            _remove(directory / top)
        shutil.rmtree(work, ignore_errors=True)


def _hierarchies() -> list[Path]:
    """Mount points of all cgroup hierarchies of this machine."""
    return [Path(place) for place, _, _ in _cgroup_mounts()]


def _cgroup_mounts() -> list[tuple[str, str, str]]:
    """(mount point, type, options that name the hierarchy)."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, after = line.split(" - ")
        place, (kind, _, options) = before.split()[4], after.split()[:3]
        if kind in ("cgroup", "cgroup2") and Path(place).is_relative_to(CGROUPS):
            named = [o for o in options.split(",") if o not in ("rw", "ro", "xattr", "nsdelegate")]
            found.append((place, kind, ",".join(named)))
    return found


def _mounts() -> str:
    """Shell lines that mount the hierarchies anew, each with the cell's directory as its top, and under the
    names that a distribution gives them: runtime-tools reads /sys/fs/cgroup/cpu,cpuacct.
    """
    mounts = _cgroup_mounts()
    lines = ["umount -R /sys/fs/cgroup"]
    if [kind for _, kind, _ in mounts] == ["cgroup2"]:
        # with processes in it, the top could not hand controllers down
        return "\n".join(
            [
                *lines,
                "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
                "mkdir /sys/fs/cgroup/harness && echo 0 >/sys/fs/cgroup/harness/cgroup.procs",
            ]
        )
    lines.append("mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup")
    for place, kind, options in mounts:
        lines.append(
            f"mkdir '{place}' && mount -t {kind} {f'-o {options}' if options else ''} {kind} '{place}'"
        )
    for pair in ("cpu,cpuacct", "net_cls,net_prio"):
        first = pair.split(",")[0]
        if CGROUPS / first in (Path(place) for place, _, _ in mounts):
            lines.append(f"ln -s {first} '/sys/fs/cgroup/{pair}'")
    return "\n".join(lines)


def _make(directory: Path, realtime: bool) -> None:
    """`realtime`: hand the machine's whole real-time budget of v1 down, which only one cell can have."""
    directory.mkdir()
    budget = directory / "cpu.rt_runtime_us"
    if realtime and budget.exists():
        try:
            budget.write_text((directory.parent / budget.name).read_text())
        except OSError:
            pass  # somebody else has it; the program will say so
    for name in ("cpuset.cpus", "cpuset.mems"):  # empty in a new directory of v1: nobody could join it
        if (directory / name).exists() and not (directory / "cgroup.controllers").exists():
            (directory / name).write_text((directory.parent / name).read_text())


def _remove(top: Path) -> None:
    """Deepest first; a process that just ended may keep its directory busy for a moment."""
    until = time.monotonic() + 5
    while top.is_dir():
        busy = None
        for directory, _, _ in os.walk(top, topdown=False):
            try:
                os.rmdir(directory)
            except OSError as error:
                busy = error
        if busy and time.monotonic() > until:
            raise busy
        if busy:
            time.sleep(0.05)


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""
