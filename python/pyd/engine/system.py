"""What this host and this pyd are: version, info, and the doctor that says what is missing and what to do."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyd
from pyd.runtime import host

if TYPE_CHECKING:
    from pyd.engine.engine import Engine

API_VERSION, MIN_API_VERSION = "1.47", "1.24"


def version() -> dict[str, Any]:
    """Docker's shape: Client and Server are one and the same here."""
    kernel = os.uname()
    part = {
        "Version": pyd.__version__,
        "ApiVersion": API_VERSION,
        "DefaultAPIVersion": API_VERSION,
        "MinAPIVersion": MIN_API_VERSION,
        "Os": "linux",
        "Arch": architecture(),
        "KernelVersion": kernel.release,
        "PythonVersion": platform.python_version(),
        "Context": "default",
    }
    return {
        "Client": {"Platform": {"Name": "pyd"}, **part},
        "Server": {"Platform": {"Name": "pyd (embedded engine)"}, **part},
    }


def architecture() -> str:
    machine = os.uname().machine
    return {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}.get(machine, machine)


def info(engine: Engine) -> dict[str, Any]:
    """Docker's `info`, as far as tools read it."""
    states: dict[str, int] = {}
    records = list(engine.all_settled())
    for record in records:
        states[record.state] = states.get(record.state, 0) + 1
    groups = host.cgroup_info()
    kernel = os.uname()
    paused, running = states.get("paused", 0), states.get("running", 0)
    security = ["name=seccomp,profile=builtin"] if host.seccomp_supported() else []
    return {
        "Containers": len(records),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": len(records) - running - paused,
        "Images": len(engine.store.images.list()),
        "Driver": "overlay2",
        "DriverStatus": [],
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": "2" if groups["mode"] == "v2" else "1",
        "CgroupMode": groups["mode"],
        "CgroupParent": engine.config.cgroup_parent,
        "Plugins": {"Volume": ["local"], "Network": ["bridge", "host", "null"], "Log": ["json-file", "none"]},
        "MemoryLimit": "memory" in groups["controllers"],
        "SwapLimit": bool(groups.get("swap_limit")),
        "PidsLimit": "pids" in groups["controllers"],
        "CPUSet": "cpuset" in groups["controllers"],
        "CpuCfsQuota": "cpu" in groups["controllers"],
        "KernelVersion": kernel.release,
        "OperatingSystem": _operating_system(),
        "OSType": "linux",
        "Architecture": kernel.machine,
        "NCPU": os.cpu_count() or 1,
        "MemTotal": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "Name": kernel.nodename,
        "ServerVersion": pyd.__version__,
        "DefaultRuntime": "pyd",
        "Runtimes": {"pyd": {"path": engine.config.runtime}},
        "SecurityOptions": security,
        "DockerRootDir": engine.config.paths.data_root,
        "RunRoot": engine.config.paths.run_root,
        "LiveRestoreEnabled": True,
        "Warnings": [f"{check.name}: {check.found}" for check in doctor(engine) if check.state != "ok"]
        or None,
    }


def _operating_system() -> str:
    try:
        with open("/etc/os-release", encoding="utf-8") as file:
            for line in file:
                if line.startswith("PRETTY_NAME="):
                    return line.partition("=")[2].strip().strip('"')
    except OSError:
        pass
    return "Linux"


@dataclass(frozen=True, slots=True)
class Check:
    """state: ok, degraded (works with less) or missing (does not work)."""

    name: str
    state: str
    found: str
    remedy: str = ""


def doctor(engine: Engine) -> list[Check]:
    """What this host offers for containers, what degrades, and the remedy. Changes nothing."""
    checks: list[Callable[[Engine], Check]] = [
        _runtime,
        _user,
        _kernel,
        _namespaces,
        _overlay,
        _cgroups,
        _swap,
        _seccomp,
        _capabilities,
        _forwarding,
        _data_root,
        _space,
    ]
    return [check(engine) for check in checks]


def _runtime(engine: Engine) -> Check:
    path = engine.config.runtime
    if os.access(path, os.X_OK):
        return Check("runtime", "ok", path)
    return Check("runtime", "missing", f"{path} is not executable", "reinstall pyd, or set PYD_RUNTIME")


def _user(_: Engine) -> Check:
    if os.geteuid() == 0:
        return Check("user", "ok", "root")
    return Check(
        "user", "missing", f"uid {os.geteuid()}: containers need root in this version", "run pyd with sudo"
    )


