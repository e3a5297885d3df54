"""Many at once, many in sequence."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.leaks import Snapshot
from tests.support.command import Pyd, wait_until
from tests.support.world import World


def test_four_at_once(busybox: str, pyd: Pyd) -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(
            pool.map(
                lambda n: pyd("run", "--rm", busybox, "sh", "-c", f"echo {n}; exit {n}", code=n), range(4)
            )
        )
    assert [result.out for result in results] == ["0", "1", "2", "3"]


@pytest.mark.timeout(300)
def test_two_hundred_in_sequence(world: World, busybox: str, pyd: Pyd) -> None:
    before = Snapshot.take(world)
    for number in range(200):
        assert pyd("run", "--rm", busybox, "echo", number).out == str(number)
    wait_until(lambda: not Snapshot.take(world).leaked_since(before), 5, "what 200 containers left")


def test_two_hundred_through_the_engine(world: World, busybox: str, pyd: Pyd) -> None:
    """In one process: descriptors and threads stay what they were."""
    from pyd import Engine

    engine = Engine()
    engine.run(busybox, ["true"], network="none", remove=True)
    descriptors = len(os.listdir("/proc/self/fd"))
    threads = len(os.listdir("/proc/self/task"))
    for number in range(200):
        result = engine.run(busybox, ["echo", str(number)], network="none", remove=True)
        assert (result.exit_code, result.stdout) == (0, f"{number}\n".encode())
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 1
    assert len(os.listdir("/proc/self/task")) == threads


def test_same_name_from_eight_processes(busybox: str, pyd: Pyd, name: str) -> None:
    """One wins; the others are told who has it."""
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: pyd("create", "--name", name, busybox, code=None), range(8)))
    assert sorted(result.code for result in results) == [0] + [125] * 7
    assert all("already in use" in result.stderr for result in results if result.code)


def test_start_stop_rm_races(busybox: str, pyd: Pyd, name: str) -> None:
    """Every command ends, with success or a sentence; afterwards the store is consistent."""
    pyd("create", "--name", name, busybox, "sleep", "100")
    commands = [
        ("start", name),
        ("stop", "-t", "0", name),
        ("restart", "-t", "0", name),
        ("inspect", name),
        ("ps", "-a"),
    ] * 3
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda words: pyd(*words, code=None, timeout=60), commands))
    assert not [result for result in results if "Traceback" in result.stderr]
    pyd("rm", "-f", name)
    assert pyd("ps", "-aq").out == ""


def test_many_execs_at_once(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "-d", "--name", name, busybox, "sleep", "1000")
    with ThreadPoolExecutor(8) as pool:
        results = list(
            pool.map(lambda n: pyd("exec", name, "sh", "-c", f"echo {n}; exit {n}", code=n).out, range(24))
        )
    assert results == [str(n) for n in range(24)]


def test_concurrent_starts_of_one_container(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("create", "--name", name, busybox, "sleep", "1000")
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda _: pyd("start", name), range(5)))
    assert pyd.state(name)["Running"] is True
    assert pyd("top", name).stdout.count("sleep 1000") == 1


def test_idle_containers_cost_no_processes_but_their_shims(world: World, busybox: str, pyd: Pyd) -> None:
    before = set(Snapshot.take(world).processes)
    for _ in range(3):
        pyd("run", "-d", busybox, "sleep", "1000")
    new = Snapshot.take(world).processes - before
    assert len(new) == 6, "a shim and an init each"
    assert not [line for line in new if "python" in line]
    assert Path("/proc").exists()
