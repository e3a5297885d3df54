"""A run has its own network, mount and pid namespaces: no engine touches the host's, and nothing outlives
the run.

The process that the user started stays outside. When the inner one has ended, however it ended, the pid
namespace takes every daemon, monitor and container with it, the mount namespace every mount; the cgroups
are removed from outside.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from benches.programs import find

INNER = "PYD_BENCH_INNER"
# /run: peers without an option for all of their state put the rest there. The shell is PID 1 and reaps.
SCRIPT = (
    'mount -t tmpfs tmpfs /run && { [ -z "$2" ] || mount -t tmpfs tmpfs "$1"; } && shift 2 && "$@"; exit $?'
)
KEPT = {"PYD_RUNTIME", "PYD_BENCH_RESULTS"}
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


def inner() -> tuple[str, Path] | None:
    """The tag and the directory of the run, in the process that is to measure; None outside."""
    value = os.environ.get(INNER)
    if not value:
        return None
    tag, _, work = value.partition(":")
    return tag, Path(work)


def run_inner(arguments: Sequence[str], disk: str | None) -> int:
    """Runs `python -m benches ARGUMENTS` inside and gives its exit status. State is on a tmpfs, or below
    `disk`.
    """
    if disk:
        os.makedirs(disk, exist_ok=True)
    _sweep(Path(disk or tempfile.gettempdir()))
    tag = f"pyd-bench-{os.getpid()}"
    work = tempfile.mkdtemp(prefix=f"{tag}-", dir=disk)
    # Should this process be killed, unshare is, and with it the first process of the pid namespace.
    command = [find("setpriv"), "--pdeathsig", "KILL", find("unshare")]
    command += ["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    command += ["sh", "-c", SCRIPT, "sh", work, "" if disk else "tmpfs"]
    command += [sys.executable, "-m", "benches", *arguments]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    process = subprocess.Popen(command, env=environment() | {INNER: f"{tag}:{work}"})
    try:
        with suppress(KeyboardInterrupt):  # the inner process got it too, and is putting things away
            return process.wait()
        return process.wait()  # unless the user is in a hurry
    finally:
        process.kill()
        process.wait()
        remove_cgroups(tag)
        shutil.rmtree(work, ignore_errors=True)


def _sweep(temporary: Path) -> None:
    """What runs that were killed could not remove themselves: empty cgroups, a directory."""
    for path in [*temporary.glob("pyd-bench-*-*"), *Path("/sys/fs/cgroup").glob("*/pyd-bench-*")]:
        pid = path.name.split("-")[2]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            if path.parent == temporary:
                shutil.rmtree(path, ignore_errors=True)
            else:
                _removed(path)


def environment() -> dict[str, str]:
    """This one's without what would make Python commands slower than a user's, or point engines at other
    state.
    """
    environ = dict(os.environ)
    if environ.pop("PYTHONDONTWRITEBYTECODE", None):
        print("PYTHONDONTWRITEBYTECODE is unset: with it, Python compiles at every start", file=sys.stderr)
    for name in list(environ):
        if name.startswith(("DOCKER_", "CONTAINER")) or (name.startswith("PYD_") and name not in KEPT):
            del environ[name]
    return environ


def raise_loopback() -> None:
    """The registry of `pull` is reached through it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(control, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))


def remove_cgroups(tag: str, seconds: float = 5) -> None:
    """The empty cgroups of a run, in every hierarchy. What cannot be removed is named."""
    until = time.monotonic() + seconds
    while left := [parent for parent in _cgroups(tag) if not _removed(parent)]:
        if time.monotonic() > until:
            print(f"left behind: {', '.join(map(str, left))}", file=sys.stderr)
            return
        time.sleep(0.05)


def _cgroups(tag: str) -> list[Path]:
    top = Path("/sys/fs/cgroup")
    hierarchies = [top, *(path for path in top.glob("*/") if not path.is_symlink())]
    return [hierarchy / tag for hierarchy in hierarchies if (hierarchy / tag).is_dir()]


def _removed(parent: Path) -> bool:
    for directory in [*sorted(parent.rglob("*/"), reverse=True), parent]:
        with suppress(OSError):  # busy: a process of it is still ending
            directory.rmdir()
    return not parent.exists()