def _kernel(_: Engine) -> Check:
    release = os.uname().release
    numbers = release.split("-")[0].split(".")
    found = f"Linux {release}, {os.uname().machine}, Python {sys.version.split()[0]}"
    if (int(numbers[0]), int(numbers[1])) >= (5, 12):
        return Check("kernel", "ok", found)
    return Check("kernel", "degraded", found, "Linux 5.12 or newer has all that pyd uses")


def _namespaces(_: Engine) -> Check:
    wanted = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
    absent = [name for name in wanted if not os.path.exists(f"/proc/self/ns/{name}")]
    if not absent:
        return Check("namespaces", "ok", ", ".join(wanted))
    return Check(
        "namespaces", "missing", f"not in this kernel: {', '.join(absent)}", "use a kernel that has them"
    )


def _overlay(_: Engine) -> Check:
    with open("/proc/filesystems", encoding="ascii") as file:
        known = {line.split()[-1] for line in file}
    if "overlay" in known:
        return Check("overlay", "ok", "overlay file system")
    return Check("overlay", "missing", "the kernel has no overlay file system", "modprobe overlay")


def _cgroups(_: Engine) -> Check:
    groups = host.cgroup_info()
    controllers = set(groups["controllers"])
    absent = [name for name in ("cpu", "cpuset", "io", "memory", "pids") if name not in controllers]
    found = f"cgroup {groups['mode']}: {', '.join(sorted(controllers))}"
    if not absent:
        return Check("cgroups", "ok", found)
    return Check(
        "cgroups",
        "degraded",
        f"{found}; without {', '.join(absent)} those limits cannot be set",
        "enable the controllers in the kernel or in cgroup.subtree_control of the parent",
    )


def _swap(_: Engine) -> Check:
    if host.cgroup_info().get("swap_limit"):
        return Check("swap limit", "ok", "memory and swap can be limited")
    return Check("swap limit", "degraded", "swap is not counted", "boot with swapaccount=1")


def _seccomp(_: Engine) -> Check:
    if host.seccomp_supported():
        return Check("seccomp", "ok", "filters are supported")
    return Check(
        "seccomp", "missing", "the kernel takes no seccomp filters", "use a kernel with CONFIG_SECCOMP_FILTER"
    )


def _capabilities(_: Engine) -> Check:
    from pyd.runtime.capabilities import NAMES

    bounding = host.capabilities()["bounding"]
    absent = [name for name in NAMES if name not in bounding]
    if not absent:
        return Check("capabilities", "ok", "all")
    return Check(
        "capabilities",
        "degraded",
        f"this process may not have {', '.join(absent)}: containers start without, "
        "limits above the hard ones are clamped",
        "start pyd from a shell whose bounding set is complete (capsh --print)",
    )


def _forwarding(_: Engine) -> Check:
    try:
        with open("/proc/sys/net/ipv4/ip_forward", encoding="ascii") as file:
            enabled = file.read().strip() == "1"
    except OSError:
        enabled = False
    if enabled:
        return Check("forwarding", "ok", "net.ipv4.ip_forward is on")
    return Check("forwarding", "ok", "net.ipv4.ip_forward is off: pyd turns it on with its first bridge")


def _data_root(engine: Engine) -> Check:
    path = engine.config.paths.data_root
    probe = path
    while not os.path.isdir(probe):
        probe = os.path.dirname(probe)
    if not os.access(probe, os.W_OK):
        return Check("data-root", "missing", f"{path} cannot be written", "run as root, or use --data-root")
    if _file_system(probe) == "overlay":
        return Check(
            "data-root",
            "missing",
            f"{path} is on an overlay file system, on which no overlay can be made",
            "put it on a volume or tmpfs with --data-root",
        )
    return Check("data-root", "ok", f"{path} on {_file_system(probe)}")


def _file_system(path: str) -> str:
    """Type of the file system that holds the path, from the mount table."""
    best, kind = "", "unknown"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.split()
            target = fields[4]
            if (path == target or path.startswith(target.rstrip("/") + "/")) and len(target) >= len(best):
                best, kind = target, fields[fields.index("-") + 1]
    return kind


def _space(engine: Engine) -> Check:
    path = engine.config.paths.data_root
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    found = os.statvfs(path)
    free = found.f_bavail * found.f_frsize
    if free > 1 << 30:
        return Check("space", "ok", f"{free >> 30} GiB free")
    return Check(
        "space",
        "degraded",
        f"{free >> 20} MiB free in {path}",
        "pyd container prune, pyd image prune, or --data-root",
    )
