"""Tables and the picture of the benchmarks."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from benches import results
from benches.bench import Cases
from benches.report import documents, goals, markdown, overview, svg
from benches.report.metrics import METRICS, number
from benches.results import Result

FACTS = {
    "cores": 2,
    "processor": "A & B <fast>",
    "kernel": "6.1",
    "cgroup": "v2",
    "filesystem": "tmpfs",
    "load": 0.1,
    "python": "3.12.1",
    "pyd": {"commit": "abc", "changed": False, "build": "release"},
    "versions": {"crun": "crun version 1.8.1", "dockerd": "Docker version 20.10.24+dfsg1, build x"},
}
START = Result(
    scenario="start",
    machine=FACTS,
    settings={},
    cases={
        "hot": {
            "floor": {"seconds": [0.002] * 6},
            "pyd-runtime": {"seconds": [0.004, 0.005, 0.006, 0.004, 0.005, 0.006], "cpu": [0.001] * 6},
            "crun": {"seconds": [0.02, None, 0.02, 0.02, 0.02, 0.02]},
            "pyd": {"seconds": [0.05] * 6},
            "docker": {"seconds": [1.25] * 6},
        }
    },
    left_out={"runc": "runc is not installed"},
    failures=[{"case": "hot", "engine": "crun", "message": "round 1: exit status 1"}],
)
FOUND = {"start": START}


def test_numbers_have_their_units() -> None:
    assert [number(value) for value in (0.123, 9.87, 12.34, 123.4)] == ["0.12", "9.87", "12.3", "123"]
    seconds = METRICS["seconds"]
    assert (seconds.text(0.0055), seconds.text(1.5)) == ("5.50 ms", "1.50 s")
    assert seconds.span(0.001, 0.002) == "1.00 to 2.00"
    assert METRICS["four"].text(99.5) == "99.5 /s"
    assert METRICS["memory_mib"].text(0.4) == "0.40 MiB"
    assert METRICS["monitor_mib"].text(0.0) == "none"


def test_a_scenario_names_every_engine_what_failed_and_what_is_left_out() -> None:
    text = markdown.scenario(START)
    assert "| pyd-runtime | 5.00 ms | 4.25 to 5.75 | 1.00 ms |  |" in text
    assert "| crun | 20.0 ms | 20.0 to 20.0, 1 failed |  | 0.25 x (0.20 to 0.30) |" in text
    assert "| docker | 1.25 s |" in text
    assert "0.04 x (0.04 to 0.04) |" in text  # pyd beside docker: each level has its own table
    assert "Left out: runc: runc is not installed." in text
    assert "Failed: crun, hot: round 1: exit status 1." in text
    assert [line.split(" |")[0] for line in text.splitlines() if line.startswith("| hot")] == [
        "| hot, OCI runtimes",
        "| hot, whole commands",
    ]


def test_the_overview_leaves_out_engines_without_figures() -> None:
    text = overview.tables(FOUND)
    assert "| | floor | pyd-runtime | crun |" in text
    assert "| `run` of `true`, until it is removed | 2.00 ms | 5.00 ms | 20.0 ms |" in text
    assert "| | pyd | docker |" in text
    assert "- `pyd-runtime run`: 2.50 x (2.00 to 3.00) floor, 0.25 x (0.20 to 0.30) crun" in text
    assert "Peers: crun 1.8.1, dockerd 20.10.24+dfsg1." in text
    assert "Left out: runc (runc is not installed)." in text
    assert "1 measurements failed" in text


def test_the_picture_is_well_formed_and_in_proportion() -> None:
    root = ElementTree.fromstring(documents.picture(FOUND))
    space = "{http://www.w3.org/2000/svg}"
    words = [node.text for node in root.iter(f"{space}text")]
    assert {"Start", "floor", "pyd-runtime", "crun", "5.00 ms"} <= set(words)
    assert any("A & B <fast>" in str(word) for word in words)
    widths = {
        node.get("fill"): float(str(node.get("width")))
        for node in root.iter(f"{space}rect")
        if node.get("height") == str(svg.BAR)
    }
    # the widest of each panel fills the same room: pyd-runtime is a quarter of crun
    bars = [node for node in root.iter(f"{space}rect") if node.get("height") == str(svg.BAR)]
    lengths = [float(str(node.get("width"))) for node in bars]
    assert lengths[1] / lengths[2] == pytest.approx(0.25, rel=0.01)
    assert set(widths) == set(svg.COLOURS.values())
    height = float(str(root.get("height")))
    assert all(float(str(node.get("y"))) < height for node in root.iter(f"{space}text"))


def test_documents_are_written_between_their_markers(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    page = f"before\n{documents.BEGIN}\nold\n{documents.END}\nafter\n"
    for name in ("README.md", "docs/benchmarks.md"):
        (tmp_path / name).write_text(page)
    written = documents.write(FOUND, tmp_path)
    assert [path.name for path in written] == ["README.md", "benchmarks.md", "benchmarks.svg"]
    text = (tmp_path / "README.md").read_text()
    assert text.startswith(f"before\n{documents.BEGIN}\n\n![")
    assert text.endswith(f"\n\n{documents.END}\nafter\n")
    assert "| | floor" in text
    assert "old" not in text
    assert documents.between(text, "x") == documents.between(page, "x")  # again and again
    with pytest.raises(ValueError, match="markers"):
        documents.between("no markers", "x")


def test_the_project_s_own_documents_have_the_markers() -> None:
    for name in ("README.md", "docs/benchmarks.md"):
        assert documents.between((documents.TOP / name).read_text(), "x")


def test_results_come_back_as_they_were_saved(tmp_path: Path) -> None:
    results.save(START, tmp_path)
    (tmp_path / "exec-20200101T000000.json").write_text(
        '{"scenario": "exec", "results": {}}'
    )  # an older form
    assert results.newest(tmp_path) == {"start": START}
    assert results.newest(tmp_path / "nosuch") == {}
    assert results.newest(tmp_path, since=time.time() + 60) == {}


def test_what_was_measured_on_a_disk_stands_beside_the_rest(tmp_path: Path) -> None:
    cases: Cases = {
        "5 layers, 799 MB, 31000 files": {"floor-pull": {"seconds": [2.0]}, "pyd": {"seconds": [3.0]}}
    }
    memory = replace(START, scenario="pull", cases=cases)
    disk = replace(memory, machine=memory.machine | {"filesystem": "ext4"})
    for index, result in enumerate((memory, disk)):
        results.save(result, tmp_path).rename(tmp_path / f"pull-{index}.json")
    found = results.newest(tmp_path)
    assert found == {"pull": memory, "pull on a disk": disk}
    assert "| the same onto a disk, 5 layers | 2.00 s | 3.00 s |" in overview.tables(found)
    goal = "pyd: `pull` onto a disk, 5 layers | at most 1.50 x floor-pull | 1.50 x | met"
    assert goal in goals.table(found)
    assert "### pull on a disk" in markdown.whole(found)


def test_a_result_without_pyd_is_still_a_report() -> None:
    only = replace(START, cases={"hot": {"crun": {"seconds": [0.02]}}})
    assert "| crun | 20.0 ms |" in markdown.scenario(only)
    assert "| | crun |" in overview.tables({"start": only})


def test_goals_are_judged_by_what_was_measured() -> None:
    text = goals.table(FOUND)
    assert "| pyd-runtime: `run`, hot | at most 0.35 x crun | 0.25 x (0.20 to 0.30) | met |" in text
    assert "| pyd-runtime: `run`, hot | at most 1.50 x floor | 2.50 x (2.00 to 3.00) | **missed** |" in text
    assert "| pyd-runtime: `run`, hot | at most 0.20 x runc |  | not measured |" in text
    assert "at least 2.00 x crun |  | not measured |" in text
    rates: dict[str, dict[str, list[float | None]]] = {
        "pyd-runtime": {"four": [90.0]},
        "crun": {"four": [30.0]},
    }
    parallel = replace(START, scenario="parallel", cases={"per second": rates})
    assert "at least 2.00 x crun | 3.00 x | met |" in goals.table({"parallel": parallel})
    slow = replace(START, cases={"hot": {"engine": {"seconds": [0.02]}}})
    assert "at most 10.0 ms | 20.0 ms | **missed** |" in goals.table({"start": slow})
