"""Results on disk: one JSON document per scenario and run, with every sample, in benches/results/."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benches.bench import Bench, Cases
from benches.programs import HERE
from benches.stats import Samples

RESULTS = Path(os.environ.get("PYD_BENCH_RESULTS") or HERE / "results")


ON_DISK = " on a disk"
"""Behind a scenario's name when its state was not on a tmpfs (`--work DIR`)."""

ByEngine = Mapping[str, Mapping[str, Samples]]
"""engine -> metric -> samples."""


@dataclass(frozen=True)
class Result:
    """What one scenario found. Times are in seconds, memory in MiB."""

    scenario: str
    machine: dict[str, Any]
    settings: dict[str, Any]
    cases: Cases
    left_out: dict[str, str]
    """engine -> why."""
    failures: list[dict[str, str]]
    """Each with case, engine, message."""

    @property
    def name(self) -> str:
        """What the tables call it: on a disk it is another measurement."""
        return self.scenario + ("" if self.machine.get("filesystem", "tmpfs") == "tmpfs" else ON_DISK)

    @classmethod
    def of(cls, scenario: str, machine: dict[str, Any], bench: Bench, cases: Cases) -> Result:
        return cls(scenario, machine, asdict(bench.settings), cases, bench.left_out, bench.failures)


def save(result: Result, directory: Path = RESULTS) -> Path:
    directory.mkdir(exist_ok=True, parents=True)
    path = directory / f"{result.scenario}-{time.strftime('%Y%m%dT%H%M%S')}.json"
    text = json.dumps(asdict(result), indent=1, default=float)
    path.write_text(text + "\n")
    return path


def newest(directory: Path = RESULTS, since: float = 0) -> dict[str, Result]:
    """name -> its last result, of those written after `since` (seconds of the epoch)."""
    found: dict[str, Result] = {}
    for path in sorted(directory.glob("*.json")):
        if path.stat().st_mtime < since:
            continue
        document = json.loads(path.read_text())
        if document.keys() == Result.__dataclass_fields__.keys():  # not one of an older form
            result = Result(**document)
            found[result.name] = result
    return found


def case_of(result: Result, beginning: str) -> tuple[str, ByEngine]:
    """The case that begins so: some carry a number."""
    for case, by_engine in result.cases.items():
        if case.startswith(beginning):
            return case, by_engine
    return beginning, {}
