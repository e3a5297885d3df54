"""`--systemd-cgroup` as systemd sees it: what is asked over D-Bus, and what a refusal leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.systemd import FakeSystemd
from tests.support.oci import RUNTIME, Runtime
from tests.support.world import World

SLICE = f"pydtest{os.getpid()}.slice"
MAX = 2**64 - 1


def groups() -> list[Path]:
    """Directories of the slice in every hierarchy."""
    tops = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*/")]
    return [top / SLICE for top in tops if (top / SLICE).is_dir()]


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSystemd]:
    with tempfile.TemporaryDirectory(prefix="pyd-test-bus-") as directory:
        fake = FakeSystemd(Path(directory) / "bus")
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", fake.address)
        yield fake
        fake.close()


@pytest.fixture
def runtime(world: World, payload: Path) -> Iterator[Runtime]:
    with tempfile.TemporaryDirectory(prefix="pyd-test-oci-") as directory:
        made = Runtime(Path(directory), world.cgroup_parent, payload, (RUNTIME, "--systemd-cgroup"))
        yield made
        for name in made.made:
            made("delete", "--force", name, code=None)
    assert not groups()


def scope(unit: str, resources: Any = None, **annotations: str) -> Any:
    """An edit of a spec: the scope `t-UNIT.scope`, with limits and annotations `org.systemd.property.*`."""

    def edit(spec: dict[str, Any]) -> None:
        spec["linux"]["cgroupsPath"] = f"{SLICE}:t:{unit}"
        spec["linux"]["resources"] = resources or {}
        spec["annotations"] = {f"org.systemd.property.{key}": value for key, value in annotations.items()}

    return edit


def detached(runtime: Runtime, bundle: Path, name: str) -> None:
    """The container keeps the output, so this must not be a pipe that somebody reads to its end."""
    command = [*runtime.program, "run", "--detach", "--bundle", str(bundle), name]
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=30, check=True)


def test_life(systemd: FakeSystemd, runtime: Runtime) -> None:
    """One scope with the container's first process, and its end with the container's."""
    limits = {"memory": {"limit": 64 << 20}, "cpu": {"shares": 512, "quota": 25000, "period": 50000},
              "pids": {"limit": 20}}  # fmt: skip
    bundle = runtime.bundle("a", ["/payload", "sleep", "100"], scope("a", limits, TimeoutStopUSec="uint64 5"))
    detached(runtime, bundle, "a")
    ((unit, mode, properties, others),) = systemd.named("StartTransientUnit")
    assert (unit, mode, others) == ("t-a.scope", "replace", [])
    asked = dict(properties)
    assert len(asked) == len(properties), "a property twice"
    v2 = not Path("/sys/fs/cgroup/memory").is_dir()
    assert asked["PIDs"] == [runtime.state("a")["pid"]]
    assert (asked["Slice"], asked["Delegate"], asked["DefaultDependencies"]) == (SLICE, True, False)
    assert asked["MemoryMax" if v2 else "MemoryLimit"] == 64 << 20
    assert (asked["CPUQuotaPeriodUSec"], asked["CPUQuotaPerSecUSec"]) == (50000, 500000)
    assert asked["CPUWeight"] == 59 if v2 else asked["CPUShares"] == 512
    assert (asked["TasksMax"], asked["TimeoutStopUSec"]) == (20, 5)
    assert all(asked[f"{what}Accounting"] for what in ("Memory", "CPU", "Tasks"))
    # what is told to systemd is written as well, and the process is in the groups
    inside = runtime("exec", "a", "/payload", "cat", "/proc/self/cgroup").stdout
    place = {line.split(":")[1]: line.split(":")[2] for line in inside.splitlines()}
    assert place.get("memory", place.get("")) == "/"  # its own namespace
    held = [group / "t-a.scope" for group in groups()]
    assert any((g / "pids.max").exists() and (g / "pids.max").read_text() == "20\n" for g in held)
    assert all(str(asked["PIDs"][0]) in (g / "cgroup.procs").read_text().split() for g in held)

    runtime("update", "--memory", str(32 << 20), "--memory-swap", "-1", "--pids-limit", "-1", "a")
    ((unit, transient, changes),) = systemd.named("SetUnitProperties")
    assert (unit, transient) == ("t-a.scope", True)
    assert dict(changes)["TasksMax"] == MAX
    assert dict(changes)["MemoryMax" if v2 else "MemoryLimit"] == 32 << 20
    assert any((g / "pids.max").exists() and (g / "pids.max").read_text() == "max\n" for g in held)

    runtime("delete", "--force", "a")
    assert systemd.named("StopUnit") == [["t-a.scope", "replace"]]
    assert systemd.named("ResetFailedUnit") == [["t-a.scope"]]
    assert not systemd.units and not groups()
    assert set(systemd.uids) == {0}


def test_run_in_the_foreground_ends_its_scope(systemd: FakeSystemd, runtime: Runtime) -> None:
    runtime.run("b", ["/payload", "exit", "3"], scope("b"), code=3)
    assert [name for name, _ in systemd.calls] == ["StartTransientUnit", "StopUnit", "ResetFailedUnit"]
    assert not groups()


def test_default_names_and_devices(systemd: FakeSystemd, runtime: Runtime) -> None:
    def edit(spec: dict[str, Any]) -> None:
        spec["linux"]["cgroupsPath"] = f"{SLICE}::c"
        spec["linux"]["resources"] = {
            "devices": [
                {"allow": False, "access": "rwm"},
                {"allow": True, "type": "c", "major": 10, "minor": 200, "access": "rw"},
            ],
            "cpu": {"cpus": "0"},
        }

    runtime.run("c", ["/payload", "exit", "0"], edit)
    ((unit, _, properties, _),) = systemd.named("StartTransientUnit")
    assert unit == "c.scope"
    assert dict(properties)["AllowedCPUs"] == b"\x01"
    assert dict(properties)["DevicePolicy"] == "strict"
    allowed = dict(properties)["DeviceAllow"]
    assert ("/dev/char/10:200", "rw") in allowed and ("/dev/char/1:3", "rwm") in allowed
    assert ("char-pts", "rwm") in allowed, "a rule without a minor number is one of a driver"


def test_failed_unit_of_the_same_name_is_reset(systemd: FakeSystemd, runtime: Runtime) -> None:
    systemd.failed.add("t-d.scope")
    runtime.run("d", ["/payload", "exit", "0"], scope("d"))
    assert [name for name, _ in systemd.calls][:3] == [
        "StartTransientUnit",
        "ResetFailedUnit",
        "StartTransientUnit",
    ]


def test_unit_of_another_is_left_alone(systemd: FakeSystemd, runtime: Runtime) -> None:
    systemd.units.add("t-e.scope")
    error = runtime.run("e", ["/payload", "exit", "0"], scope("e"), code=None)
    assert error.code != 0 and "t-e.scope" in error.stderr and "UnitExists" in error.stderr, error
    assert "t-e.scope" in systemd.units, "the container of another was stopped"
    assert runtime("state", "e", code=None).code != 0


def test_job_that_fails(systemd: FakeSystemd, runtime: Runtime) -> None:
    systemd.result = "failed"
    error = runtime.run("f", ["/payload", "exit", "0"], scope("f"), code=None)
    assert error.code != 0 and "ended as failed" in error.stderr, error
    assert json.loads(runtime("list", "--format", "json").stdout or "[]") in (None, [])


@pytest.mark.parametrize("name", ["ExecStartPost", "Slice", "Delegate", "User", "OnFailure", "PIDs"])
def test_annotation_that_could_harm_the_host(systemd: FakeSystemd, runtime: Runtime, name: str) -> None:
    """CVE-2024-3154: an annotation of a container became any property of a unit of the host."""
    error = runtime.run("g", ["/payload", "exit", "0"], scope("g", **{name: "'x'"}), code=None)
    assert error.code != 0 and f"org.systemd.property.{name}" in error.stderr, error
    assert systemd.calls == [] and not groups()


@pytest.mark.parametrize("path", ["/a/b", "a:b", "a/b.slice:x:y", "SLICE:x:../y", "SLICE::", "a--b.slice::x"])
def test_path_that_is_no_unit(systemd: FakeSystemd, runtime: Runtime, path: str) -> None:
    def edit(spec: dict[str, Any]) -> None:
        spec["linux"]["cgroupsPath"] = path.replace("SLICE", SLICE)

    error = runtime.run("h", ["/payload", "exit", "0"], edit, code=None)
    assert error.code != 0 and "cgroupsPath" in error.stderr, error
    assert systemd.calls == []


def test_no_systemd(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence with the cause and the remedy, and nothing made."""
    if Path("/run/systemd/system").is_dir():
        pytest.skip("systemd runs here")
    monkeypatch.delenv("DBUS_SYSTEM_BUS_ADDRESS", raising=False)
    error = runtime.run("i", ["/payload", "exit", "0"], scope("i"), code=None)
    assert error.code == 1, error
    assert "systemd does not run on this machine" in error.stderr and "leave the option out" in error.stderr
    assert len(error.stderr.splitlines()) == 1
    assert not (runtime.directory / "state" / "i").exists()


def test_bus_that_hangs_up(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
    error = runtime.run("j", ["/payload", "exit", "0"], scope("j"), code=None)
    assert error.code != 0 and "/nonexistent/bus" in error.stderr, error
    assert not (runtime.directory / "state" / "j").exists()
