"""Control groups of a bundle: statistics, names of files, groups that the container makes itself, updates.

What only v2 has is passed over elsewhere: `python -m tests.vm -- tests/integration/test_cgroups.py`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import wait_until
from tests.support.oci import RUNTIME, Runtime
from tests.support.world import World

V2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
only_v2 = pytest.mark.skipif(not V2, reason="needs pure cgroup v2: python -m tests.vm --cgroup v2")


@pytest.fixture
def runtime(world: World, payload: Path) -> Iterator[Runtime]:
    with tempfile.TemporaryDirectory(prefix="pyd-test-oci-") as directory:
        # the root of a user namespace must be able to walk to its rootfs
        Path(directory).chmod(0o755)
        made = Runtime(Path(directory), world.cgroup_parent, payload)
        yield made
        made.finish(world)


def start(runtime: Runtime, name: str, script: str, edit: Any = lambda spec: None) -> None:
    """A shell script as container in the background, with its groups mounted writable."""

    def change(spec: dict[str, Any]) -> None:
        spec["mounts"] = [m for m in spec["mounts"] if m["destination"] != "/sys/fs/cgroup"]
        options = ["nosuid", "noexec", "nodev", "rw"]
        mount = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options}
        spec["mounts"].append(mount)
        if not any(n["type"] == "cgroup" for n in spec["linux"]["namespaces"]):
            spec["linux"]["namespaces"].append({"type": "cgroup"})
        spec["process"]["env"] = ["PATH=/bin"]
        edit(spec)

    bundle = runtime.bundle(name, ["/bin/sh", "-c", script], change, furnish)
    subprocess.run(
        [RUNTIME, "--root", str(runtime.directory / "state"), "run", "-d", "-b", str(bundle), name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        timeout=60,
        check=True,
    )


def furnish(root: Path) -> None:
    for directory in ("bin", "proc", "sys", "dev"):  # which the root of a user namespace could not make
        (root / directory).mkdir()
    shutil.copy(shutil.which("busybox") or "/bin/busybox", root / "bin/busybox")
    for applet in ("sh", "sleep", "mkdir", "true", "cat", "ls", "touch"):
        (root / "bin" / applet).symlink_to("busybox")


def group(runtime: Runtime, name: str) -> Path:
    """The container's v2 directory."""
    pid = runtime.state(name)["pid"]
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    (path,) = [line.split("::")[1] for line in lines if line.startswith("0::")]
    return Path("/sys/fs/cgroup" if V2 else "/sys/fs/cgroup/unified") / path.strip("/")


def limits(**resources: Any) -> Any:
    def edit(spec: dict[str, Any]) -> None:
        spec["linux"]["resources"] = resources

    return edit


def test_pressure_where_the_kernel_has_it(runtime: Runtime) -> None:
    start(runtime, "psi", "sleep 1000")
    pressure = (
        "v1"
        if not Path("/sys/fs/cgroup/unified").is_dir() and not V2
        else group(runtime, "psi") / "cpu.pressure"
    )
    data = json.loads(runtime("events", "--stats", "psi").stdout)["data"]
    for resource in ("cpu", "memory", "blkio"):
        if isinstance(pressure, str) or not pressure.exists():
            assert "psi" not in data[resource]
            continue
        for kind in ("some", "full"):
            assert set(data[resource]["psi"][kind]) == {"avg10", "avg60", "avg300", "total"}


def test_limit_that_no_kernel_has_is_warned_about(runtime: Runtime) -> None:
    done = runtime.run("w", ["/payload", "exit", "0"], limits(memory={"kernel": 1 << 24}))
    assert "linux.resources.memory.kernel is left out" in done.stderr, done


@pytest.mark.parametrize(
    "key", ["cgroup.procs", "cgroup.kill", "../memory.max", "..", ".x", "memory", "a b.c"]
)
def test_unified_key_that_is_no_limit(runtime: Runtime, key: str) -> None:
    done = runtime.run("u", ["/payload", "exit", "0"], limits(unified={key: "1"}), code=None)
    assert done.code != 0 and "unified" in done.stderr, done


def test_unified_on_v1_names_the_cause(runtime: Runtime) -> None:
    if V2:
        done = runtime.run("v", ["/payload", "cat", "/sys/fs/cgroup/memory.high"],
                           limits(unified={"memory.high": "67108864"}))  # fmt: skip
        assert done.out == "67108864"
        return
    done = runtime.run("v", ["/payload", "exit", "0"], limits(unified={"memory.high": "67108864"}), code=None)
    cause = "memory controller" if Path("/sys/fs/cgroup/unified").is_dir() else "needs cgroup v2"
    assert done.code != 0 and cause in done.stderr and len(done.stderr.splitlines()) == 1, done


