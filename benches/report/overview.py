"""The README's two tables: what is asked for most, an engine per column."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benches.report.markdown import comparison, machine, value_of
from benches.report.metrics import main_metric
from benches.results import ON_DISK, Result, case_of


@dataclass(frozen=True)
class Row:
    title: str
    scenario: str
    case: str
    """Or the beginning of one: some carry a number."""
    metric: str


PICTURE = "docs/benchmarks.svg"
ROWS = (
    Row("`run` of `true`, until it is removed", "start", "hot", "seconds"),
    Row("the same, after 150 ms of rest", "start", "cold", "seconds"),
    Row("`create`, `start`, `delete`", "split", "hot", "seconds"),
    Row("`exec` of `true`", "exec", "hot", "seconds"),
    Row("the same, after 150 ms of rest", "exec", "cold", "seconds"),
    Row("starts per second, one at a time", "parallel", "per second", "one"),
    Row("starts per second, four at once", "parallel", "per second", "four"),
    Row("start of each of many, detached", "density", "", "start_each"),
    Row("memory of each, monitor", "density", "", "monitor_mib"),
    Row("memory of each, monitor and kernel", "density", "", "memory_mib"),
    Row("removal of all of them", "density", "", "remove_all"),
    Row("`load`, {case}", "unpack", "5 layers", "seconds"),
    Row("`load`, {case}", "unpack", "1 layer", "seconds"),
    Row("`load`, {case}", "unpack", "40 layers", "seconds"),
    Row("`pull`, {case}", "pull", "5 layers", "seconds"),
    Row("`pull`, {case}", "pull", "1 layer", "seconds"),
    Row("`pull`, {case}", "pull", "40 layers", "seconds"),
    Row("the same onto a disk, 5 layers", "pull" + ON_DISK, "5 layers", "seconds"),
    Row("the same onto a disk, 1 layer", "pull" + ON_DISK, "1 layer", "seconds"),
    Row("the same onto a disk, 40 layers", "pull" + ON_DISK, "40 layers", "seconds"),
    Row("`push`, {case}", "push", "5 layers", "seconds"),
    Row("`push`, {case}", "push", "1 layer", "seconds"),
    Row("`push`, {case}", "push", "40 layers", "seconds"),
    Row("`save`, {case}", "save", "5 layers", "seconds"),
    Row("`save`, {case}", "save", "1 layer", "seconds"),
    Row("{case} written", "changes", "diff", "seconds"),
    Row("{case} written", "changes", "commit", "seconds"),
    Row("`build`, {case}", "build", "12 steps, new", "seconds"),
    Row("`build`, {case}", "build", "12 steps, unchanged", "seconds"),
    Row("`build`, {case}", "build", "COPY of 20000 files, new", "seconds"),
    Row("`build`, {case}", "build", "COPY of 20000 files, unchanged", "seconds"),
    Row("`build`, {case}", "build", "3 stages", "seconds"),
)
RUNTIMES = ("floor", "pyd-runtime", "crun", "youki", "runc")
COMMANDS = ("floor", "engine", "pyd", "podman", "docker", "docker-buildkit", "buildah", "ctr", "skopeo")
FLOORS = {
    RUNTIMES: {"exec": "nsenter"},
    COMMANDS: {"start": "floor-overlay", "parallel": "floor-overlay", "pull": "floor-pull"},
}
"""Which engine is the floor of a scenario, where it is not the one of that name."""
CLAIMS = (
    ("`pyd-runtime run`", "start", "hot", "pyd-runtime", ("floor", "crun", "runc")),
    ("the same after a rest", "start", "cold", "pyd-runtime", ("floor", "crun", "runc")),
    ("on cgroup v2 alone, after a rest", "start", "cold", "pyd-runtime-v2", ("floor-v2", "runc-v2")),
    ("`pyd-runtime exec`", "exec", "hot", "pyd-runtime", ("crun", "runc")),
    ("four at once (more is better)", "parallel", "per second", "pyd-runtime", ("floor", "crun", "runc")),
    ("`pyd run --rm`", "start", "hot", "pyd", ("podman", "docker", "ctr")),
    ("`pyd exec`", "exec", "hot", "pyd", ("podman", "docker", "ctr")),
    ("`pyd build`", "build", "12 steps, new", "pyd", ("docker", "docker-buildkit", "buildah")),
)


def engine_of(column: str, columns: Sequence[str], scenario: str) -> str:
    """The engine whose figures stand in a column."""
    floors = FLOORS.get(tuple(columns), {})
    return floors.get(scenario.removesuffix(ON_DISK), column) if column == "floor" else column


def tables(found: Mapping[str, Result]) -> str:
    parts = [
        f"![The same figures as bars]({PICTURE})",
        table(found, RUNTIMES),
        table(found, COMMANDS),
        ratios(found),
    ]
    some = next(iter(found.values()))
    versions = ", ".join(_version(name, line) for name, line in some.machine["versions"].items())
    parts.append(f"{machine(some.machine)}{_elsewhen(found, some)} Peers: {versions}.")
    measured = {engine for result in found.values() for case in result.cases.values() for engine in case}
    # an engine of another kind that one scenario cannot ask is no engine that is missing
    missing = {
        name: reason
        for result in found.values()
        for name, reason in result.left_out.items()
        if name not in measured
    }
    if missing:
        parts.append("Left out: " + "; ".join(f"{name} ({why})" for name, why in missing.items()) + ".")
    failed = sum(len(result.failures) for result in found.values())
    if failed:
        parts.append(f"{failed} measurements failed; [docs/benchmarks.md](docs/benchmarks.md) names them.")
    return "\n\n".join(part for part in parts if part)


def _elsewhen(found: Mapping[str, Result], some: Result) -> str:
    """Which scenarios were measured with another pyd than the sentence before says."""
    others: dict[str, list[str]] = {}
    for name, result in found.items():
        commit = result.machine["pyd"]["commit"]
        if commit != some.machine["pyd"]["commit"]:
            others.setdefault(commit or "?", []).append(name)
    parts = [f"{', '.join(names)} by pyd {commit}" for commit, names in others.items()]
    return f" Measured apart: {'; '.join(parts)}." if parts else ""


def _version(name: str, line: str) -> str:
    """`Docker version 20.10.24+dfsg1, build x` is said as `dockerd 20.10.24+dfsg1`."""
    found = re.search(r"\d+\.\d[^\s,]*", line)
    return f"{name} {found[0]}" if found else name


def table(found: Mapping[str, Result], engines: Sequence[str]) -> str:
    """Rows and columns without any figure are left out."""
    filled = []
    for row in ROWS:
        if row.scenario not in found:
            continue
        case, by_engine = case_of(found[row.scenario], row.case)
        cells = {
            name: value_of(row.metric, by_engine.get(engine_of(name, engines, row.scenario), {}))
            for name in engines
        }
        if any(cells[name] for name in engines if name != "floor"):
            filled.append((row.title.format(case=case), cells))
    columns = [name for name in engines if any(cells[name] for _, cells in filled)]
    if not columns:
        return ""
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {title} | {' | '.join(cells[name] for name in columns)} |" for title, cells in filled]
    return "\n".join(lines)


def ratios(found: Mapping[str, Result]) -> str:
    """Medians over medians, with their intervals, as a list."""
    lines = []
    for title, scenario, case, subject, others in CLAIMS:
        by_engine = found[scenario].cases.get(case, {}) if scenario in found else {}
        if subject not in by_engine:
            continue
        parts = [
            f"{comparison(by_engine[subject], by_engine[other], main_metric(scenario))} {other}"
            for other in others
            if other in by_engine
        ]
        if parts:
            lines.append(f"- {title}: {', '.join(parts)}")
    return "\n".join(lines)
