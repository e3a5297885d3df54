"""What can be read and written of /proc, /sys and /dev, compared with what Docker's containers can: the
same specification, run by Debian's runc. And the specification itself: it leaves out nothing of Docker's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyd.runtime import defaults
from tests.support.command import Pyd
from tests.support.oci import Runtime
from tests.support.world import World

Spec = dict[str, Any]

# moby's profiles of 2025 (oci/defaults.go); powercap and interrupts are younger than Debian's Docker 20.10.
DOCKER_MASKED = {
    *("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
    *("/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats"),
    *("/sys/devices/virtual/powercap", "/sys/firmware"),
}
DOCKER_READONLY = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}

# Below these everything is tried; of the others only what is listed.
TREES = ("/proc/sys/kernel", "/proc/sys/vm", "/proc/sys/net/ipv4", "/proc/sys/fs", "/sys", "/sys/kernel")
MORE = (
    "/ /dev /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /dev/pts /dev/pts/ptmx /dev/ptmx "
    "/dev/shm /dev/mqueue /dev/fd /dev/stdin /dev/core /dev/kmsg /dev/mem /dev/console /dev/sda /dev/fuse "
    "/dev/net/tun /dev/kvm /proc/self/attr /proc/1/oom_score_adj /proc/1/setgroups /proc/1/mem "
    "/proc/1/uid_map /proc/bus/pci /proc/irq/default_smp_affinity /proc/fs/ext4 /proc/sys/net/core/somaxconn "
    "/sys/firmware/dmi /sys/firmware/acpi /sys/devices/virtual/powercap /sys/kernel/security "
    "/sys/kernel/debug /sys/kernel/tracing /sys/module/kernel /sys/power/state /sys/fs /sys/fs/bpf "
    "/sys/fs/cgroup /sys/fs/cgroup/memory /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/devices "
    "/sys/fs/cgroup/memory/tasks /sys/fs/cgroup/devices/devices.allow /sys/fs/cgroup/unified "
    "/sys/fs/cgroup/memory/release_agent /sys/fs/cgroup/cgroup.subtree_control"
).split()


def paths() -> list[str]:
    """Well over 120; names of the moment (processes, this thread) are not among them."""
    found = {*MORE, *DOCKER_MASKED, *DOCKER_READONLY}
    found |= {f"/proc/{name}" for name in os.listdir("/proc") if not name.isdigit()}
    for tree in TREES:
        found |= {f"{tree}/{name}" for name in os.listdir(tree)}
    return sorted(found - {"/proc/self", "/proc/thread-self", "/proc/kmsg"})


def docker_like(world: World, pyd: Pyd, image: str) -> Spec:
    """The specification that the engine makes for a container without options."""
    container = pyd("run", "-d", "--network", "none", image, "sleep", "1000").out
    spec: Spec = json.loads((world.run_root / "containers" / container / "config.json").read_text())
    pyd("rm", "-f", container)
    return spec


def bundle(runtime: Runtime, spec: Spec, args: list[str]) -> Path:
    """`spec` with a root of its own, without what only pyd's engine and its runtime know of."""

    def edit(default: Spec) -> None:
        version, root, cgroups = default["ociVersion"], default["root"], default["linux"]["cgroupsPath"]
        default.clear()
        default.update(json.loads(json.dumps(spec)), ociVersion=version, root=root, annotations={})
        default["linux"]["cgroupsPath"] = cgroups
        default["process"].update(args=args, terminal=False)
        default["mounts"] = [mount for mount in default["mounts"] if mount["type"] != "bind"]

    return runtime.bundle("a", args, edit)


def rights(runtime: Runtime, spec: Spec) -> dict[str, str]:
    """Path: kind, whether it can be read, whether it can be written."""
    made = bundle(runtime, spec, ["/payload", "probe", *paths()])
    lines = runtime("run", "--bundle", made, "a").stdout.splitlines()
    return dict(line.split(" ", 1) for line in lines)