def test_groups_that_the_container_made_go_with_it(runtime: Runtime, world: World) -> None:
    """What an init system in a container leaves: a tree of groups with processes in it."""
    script = (
        "cd /sys/fs/cgroup; [ -e cgroup.procs ] || cd pids;"
        "mkdir -p a/b/c a/d; sleep 1000 & echo $! > a/b/c/cgroup.procs;"
        "sleep 1000 & echo $! > a/d/cgroup.procs; touch /done; sleep 1000"
    )
    start(runtime, "tree", script)
    wait_until((runtime.directory / "tree/rootfs/done").exists, 20)
    assert any(path.name == "c" for path in world.cgroups())
    runtime("delete", "--force", "tree")
    assert not world.cgroups()


@only_v2
def test_exec_where_the_container_manages_its_groups(runtime: Runtime) -> None:
    """No process may be in a group that hands controllers down: an exec goes where init has gone."""
    script = (
        "cd /sys/fs/cgroup; mkdir init.scope; echo 1 > init.scope/cgroup.procs;"
        "echo +pids > cgroup.subtree_control && touch /done; sleep 1000"
    )
    start(runtime, "nest", script)
    wait_until((runtime.directory / "nest/rootfs/done").exists, 20)
    inside = runtime("exec", "nest", "/payload", "cat", "/proc/self/cgroup").out
    assert inside.endswith("/init.scope"), inside


