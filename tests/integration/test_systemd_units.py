"""`--systemd-cgroup` with a real systemd, as in `python -m tests.vm --init systemd -- THIS_FILE`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import wait_until
from tests.support.oci import RUNTIME, Runtime
from tests.support.world import World

pytestmark = pytest.mark.skipif(
    not Path("/run/systemd/system").is_dir() or not shutil.which("systemctl"),
    reason="systemd does not run here: python -m tests.vm --init systemd",
)
SLICE = "pydtest-live.slice"
V2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()


def systemctl(*words: str) -> str:
    return subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False).stdout


def shown(unit: str, name: str) -> str:
    return systemctl("show", "--property", name, "--value", unit).strip()


def group(controller: str, unit: str) -> Path:
    """The directory of a unit, by the v1 name of a controller."""
    top = Path("/sys/fs/cgroup") if V2 else Path("/sys/fs/cgroup") / controller
    return top / "pydtest.slice" / SLICE / unit


@pytest.fixture
def runtime(world: World, payload: Path) -> Iterator[Runtime]:
    with tempfile.TemporaryDirectory(prefix="pyd-test-oci-") as directory:
        made = Runtime(Path(directory), world.cgroup_parent, payload, (RUNTIME, "--systemd-cgroup"))
        yield made
        for name in made.made:
            made("delete", "--force", name, code=None)
    wait_until(lambda: not list(Path("/sys/fs/cgroup").glob("**/t-*.scope")), 5, "scopes that are left")
    assert "t-" not in systemctl("list-units", "--all", "--plain", "--no-legend", "t-*.scope")


def start(runtime: Runtime, name: str, args: list[str], resources: Any, **annotations: str) -> str:
    """A container in the background; gives its unit."""

    def edit(spec: dict[str, Any]) -> None:
        spec["linux"]["cgroupsPath"] = f"{SLICE}:t:{name}"
        spec["linux"]["resources"] = resources
        spec["annotations"] = {f"org.systemd.property.{key}": value for key, value in annotations.items()}

    bundle = runtime.bundle(name, args, edit)
    command = [*runtime.program, "run", "--detach", "--bundle", str(bundle), name]
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=60, check=True)
    return f"t-{name}.scope"


def test_life(runtime: Runtime) -> None:
    limits = {
        "memory": {"limit": 64 << 20, "swap": 64 << 20},
        "cpu": {"shares": 512, "quota": 25000, "period": 50000, "cpus": "0"},
        "pids": {"limit": 20},
        "devices": [{"allow": False, "access": "rwm"}],
    }
    unit = start(runtime, "a", ["/payload", "sleep", "1000"], limits, TimeoutStopUSec="uint64 7000000")
    pid = runtime.state("a")["pid"]
    assert (shown(unit, "ActiveState"), shown(unit, "Slice")) == ("active", SLICE)
    assert (shown(unit, "Delegate"), shown(unit, "TimeoutStopUSec")) == ("yes", "7s")
    assert shown(unit, "TasksMax") == "20"
    assert shown(unit, "MemoryMax" if V2 else "MemoryLimit") == str(64 << 20)
    assert shown(unit, "CPUQuotaPerSecUSec") == "500ms"
    assert shown(unit, "DevicePolicy") == "strict"
    assert str(pid) in (group("pids", unit) / "cgroup.procs").read_text().split()
    assert (group("pids", unit) / "pids.max").read_text() == "20\n"
    if V2:
        assert (group("cpu", unit) / "cpu.max").read_text() == "25000 50000\n"
        assert (group("cpuset", unit) / "cpuset.cpus").read_text() == "0\n"
        assert (group("memory", unit) / "memory.swap.max").read_text() == "0\n"
    else:
        assert (group("cpuset", unit) / "cpuset.cpus").read_text() == "0\n"
        assert str(pid) in (group("freezer", unit) / "cgroup.procs").read_text().split()

    # a reload makes systemd write its limits again: they must be the same ones
    systemctl("daemon-reload")
    assert (group("pids", unit) / "pids.max").read_text() == "20\n"
    assert runtime("exec", "a", "/payload", "write", "/dev/null", "x").code == 0
    assert f"/{unit}" in Path(f"/proc/{pid}/cgroup").read_text()

    runtime("update", "--pids-limit", "30", "--cpu-quota", "50000", "--cpu-period", "50000", "a")
    assert (shown(unit, "TasksMax"), shown(unit, "CPUQuotaPerSecUSec")) == ("30", "1s")
    assert (group("pids", unit) / "pids.max").read_text() == "30\n"

    inside = subprocess.Popen(
        [*runtime.program, "exec", "a", "/payload", "sleep", "100"], stdout=subprocess.DEVNULL
    )
    members = group("pids", unit) / "cgroup.procs"
    wait_until(lambda: len(members.read_text().split()) == 2, 20, "the exec in the scope")
    runtime("pause", "a")
    assert runtime.state("a")["status"] == "paused"
    runtime("resume", "a")
    assert len(json.loads(runtime("ps", "--format", "json", "a").stdout)) == 2
    runtime("delete", "--force", "a")
    inside.wait(10)
    assert shown(unit, "LoadState") == "not-found"
    assert not group("pids", unit).exists() and not group("freezer", unit).exists()


def test_end_by_itself(runtime: Runtime) -> None:
    """systemd collects a scope without processes; the container can be deleted afterwards."""
    unit = start(runtime, "b", ["/payload", "sleep", "1"], {})
    wait_until(lambda: runtime.state("b")["status"] == "stopped", 20)
    wait_until(lambda: shown(unit, "LoadState") == "not-found", 20, "the scope's end")
    runtime("delete", "b")


def test_out_of_memory_leaves_no_failed_unit(runtime: Runtime) -> None:
    unit = start(runtime, "c", ["/payload", "oom"], {"memory": {"limit": 16 << 20, "swap": 16 << 20}})
    wait_until(lambda: runtime.state("c")["status"] == "stopped", 60)
    time.sleep(0.5)  # what systemd makes of it
    runtime("delete", "c")
    assert shown(unit, "LoadState") == "not-found"
    assert unit not in systemctl("list-units", "--failed", "--plain", "--no-legend")


def test_foreground_and_name_in_use(runtime: Runtime) -> None:
    def edit(spec: dict[str, Any]) -> None:
        spec["linux"]["cgroupsPath"] = f"{SLICE}:t:d"

    runtime.run("d", ["/payload", "exit", "4"], edit, code=4)
    wait_until(lambda: shown("t-d.scope", "LoadState") == "not-found", 5)
    start(runtime, "e", ["/payload", "sleep", "1000"], {})

    def same(spec: dict[str, Any]) -> None:
        spec["linux"]["cgroupsPath"] = f"{SLICE}:t:e"

    error = runtime.run("f", ["/payload", "exit", "0"], same, code=None)
    assert error.code != 0 and "t-e.scope" in error.stderr, error
    assert runtime.state("e")["status"] == "running"


def test_user_bus(payload: Path) -> None:
    """A user's own systemd: the scope is below user@UID.service."""
    if not V2:
        pytest.skip("systemd delegates nothing to users on cgroup v1")
    user, uid = "bin", 2
    subprocess.run(["loginctl", "enable-linger", user], check=False)
    manager = subprocess.run(["systemctl", "start", f"user@{uid}.service"], check=False)
    if manager.returncode != 0:
        pytest.skip("no systemd for users here")
    bus = Path(f"/run/user/{uid}/bus")
    wait_until(bus.exists, 30, "the user's bus")
    with tempfile.TemporaryDirectory(prefix="pyd-test-user-") as directory:
        place = Path(directory)
        place.chmod(0o777)

        def run(*words: str) -> subprocess.CompletedProcess[str]:
            environment = {"XDG_RUNTIME_DIR": f"/run/user/{uid}", "PATH": os.environ["PATH"]}
            as_user = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
            command = [*as_user, RUNTIME, "--systemd-cgroup", "--root", f"{place}/state", *words]
            return subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )

        (place / "b/rootfs").mkdir(parents=True)
        shutil.copy(payload, place / "b/rootfs/payload")
        os.chown(place / "b/rootfs", uid, uid)  # the mount points of /proc and others are made in it
        subprocess.run([RUNTIME, "spec", "--rootless", "--bundle", str(place / "b")], check=True)
        spec = json.loads((place / "b/config.json").read_text())
        spec["process"]["args"] = ["/payload", "cat", "/proc/self/cgroup", "/sys/fs/cgroup/pids.max"]
        spec["process"]["terminal"] = False
        spec["linux"]["cgroupsPath"] = ":t:user"
        spec["linux"]["resources"] = {"pids": {"limit": 33}}
        spec["linux"]["uidMappings"] = [{"containerID": 0, "hostID": uid, "size": 1}]
        spec["linux"]["gidMappings"] = [{"containerID": 0, "hostID": uid, "size": 1}]
        (place / "b/config.json").write_text(json.dumps(spec))
        done = run("run", "--bundle", str(place / "b"), "u")
        assert done.returncode == 0, done.stderr
        assert "33" in done.stdout.split(), done.stdout
    subprocess.run(["loginctl", "disable-linger", user], check=False)
    systemctl("stop", f"user@{uid}.service")