# The link is made whether the kernel has the file or not. The tmpfs that holds the hierarchies is read-only,
# as asked for, and the v2 tree of a hybrid machine is among them.
KNOWN = {"/dev/core", "/sys/fs/cgroup", "/sys/fs/cgroup/unified"}


def different(ours: dict[str, str], theirs: dict[str, str]) -> dict[str, tuple[str, str]]:
    return {path: (ours[path], theirs[path]) for path in theirs if ours[path] != theirs[path]}


def test_rights_are_those_of_docker(
    world: World, pyd: Pyd, busybox: str, runtime: Runtime, peer: Callable[[str], Runtime]
) -> None:
    spec = docker_like(world, pyd, busybox)
    ours, theirs = rights(runtime, spec), rights(peer("runc"), spec)
    assert len(theirs) >= 120
    assert sum("writable" in line for line in theirs.values()) > 5, "it can tell what is writable"
    assert sum("PermissionDenied" in line or "ReadOnly" in line for line in theirs.values()) > 20
    found = different(ours, theirs)
    assert {path: found[path] for path in set(found) - KNOWN} == {}
    assert not ours["/sys/fs/cgroup"].endswith("writable")


def test_control_of_rights(
    world: World, pyd: Pyd, busybox: str, runtime: Runtime, weakened: Callable[..., Runtime]
) -> None:
    spec = docker_like(world, pyd, busybox)
    found = different(rights(weakened("no-masks"), spec), rights(runtime, spec))
    assert {"/proc/keys", "/proc/sys/kernel/core_pattern", "/sys/firmware"} <= set(found)


def mounts(runtime: Runtime, spec: Spec) -> dict[str, set[str]]:
    """Mount point: filesystem and what is forbidden in it; without the root and files that null covers."""
    made = bundle(runtime, spec, ["/payload", "mounts"])
    found = {}
    for line in runtime("run", "--bundle", made, "a").stdout.splitlines():
        fields, filesystem = line.split(" - ")
        root, point, flags = fields.split()[3:6]
        if point != "/" and not root.endswith("/null"):
            found[point] = {filesystem.split()[0], *flags.split(",")} - {"rw", "relatime"}
    return found


def test_mounts_are_those_of_docker(
    world: World, pyd: Pyd, busybox: str, runtime: Runtime, peer: Callable[[str], Runtime]
) -> None:
    """The same places, and nothing allowed in one of them that is not in Docker's."""
    spec = docker_like(world, pyd, busybox)
    ours, theirs = mounts(runtime, spec), mounts(peer("runc"), spec)
    assert set(ours) - {"/sys/fs/cgroup/unified"} == set(theirs)
    assert {point: (ours[point], theirs[point]) for point in theirs if not ours[point] >= theirs[point]} == {}


def test_nothing_that_docker_hides_is_left_out() -> None:
    assert set(defaults.MASKED_PATHS) >= DOCKER_MASKED
    assert set(defaults.READONLY_PATHS) >= DOCKER_READONLY


def test_proc_sys_cannot_be_made_writable(pyd: Pyd, busybox: str) -> None:
    """Neither by remounting nor by a mount of procfs elsewhere: both need a power that nobody has there."""
    script = "mount -o remount,rw /proc/sys; mount -t proc p /tmp; umount /proc/sys; umount /proc/keys"
    check = "; touch /proc/sys/kernel/core_pattern 2>&1; wc -c < /proc/keys; ls /tmp"
    out = pyd("run", "--rm", busybox, "sh", "-c", f"({script}) 2>/dev/null{check}").lines
    assert out[0].endswith("Read-only file system") and out[1:] == ["0"]


def test_control_of_proc_sys(pyd: Pyd, busybox: str) -> None:
    script = "mount -o remount,rw /proc/sys && umount /proc/keys && wc -c < /proc/keys"
    options = ("--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined")
    out = pyd("run", "--rm", *options, busybox, "sh", "-c", script).out
    assert int(out) > 0
