"""kill -9 of pyd and of the shim, at points drawn with a fixed seed: old state or new state, and nothing
left.
"""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.leaks import Snapshot
from tests.support.command import Pyd, wait_until
from tests.support.world import World

SEED = 20260101


def shims(world: World) -> dict[str, int]:
    """Container id -> pid of its shim."""
    found = {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            words = (directory / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"shim" in words and any(str(world.run_root).encode() in word for word in words):
            bundle = next(word for word in words if str(world.run_root).encode() in word)
            found[Path(bundle.decode()).name] = int(directory.name)
    return found


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def clean(pyd: Pyd, world: World, before: Snapshot) -> None:
    """The next command works, everything can be removed, and then nothing is left."""
    assert pyd("ps", "-a").code == 0
    left = pyd("ps", "-aq").out.split()
    if left:
        pyd("rm", "-f", "-v", *left)
    leaks: list[str] = []

    def nothing() -> bool:
        leaks[:] = Snapshot.take(world).leaked_since(before)
        return not leaks

    try:
        wait_until(nothing, 5)
    except AssertionError:
        raise AssertionError("\n".join(leaks)) from None


@pytest.fixture
def before(world: World, busybox: str) -> Snapshot:
    return Snapshot.take(world)


def test_killed_shim_is_reported_within_a_second(
    world: World, busybox: str, pyd: Pyd, name: str, before: Snapshot
) -> None:
    """And with it every process of the container, a child in a session of its own as well."""
    container = pyd(
        "run", "-d", "--name", name, "-p", "8080", busybox, "sh", "-c", "setsid sleep 777 & exec sleep 777"
    ).out
    init = pyd.pid(name)
    inside = wait_until(lambda: [int(p) for p in _cgroup_pids(world) if p != str(init)], 5)
    os.kill(shims(world)[container], signal.SIGKILL)
    start = time.monotonic()
    wait_until(lambda: pyd.state(name)["Status"] == "exited", 3)
    assert time.monotonic() - start < 1.5
    state = pyd.state(name)
    assert state["Running"] is False and state["ExitCode"] == 137
    assert "shim" in state["Error"] or "monitor" in state["Error"]
    wait_until(lambda: not alive(init) and not any(alive(pid) for pid in inside), 1)
    pyd("start", name)
    assert pyd.state(name)["Running"] is True
    clean(pyd, world, before)


def _cgroup_pids(world: World) -> list[str]:
    for directory in world.cgroups():
        pids = (directory / "cgroup.procs").read_text().split()
        if len(pids) > 1:
            return pids
    return []


def test_killed_shim_of_an_attached_run(
    world: World, busybox: str, pyd: Pyd, name: str, before: Snapshot
) -> None:
    process = pyd.popen("run", "--rm", "--name", name, busybox, "sh", "-c", "echo up; sleep 777")
    assert process.stdout
    process.stdout.readline()
    (pid,) = shims(world).values()
    os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=10)
    assert process.returncode == 137
    clean(pyd, world, before)


@pytest.mark.parametrize("number", range(12))
def test_kill_9_of_pyd_run(
    world: World, busybox: str, pyd: Pyd, name: str, before: Snapshot, number: int
) -> None:
    """`run` dies somewhere between its first and its last step; its name can be used again afterwards."""
    delay = random.Random(SEED + number).uniform(0.02, 0.25)
    process = pyd.popen("run", "-d", "--name", name, busybox, "sleep", "777")
    time.sleep(delay)
    process.kill()
    process.communicate()
    pyd("rm", "-f", name, code=None)
    pyd("run", "--rm", "--name", name, busybox, "true")
    clean(pyd, world, before)


@pytest.mark.parametrize("number", range(10))
def test_kill_9_of_a_starting_shim(
    world: World, busybox: str, pyd: Pyd, name: str, before: Snapshot, number: int
) -> None:
    """The shim dies in the middle of a start: `run` says so, with 125 or 137, and the next start works."""
    rng = random.Random(SEED * 2 + number)
    process = pyd.popen("run", "--name", name, busybox, "sleep", "777")
    found = wait_until(lambda: shims(world) or process.poll() is not None, 5)
    time.sleep(rng.uniform(0, 0.03))
    if isinstance(found, dict):
        for pid in found.values():
            os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=15)
    assert process.returncode in (125, 137), process.returncode
    pyd("rm", "-f", name, code=None)
    pyd("run", "--rm", "--name", name, busybox, "true")
    clean(pyd, world, before)


@pytest.mark.parametrize("number", range(6))
def test_kill_9_of_other_commands(
    world: World, busybox: str, pyd: Pyd, name: str, before: Snapshot, number: int
) -> None:
    rng = random.Random(SEED * 3 + number)
    for command in (
        ("stop", "-t", "0", name),
        ("rm", "-f", name),
        ("restart", "-t", "0", name),
        ("exec", name, "true"),
    ):
        pyd("rm", "-f", name, code=None)
        pyd("run", "-d", "--name", name, busybox, "sleep", "777")
        process = pyd.popen(*command)
        time.sleep(rng.uniform(0.03, 0.12))
        process.kill()
        process.communicate()
        status = pyd("inspect", "-f", "{{.State.Status}}", name, code=None)
        assert status.code == 1 or status.out in {"running", "exited", "removing", "created"}
    clean(pyd, world, before)


def test_containers_do_not_notice_that_pyd_died(world: World, busybox: str, pyd: Pyd, name: str) -> None:
    """The process that started it is killed; output, exit status and log are complete all the same."""
    process = pyd.popen(
        "run",
        "--name",
        name,
        busybox,
        "sh",
        "-c",
        "for i in 1 2 3 4 5 6; do echo $i; sleep 0.2; done; exit 3",
    )
    assert process.stdout
    process.stdout.readline()
    process.kill()
    process.communicate()
    assert pyd("wait", name).out == "3"
    assert pyd("logs", name).lines == ["1", "2", "3", "4", "5", "6"]


def test_cgroup_removed_and_run_root_lost(world: World, busybox: str, pyd: Pyd, name: str) -> None:
    """After a reboot nothing of the run-root is there: what ran is reported as ended and can be started."""
    import shutil

    pyd("run", "-d", "--name", name, busybox, "sleep", "777")
    (pid,) = shims(world).values()
    os.kill(pid, signal.SIGKILL)
    shutil.rmtree(world.run_root)
    wait_until(lambda: pyd.state(name)["Status"] == "exited", 5)
    pyd("start", name)
    assert pyd.state(name)["Running"] is True


def test_directories_that_no_row_knows_are_swept(world: World, busybox: str, pyd: Pyd) -> None:
    """What a kill between the row's deletion and the files' leaves: the next `ps` takes it away."""
    container = "ab" * 32
    bundle = world.run_root / "containers" / container
    files = world.data_root / "containers" / container
    (bundle / "rootfs").mkdir(parents=True)
    (bundle / "shim.sock").touch()
    (files / "diff").mkdir(parents=True)
    assert pyd("ps", "-q").out == ""
    assert not bundle.exists()
    assert not files.exists()
