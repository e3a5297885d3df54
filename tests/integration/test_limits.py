"""Memory, processor and process limits hold, and what they did is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import Pyd, wait_until
from tests.support.world import World


def test_memory_limit_kills_and_is_noted(payload: Path, busybox: str, pyd: Pyd, name: str) -> None:
    pyd(
        "run",
        "--name",
        name,
        "-m",
        "20m",
        "-v",
        f"{payload}:/payload:ro",
        busybox,
        "/payload",
        "oom",
        code=137,
    )
    state = pyd.state(name)
    assert state["OOMKilled"] is True
    assert state["ExitCode"] == 137


def test_oom_of_a_child_is_noted(payload: Path, busybox: str, pyd: Pyd, name: str) -> None:
    script = "/payload oom; echo status $?; exit 5"
    pyd(
        "run",
        "--name",
        name,
        "-m",
        "20m",
        "-v",
        f"{payload}:/payload:ro",
        busybox,
        "sh",
        "-c",
        script,
        code=5,
    )
    assert pyd.state(name)["OOMKilled"] is True


def test_without_a_limit_nothing_is_noted(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "--name", name, busybox, "sh", "-c", "kill -9 $$; exit 1", code=None)
    assert pyd.state(name)["OOMKilled"] is False


def test_cpus(payload: Path, busybox: str, pyd: Pyd) -> None:
    """Half a processor for 2 s is 1 s of processor time, whatever the machine does besides."""
    mount = f"{payload}:/payload:ro"
    milliseconds = int(pyd("run", "--rm", "--cpus", "0.5", "-v", mount, busybox, "/payload", "spin", "2").out)
    # the kernel settles the account once a period: some periods may be overdrawn
    assert 500 < milliseconds < 1500


def test_pids_limit(payload: Path, busybox: str, pyd: Pyd) -> None:
    mount = f"{payload}:/payload:ro"
    out = pyd("run", "--rm", "--pids-limit", "10", "-v", mount, busybox, "/payload", "fork-bomb", "100").out
    children, _, reason = out.partition(" children, refused: ")
    assert int(children) <= 10
    assert "Resource temporarily unavailable" in reason


def test_cpuset(busybox: str, pyd: Pyd) -> None:
    out = pyd(
        "run", "--rm", "--cpuset-cpus", "0", busybox, "grep", "Cpus_allowed_list", "/proc/self/status"
    ).out
    assert out.split() == ["Cpus_allowed_list:", "0"]


def test_update_a_running_one(world: World, busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "-d", "--name", name, "-m", "64m", busybox, "sleep", "1000")
    pyd("update", "-m", "32m", "--memory-swap", "64m", "--pids-limit", "7", name)
    assert pyd.inspect(name)["HostConfig"]["Memory"] == 32 << 20
    values = {
        file.read_text().strip()
        for directory in world.cgroups()
        for file in (directory / "memory.limit_in_bytes", directory / "memory.max", directory / "pids.max")
        if file.exists()
    }
    assert {str(32 << 20), "7"} <= values


def test_stats(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "-d", "--name", name, "-m", "64m", busybox, "sh", "-c", "while :; do :; done")
    line = pyd("stats", "--no-stream", "--format", "{{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.PIDs}}", name).out
    shown, cpu, used, _, limit, pids = line.split()
    assert shown == name
    assert float(cpu.rstrip("%")) > 20
    assert used.endswith("iB") and limit == "64MiB"
    assert int(pids) >= 1


def test_top_shows_the_processes(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "-d", "--name", name, busybox, "sleep", "1234")
    assert "sleep 1234" in pyd("top", name).stdout


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("-m", "1k", "Minimum memory limit"),
        ("-m", "12x", "invalid"),
        ("--cpus", "-1", "cpus"),
        ("--cpuset-cpus", "900", "CPUs"),
        ("--pids-limit", "abc", "invalid"),
        ("--blkio-weight", "5000", "weight"),
        ("--ulimit", "nofile=9:5", "ulimit"),
    ],
)
def test_senseless_limits(busybox: str, pyd: Pyd, option: str, value: str, message: str) -> None:
    assert message.lower() in pyd("run", "--rm", option, value, busybox, "true", code=125).stderr.lower()


def test_rlimit_above_the_hosts_is_clamped_with_a_warning(busybox: str, pyd: Pyd) -> None:
    """A host without CAP_SYS_RESOURCE cannot raise a hard limit; a container starts there all the same."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    result = pyd("run", "--rm", "--ulimit", "nofile=1048576:1048576", busybox, "sh", "-c", "ulimit -Hn")
    assert result.out in {str(hard), "1048576"}


def test_cgroup_is_gone_after_the_end(world: World, busybox: str, pyd: Pyd) -> None:
    pyd("run", "--rm", "-m", "64m", busybox, "true")
    wait_until(lambda: not world.cgroups(), 2, "cgroups of a container that ended")
