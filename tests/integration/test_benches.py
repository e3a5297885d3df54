"""A few rounds of the benchmarks: they measure, name what they leave out, and leave nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from benches.engines import Place
from benches.engines.floor import Floor
from benches.engines.runtimes import SPEC
from benches.isolation import remove_cgroups
from benches.spawner import Failed, Lane

from tests.support.world import World

TOP = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="their C programs need a compiler: gcc")


def benches(tmp_path: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs them, and sees that their cgroups and files are gone."""
    environ = os.environ | {"TMPDIR": str(tmp_path), "PYD_BENCH_RESULTS": str(tmp_path / "results")}
    with subprocess.Popen(
        [sys.executable, "-m", "benches", *words],
        cwd=TOP,
        env=environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        out, error = process.communicate()
    tag = f"pyd-bench-{process.pid}"
    assert [*Path("/sys/fs/cgroup").glob(tag), *Path("/sys/fs/cgroup").glob(f"*/{tag}")] == []
    assert list(tmp_path.glob("pyd-bench-*")) == []
    return subprocess.CompletedProcess(process.args, process.returncode, out, error)


def test_start_is_measured_beside_the_floor(world: World, tmp_path: Path) -> None:
    done = benches(tmp_path, "start", "--quick", "--engine", "pyd-runtime,floor,nsenter")
    assert done.returncode == 0, done.stdout + done.stderr
    (document,) = (tmp_path / "results").glob("start-*.json")
    found = json.loads(document.read_text())
    assert found["left_out"] == {"nsenter": "has no start"}
    assert found["failures"] == []
    for case in ("hot", "cold"):
        runtime = found["cases"][case]["pyd-runtime"]["seconds"]
        floor = found["cases"][case]["floor"]["seconds"]
        assert len(runtime) == len(floor) == {"hot": 3, "cold": 2}[case]
        assert all(0 < seconds < 60 for seconds in runtime + floor)
    assert found["machine"]["filesystem"] == "tmpfs"
    assert found["machine"]["pyd"]["bytes"] > 0
    assert "| pyd-runtime |" in done.stdout


def test_the_three_commands_and_the_memory_of_sleepers(world: World, tmp_path: Path) -> None:
    metrics = {"split": "create", "density": "memory_mib", "parallel": "four"}
    done = benches(tmp_path, *metrics, "--quick", "--engine", "pyd-runtime")
    assert done.returncode == 0, done.stdout + done.stderr
    for scenario, metric in metrics.items():
        (document,) = (tmp_path / "results").glob(f"{scenario}-*.json")
        (by_engine, *_) = json.loads(document.read_text())["cases"].values()
        assert all(value is not None for value in by_engine["pyd-runtime"][metric])


def test_a_runtime_that_cannot_run_is_named_and_is_a_failure(world: World, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho cannot do that >&2\nexit 1\n")
    broken.chmod(0o755)
    done = benches(tmp_path, "start", "--quick", "--engine", "pyd-runtime", PYD_RUNTIME=str(broken))
    assert done.returncode == 1
    assert "left out: pyd-runtime: broken: exit status 1: cannot do that" in done.stderr
    assert "Failed: pyd-runtime, preparation: broken: exit status 1" in done.stdout


@pytest.fixture
def lane(world: World, tmp_path: Path) -> Iterator[Lane]:
    opened = Lane.spawner(dict(os.environ), tmp_path / "output")
    yield opened
    opened.close()


def test_the_spawner_times_a_command_and_knows_its_peak(lane: Lane) -> None:
    timing = lane.run(["sleep", "0.1"])
    assert 0.1 <= timing.seconds < 2
    assert timing.cpu < 0.1
    quiet = lane.run(["true"]).peak_kib
    big = lane.run([sys.executable, "-c", "bytearray(64 << 20)"]).peak_kib
    assert quiet < 8 << 10  # nothing of the parent's is counted
    assert big > 64 << 10


def test_the_spawner_says_how_a_command_failed(lane: Lane) -> None:
    with pytest.raises(Failed, match="exit status 3: out of order"):
        lane.run(["sh", "-c", "echo out of order >&2; exit 3"])
    with pytest.raises(Failed, match="SIGKILL"):
        lane.run(["sh", "-c", "kill -KILL $$"])
    with pytest.raises(Failed, match="No such file or directory"):
        lane.run(["/nonexistent"])
    lane.run(["true"])  # and goes on


def test_the_spawner_waits_for_what_a_command_left_running(lane: Lane, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    left = lane.run(["sh", "-c", f"sleep 0.3 & echo $! > {pid_file}"])
    assert left.seconds < 0.3
    pid = int(pid_file.read_text())
    lane.gone(pid)
    assert not Path(f"/proc/{pid}").exists()


def test_the_floor_does_what_the_bundle_asks(world: World, rootfs: Path, tmp_path: Path) -> None:
    """A floor that left something out would flatter nobody but itself."""
    place = Place(f"pyd-bench-test-{os.getpid()}", tmp_path, rootfs)
    spec = json.loads(SPEC.read_text())
    script = (
        "cat /proc/self/status /proc/self/mountinfo /proc/self/cgroup; mount -t tmpfs none /tmp; hostname"
    )
    try:
        floor = Floor(place)
        command = [*floor.start_command()[:-1], "sh", "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        floor.close()
    finally:
        remove_cgroups(place.tag)
    assert "Seccomp:\t2" in done.stdout, done.stderr
    assert "CapEff:\t00000000a80425fb" in done.stdout
    assert "CapBnd:\t00000000a80425fb" in done.stdout
    assert done.stdout.splitlines()[-1] == spec["hostname"]
    assert "mount" in done.stderr  # the filter and the missing capability refuse it
    for mount in spec["mounts"]:
        assert f" {mount['destination']} " in done.stdout
    for path in spec["linux"]["readonlyPaths"]:
        if Path(path).exists():
            assert f" {path} " in done.stdout
    groups = [line for line in done.stdout.splitlines() if line.count(":") == 2 and line[0].isdigit()]
    assert groups
    assert all(f"/{place.tag}/" in line for line in groups)


def test_a_renewed_engine_is_empty_and_keeps_what_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    floor = Floor(Place("pyd-bench-test", tmp_path, tmp_path))
    try:
        first = floor.work
        (first / "image").touch()
        floor.renew()
        assert floor.work != first
        assert not (floor.work / "image").exists()
        assert (first / "image").exists()
        monkeypatch.setattr(floor, "prepare", lambda: os.stat(tmp_path / "no daemon"))
        with pytest.raises(Failed, match=r"in a new state: .*no daemon"):
            floor.renew()
    finally:
        floor.close()