@only_v2
def test_root_of_a_user_namespace_owns_its_group(runtime: Runtime) -> None:
    def edit(spec: dict[str, Any]) -> None:
        spec["linux"]["namespaces"].append({"type": "user"})
        for kind in ("uidMappings", "gidMappings"):
            spec["linux"][kind] = [{"containerID": 0, "hostID": 200000, "size": 65536}]

    def made(name: str) -> Path:
        return runtime.directory / name / "rootfs/done"

    script = "cd /sys/fs/cgroup; mkdir own && echo 1 > own/cgroup.procs; echo $? > /dev/shm/rc; sleep 1000"
    start(runtime, "own", script, edit)
    directory = group(runtime, "own")
    directory = directory.parent if directory.name == "own" else directory
    for file in (".", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
        assert (directory / file).stat().st_uid == 200000, file
    # the limits of the group itself stay the host's
    assert (directory / "pids.max").stat().st_uid == 0
    assert (directory / "memory.max").stat().st_uid == 0
    wait_until(lambda: runtime("exec", "own", "/payload", "cat", "/dev/shm/rc", code=None).out == "0", 20)

    def read_only(spec: dict[str, Any]) -> None:
        edit(spec)
        spec["mounts"][-1]["options"][-1] = "ro"

    start(runtime, "ro", "sleep 1000", read_only)
    assert group(runtime, "ro").stat().st_uid == 0


def test_device_rules_change_without_a_gap(runtime: Runtime) -> None:
    """A device that old and new rules allow is never refused in between."""
    script = "while true; do echo > /dev/null || touch /refused; done 2> /errors"
    common = [{"allow": False, "access": "rwm"}]
    start(runtime, "dev", script, limits(devices=common))
    tun = {"allow": True, "type": "c", "major": 10, "minor": 200, "access": "rwm"}
    null = [{"allow": True, "type": "c", "major": 1, "minor": n, "access": "rwm"} for n in (3, 5, 7, 8, 9)]
    file = runtime.directory / "resources.json"
    for turn in range(20):
        file.write_text(json.dumps({"devices": [*common, *null, *([tun] if turn % 2 else [])]}))
        runtime("update", "--resources", file, "dev")
    assert not (runtime.directory / "dev/rootfs/refused").exists()
    # and a rule that forbids is in force at once
    file.write_text(json.dumps({"devices": [*common, tun]}))
    runtime("update", "--resources", file, "dev")
    wait_until((runtime.directory / "dev/rootfs/refused").exists, 5, "a refusal")


def test_updates_of_every_controller(runtime: Runtime) -> None:
    start(runtime, "up", "sleep 1000", limits(memory={"limit": 64 << 20}))
    pid = runtime.state("up")["pid"]

    def read(controller: str, v1: str, v2: str) -> str:
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, names, path = line.split(":", 2)
            if V2 or controller in names.split(","):
                top = Path("/sys/fs/cgroup") if V2 else Path("/sys/fs/cgroup") / names
                top = top if top.is_dir() else Path("/sys/fs/cgroup") / controller
                return (top / path.strip("/") / (v2 if V2 else v1)).read_text().strip()
        raise AssertionError(f"no {controller}")

    resources = {
        "memory": {"limit": 128 << 20, "reservation": 32 << 20},
        "cpu": {"shares": 2048, "quota": 30000, "period": 60000, "cpus": "0", "mems": "0"},
        "pids": {"limit": 77},
    }
    file = runtime.directory / "resources.json"
    file.write_text(json.dumps(resources))
    runtime("update", "--resources", file, "up")
    assert read("memory", "memory.limit_in_bytes", "memory.max") == str(128 << 20)
    assert read("memory", "memory.soft_limit_in_bytes", "memory.low") == str(32 << 20)
    assert read("pids", "pids.max", "pids.max") == "77"
    assert read("cpuset", "cpuset.cpus", "cpuset.cpus") == "0"
    assert read("cpu", "cpu.cfs_quota_us", "cpu.max") == ("30000 60000" if V2 else "30000")
    assert int(read("cpu", "cpu.shares", "cpu.weight")) == (174 if V2 else 2048)
    runtime("update", "--cpu-idle", "1", "up")
    assert read("cpu", "cpu.idle", "cpu.idle") == "1"
    runtime("update", "--memory", "-1", "--pids-limit", "-1", "up")
    assert read("pids", "pids.max", "pids.max") == "max"
    lifted = read("memory", "memory.limit_in_bytes", "memory.max")
    assert lifted == "max" or int(lifted) > 1 << 60
    if V2:
        file.write_text(json.dumps({"unified": {"memory.high": "33554432"}}))
        runtime("update", "--resources", file, "up")
        assert read("memory", "", "memory.high") == "33554432"
    # a refusal changes nothing and says which
    refused = runtime("update", "--pids-limit", str(1 << 40), "up", code=None)
    assert refused.code != 0 and "pids" in refused.stderr, refused
    assert os.path.exists(f"/proc/{pid}")


@pytest.mark.skipif(not list(Path("/sys/block").glob("*/dev")), reason="this machine has no disk")
def test_throttles_of_a_disk(runtime: Runtime) -> None:
    """At the start, changed, and lifted with a rate of 0, which v2 calls max."""
    number = sorted(Path("/sys/block").glob("*/dev"))[-1].read_text().strip()
    major, minor = map(int, number.split(":"))

    def throttle(write: int, operations: int) -> dict[str, Any]:
        disk = {"major": major, "minor": minor}
        return {
            "throttleWriteBpsDevice": [{**disk, "rate": write}],
            "throttleReadIOPSDevice": [{**disk, "rate": operations}],
        }

    start(runtime, "io", "sleep 1000", limits(blockIO=throttle(1 << 20, 500)))
    pid = runtime.state("io")["pid"]

    def read(file: str) -> str:
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, names, path = line.split(":", 2)
            if V2 or "blkio" in names.split(","):
                top = Path("/sys/fs/cgroup") if V2 else Path("/sys/fs/cgroup/blkio")
                return (top / path.strip("/") / file).read_text()
        raise AssertionError("no blkio")

    def shown(write: str, operations: str) -> bool:
        if V2:
            return f"{number} rbps=max wbps={write} riops={operations} wiops=max" in read("io.max")
        bytes_a_second = f"{number} {write}\n" in read("blkio.throttle.write_bps_device")
        return bytes_a_second and f"{number} {operations}\n" in read("blkio.throttle.read_iops_device")

    assert shown(str(1 << 20), "500")
    file = runtime.directory / "resources.json"
    file.write_text(json.dumps({"blockIO": throttle(2 << 20, 0)}))
    runtime("update", "--resources", file, "io")
    if V2:
        assert shown(str(2 << 20), "max")
    else:
        assert f"{number} {2 << 20}\n" in read("blkio.throttle.write_bps_device")
        assert number not in read("blkio.throttle.read_iops_device")


def test_limit_below_what_is_used(runtime: Runtime) -> None:
    """checkBeforeUpdate: v2 would kill to meet the limit; asked to, the runtime refuses as v1 does."""
    # without the last word the shell would become the sleep, and its memory be free
    script = "x=$(busybox head -c 16000000 /dev/zero | busybox tr '\\0' x); touch /done; sleep 1000; true"
    start(runtime, "cb", script, limits(memory={"limit": 256 << 20}))
    wait_until((runtime.directory / "cb/rootfs/done").exists, 60)
    file = runtime.directory / "resources.json"
    memory = {"limit": 4 << 20, "swap": 4 << 20, "checkBeforeUpdate": True}
    file.write_text(json.dumps({"memory": memory}))
    refused = runtime("update", "--resources", file, "cb", code=None)
    if V2:
        assert refused.code != 0 and "rejecting the memory limit" in refused.stderr, refused
    assert runtime.state("cb")["status"] == "running"
