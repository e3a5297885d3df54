"""The benchmarks' order of measurement, and what they do with engines that fail or are absent."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import ClassVar

import pytest
from benches import bench, isolation, machine, spawner
from benches.engines import ENGINES, Engine, Place
from benches.engines.floor import filter_rules


class Fake(Engine):
    """An engine that starts nothing."""

    what: ClassVar[str] = "nothing"

    def __init__(self, name: str) -> None:
        self.__class__ = type(name, (Fake,), {"name": name})


def new_bench(tmp_path: Path, **settings: object) -> bench.Bench:
    return bench.Bench(bench.Settings(**settings), Place("tag", tmp_path, tmp_path))  # type: ignore[arg-type]


def test_every_round_measures_each_engine_once_in_changing_order(tmp_path: Path) -> None:
    order: list[str] = []

    def measure(engine: Engine) -> dict[str, float]:
        order.append(engine.name)
        return {"seconds": float(len(order))}

    engines = [Fake("a"), Fake("b"), Fake("c")]
    found = new_bench(tmp_path).interleave("case", engines, measure, 20, warm_up=1)
    rounds = [order[start : start + 3] for start in range(0, len(order), 3)]
    assert len(rounds) == 21
    assert all(sorted(part) == ["a", "b", "c"] for part in rounds)
    assert len({tuple(part) for part in rounds}) > 1
    assert all(len(found[name]["seconds"]) == 20 for name in "abc")
    assert 1.0 not in found["a"]["seconds"] + found["b"]["seconds"] + found["c"]["seconds"]  # the warm-up


def test_a_failed_round_is_reported_and_the_run_goes_on(tmp_path: Path) -> None:
    calls = iter(range(100))

    def measure(engine: Engine) -> dict[str, float]:
        if engine.name == "weak" and next(calls) == 1:
            raise spawner.Failed("exit status 1: no such thing")
        return {"seconds": 1.0}

    run = new_bench(tmp_path)
    found = run.interleave("case", [Fake("weak"), Fake("strong")], measure, 4, warm_up=0)
    assert found["weak"]["seconds"] == [1.0, None, 1.0, 1.0]
    assert found["strong"]["seconds"] == [1.0] * 4
    (failure,) = run.failures
    assert failure == {"case": "case", "engine": "weak", "message": "round 1: exit status 1: no such thing"}


def test_an_engine_that_fails_always_is_given_up_and_named(tmp_path: Path) -> None:
    def measure(engine: Engine) -> dict[str, float]:
        if engine.name == "broken":
            raise spawner.Failed("no")
        return {"seconds": 1.0}

    run = new_bench(tmp_path)
    found = run.interleave("case", [Fake("broken"), Fake("good")], measure, 10)
    assert list(found) == ["good"]
    assert run.failures[-1]["message"] == "given up after 3 failures in a row"


def test_what_is_not_installed_is_left_out_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    run = new_bench(tmp_path)
    with run.ready(["runc", "bwrap"]) as engines:
        assert engines == []
    assert run.left_out == {"runc": "runc is not installed", "bwrap": "bwrap is not installed"}
    assert list(tmp_path.iterdir()) == []
    assert run.failures == []


def test_that_pyd_itself_is_absent_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYD_RUNTIME", str(tmp_path / "nosuch"))
    run = new_bench(tmp_path)
    with run.ready(["pyd-runtime"]) as engines:
        assert engines == []
    (failure,) = run.failures
    assert failure["engine"] == "pyd-runtime"
    assert "No such file or directory" in failure["message"]


def test_an_engine_that_cannot_do_a_scenario_is_left_out_by_name(tmp_path: Path) -> None:
    run = new_bench(tmp_path, engines=("bwrap", "runc"))
    assert run.names("exec") == ["runc"]
    assert run.left_out == {"bwrap": "has no exec"}
    assert set(new_bench(tmp_path).names("split")) <= set(ENGINES)


def test_the_environment_of_a_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere")
    monkeypatch.setenv("PYD_DATA_ROOT", "/elsewhere")
    monkeypatch.setenv("PYD_RUNTIME", "/some/pyd-runtime")
    environ = isolation.environment()
    assert environ.keys().isdisjoint({"PYTHONDONTWRITEBYTECODE", "DOCKER_HOST", "PYD_DATA_ROOT"})
    assert environ["PYD_RUNTIME"] == "/some/pyd-runtime"
    assert "PYTHONDONTWRITEBYTECODE is unset" in capsys.readouterr().err


def test_what_an_engine_wrote_leaves_the_page_cache(tmp_path: Path) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    engine = Fake("Forgetful")
    engine.work = tmp_path / "state"
    file = engine.work / "below" / "file"
    file.parent.mkdir(parents=True)
    file.write_bytes(bytes(1 << 20))
    os.sync()
    (engine.work / "link").symlink_to("/dev/null")
    (engine.work / "gone").symlink_to("nowhere")
    os.mkfifo(engine.work / "fifo")
    engine.forget()
    assert file.read_bytes() == bytes(1 << 20)
    if machine.filesystem(tmp_path, mounts) == "tmpfs":
        pytest.skip("the pages of a tmpfs are the files themselves")
    engine.forget()
    assert resident(file) == 0


def resident(path: Path) -> int:
    """Bytes of a file that are in memory."""
    command = ["fincore", "--noheadings", "--bytes", "--output", "RES", str(path)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_the_file_system_is_that_of_the_nearest_mount() -> None:
    mounts = "\n".join(
        (
            "1 0 8:1 / / rw - ext4 /dev/sda rw",
            "2 1 0:9 / /tmp rw shared:1 - xfs /dev/sdb rw",
            "3 2 0:8 / /tmp/work rw - tmpfs tmpfs rw",
            "4 1 0:7 / /tm rw - btrfs none rw",
        )
    )
    assert machine.filesystem(Path("/tmp/work/engine"), mounts) == "tmpfs"
    assert machine.filesystem(Path("/tmp/other"), mounts) == "xfs"
    assert machine.filesystem(Path("/var"), mounts) == "ext4"


def test_the_floor_gets_every_rule_of_the_bundle() -> None:
    lines = filter_rules().splitlines()
    assert lines[0] == "default 1"
    assert "clone allow 0 SCMP_CMP_MASKED_EQ 2114060288 0" in lines
    assert "read allow" in lines
    assert len(lines) > 300
