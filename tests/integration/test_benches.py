"""A few rounds of the benchmarks: they measure, name what they leave out, and leave nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support.world import World

TOP = Path(__file__).parents[2]


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
        # a runtime does all that the floor does: one that is twice as fast has done something less
        assert 0 < min(floor) / 2 < min(runtime) < 10
    assert found["machine"]["filesystem"] == "tmpfs"
    assert found["machine"]["pyd"]["bytes"] > 0
    assert "| pyd-runtime |" in done.stdout


def test_the_three_commands_and_the_memory_of_sleepers(world: World, tmp_path: Path) -> None:
    for scenario, metric in (("split", "create"), ("density", "memory_mib"), ("parallel", "four")):
        done = benches(tmp_path, scenario, "--quick", "--engine", "pyd-runtime")
        assert done.returncode == 0, done.stdout + done.stderr
        (document,) = (tmp_path / "results").glob(f"{scenario}-*.json")
        (by_engine, *_) = json.loads(document.read_text())["cases"].values()
        assert all(value is not None for value in by_engine["pyd-runtime"][metric])


def test_a_runtime_that_cannot_run_is_named_and_is_a_failure(world: World, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho cannot do that >&2\nexit 1\n")
    broken.chmod(0o755)
    done = benches(tmp_path, "start", "--quick", "--engine", "pyd-runtime", PYD_RUNTIME=str(broken))
    assert done.returncode == 1
    assert "left out: pyd-runtime: broken … " in done.stderr
    assert "exit status 1: cannot do that" in done.stdout
