"""What pyd means to reach, beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benches.report.markdown import comparison, value_of
from benches.report.metrics import METRICS, number
from benches.results import ON_DISK, Result, case_of
from benches.stats import ratio, summary


@dataclass(frozen=True)
class Goal:
    """A bound for a ratio of two engines' medians, or, without `other`, for a median itself (s, MiB)."""

    title: str
    scenario: str
    case: str
    metric: str
    subject: str
    other: str
    bound: float
    at_most: bool = True


DISK = "pull" + ON_DISK
GOALS = (
    Goal("`run`, hot", "start", "hot", "seconds", "pyd-runtime", "crun", 0.35),
    Goal("`run`, hot", "start", "hot", "seconds", "pyd-runtime", "runc", 0.2),
    Goal("`run`, hot", "start", "hot", "seconds", "pyd-runtime", "floor", 1.5),
    Goal("`run`, cold", "start", "cold", "seconds", "pyd-runtime", "crun", 0.6),
    Goal("`run`, cold, on cgroup v2 alone", "start", "cold", "seconds", "pyd-runtime-v2", "floor-v2", 2),
    Goal("`exec`, hot", "exec", "hot", "seconds", "pyd-runtime", "crun", 0.6),
    Goal("four at once", "parallel", "per second", "four", "pyd-runtime", "crun", 2, at_most=False),
    Goal("whole `run --rm`, hot", "start", "hot", "seconds", "pyd", "podman", 0.8),
    Goal("whole `run --rm`, hot", "start", "hot", "seconds", "pyd", "docker", 0.5),
    Goal("`Engine.run`, hot", "start", "hot", "seconds", "engine", "", 0.010),
    Goal("whole `exec`, hot", "exec", "hot", "seconds", "pyd", "docker", 0.5),
    Goal("monitor with its log, each of many", "density", "", "monitor_mib", "pyd", "", 0.8),
    Goal("removal of 100", "density", "100 ", "remove_all", "pyd", "", 1.5),
    Goal("`pull`, 5 layers", "pull", "5 layers", "seconds", "pyd", "floor-pull", 1.5),
    Goal("`pull`, 1 layer", "pull", "1 layer", "seconds", "pyd", "floor-pull", 1.5),
    Goal("`pull`, 40 layers", "pull", "40 layers", "seconds", "pyd", "floor-pull", 1.5),
    Goal("`pull`, 5 layers", "pull", "5 layers", "seconds", "pyd", "docker", 0.25),
    Goal("`pull`, 1 layer", "pull", "1 layer", "seconds", "pyd", "docker", 0.357),
    Goal("`pull`, 40 layers", "pull", "40 layers", "seconds", "pyd", "docker", 0.167),
    Goal("`pull` onto a disk, 5 layers", DISK, "5 layers", "seconds", "pyd", "floor-pull", 1.5),
    Goal("`pull` onto a disk, 1 layer", DISK, "1 layer", "seconds", "pyd", "floor-pull", 1.5),
    Goal("`pull` onto a disk, 40 layers", DISK, "40 layers", "seconds", "pyd", "floor-pull", 1.5),
    Goal("`pull` onto a disk, 5 layers", DISK, "5 layers", "seconds", "pyd", "docker", 0.25),
    Goal("`pull` onto a disk, 1 layer", DISK, "1 layer", "seconds", "pyd", "docker", 0.357),
    Goal("`pull` onto a disk, 40 layers", DISK, "40 layers", "seconds", "pyd", "docker", 0.167),
    Goal("memory of `pull`, 5 layers", "pull", "5 layers", "command_peak_mib", "pyd", "", 200),
    Goal("memory of `pull`, 1 layer", "pull", "1 layer", "command_peak_mib", "pyd", "", 200),
    Goal("`push`, 5 layers", "push", "5 layers", "seconds", "pyd", "docker", 0.125),
    Goal("whole `diff`, 20,000 files", "changes", "diff, 20000", "seconds", "pyd", "", 0.1),
    Goal("whole `commit`, 20,000 files", "changes", "commit, 20000", "seconds", "pyd", "", 0.5),
    Goal("`build`, 12 steps, new", "build", "12 steps, new", "seconds", "pyd", "docker", 0.25),
    Goal("`build`, 12 steps, unchanged", "build", "12 steps, unchanged", "seconds", "pyd", "docker", 1),
    Goal("`build`, 20,000 files, new", "build", "COPY of 20000 files, new", "seconds", "pyd", "buildah", 0.2),
    Goal(
        "`build`, 20,000 files, unchanged",
        "build",
        "COPY of 20000 files, unchanged",
        "seconds",
        "pyd",
        "",
        0.3,
    ),
    Goal("`build`, 3 stages of 1 s", "build", "3 stages", "seconds", "pyd", "", 1.3),
)


def table(found: Mapping[str, Result]) -> str:
    """Goals whose engines were not measured are in the table, without a figure."""
    lines = ["| goal | bound | measured | |", "|---|---|---|---|"]
    for goal in GOALS:
        text, met = measured(goal, found)
        verdict = {True: "met", False: "**missed**", None: "not measured"}[met]
        lines.append(f"| {goal.subject}: {goal.title} | {_bound(goal)} | {text} | {verdict} |")
    return "\n".join(lines)


def measured(goal: Goal, found: Mapping[str, Result]) -> tuple[str, bool | None]:
    """What was measured, in words, and whether the goal is met."""
    if goal.scenario not in found:
        return "", None
    _, by_engine = case_of(found[goal.scenario], goal.case)
    subject, other = by_engine.get(goal.subject, {}), by_engine.get(goal.other, {})
    if not goal.other:
        median = summary(subject.get(goal.metric, ()))
        value, text = (median.median if median else None), value_of(goal.metric, subject)
    else:
        quotient = ratio(subject.get(goal.metric, ()), other.get(goal.metric, ()))
        value, text = (quotient.value if quotient else None), comparison(subject, other, goal.metric)
    if value is None:
        return "", None
    return text, value <= goal.bound if goal.at_most else value >= goal.bound


def _bound(goal: Goal) -> str:
    word = "at most" if goal.at_most else "at least"
    if not goal.other:
        return f"{word} {METRICS[goal.metric].text(goal.bound)}"
    return f"{word} {number(goal.bound)} x {goal.other}"
