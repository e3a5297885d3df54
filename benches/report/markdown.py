"""All of a result as Markdown: a table per case and level, with spread and ratios."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benches.engines import ENGINES, SUBJECTS
from benches.report.metrics import METRICS, main_metric, number
from benches.results import ON_DISK, ByEngine, Result
from benches.scenarios import PURPOSE
from benches.stats import Samples, ratio, summary

LEVELS = {
    "runtime": "OCI runtimes",
    "v2": "OCI runtimes on cgroup v2 alone",
    "command": "whole commands",
    "library": "from Python",
}
FEWEST = 5
"""Rounds, for an interval to be worth printing."""


def whole(found: Mapping[str, Result]) -> str:
    """Every scenario, in the order in which they run."""
    names = (name + where for name in PURPOSE for where in ("", ON_DISK))
    return "\n".join(scenario(found[name]) for name in names if name in found)


def scenario(result: Result) -> str:
    lines = [f"### {result.name}", "", PURPOSE[result.scenario], "", machine(result.machine), ""]
    for case, by_engine in result.cases.items():
        for level in [*LEVELS, ""]:
            part = {name: metrics for name, metrics in by_engine.items() if _level(name) == level}
            if part:
                lines += [*_table(result.scenario, case, level, part), ""]
    lines += notes(result)
    return "\n".join(lines)


def notes(result: Result) -> list[str]:
    """What was left out and what failed, by name."""
    lines = [f"Left out: {name}: {reason}." for name, reason in result.left_out.items()]
    lines += [f"Failed: {_failure(failure)}." for failure in result.failures]
    return [line for text in lines for line in (text.replace("..", "."), "")]


def _failure(failure: Mapping[str, str]) -> str:
    return f"{failure['engine']}, {failure['case']}: {failure['message']}"


def machine(facts: Mapping[str, Any]) -> str:
    """One sentence on where the figures are from."""
    pyd = facts["pyd"]
    changed = " with changes" if pyd["changed"] else ""
    if pyd.get("stale"):
        changed = ", from an older build"
    words = [
        f"{facts['cores']} cores ({facts['processor']})",
        f"Linux {facts['kernel']}",
        f"cgroups {facts['cgroup']}",
        f"state on {facts['filesystem']}",
        f"load {facts['load']:.1f}",
        f"Python {facts['python']}",
        f"pyd {pyd['commit'] or '?'}{changed} ({pyd.get('build', 'absent')})",
    ]
    return ", ".join(words) + "."


def _level(engine: str) -> str:
    return ENGINES[engine].level if engine in ENGINES else ""


def _table(scenario: str, case: str, level: str, by_engine: ByEngine) -> list[str]:
    main = main_metric(scenario)
    names = [name for name in METRICS if any(name in metrics for metrics in by_engine.values())]
    names = [main, *(name for name in names if name != main)]
    subject = SUBJECTS.get(level, "")
    compared = subject in by_engine
    titles = [METRICS[main].title, "quartiles", *(METRICS[name].title for name in names[1:])]
    if compared:
        titles.append(f"{subject} is")
    title = f"{case}, {LEVELS[level]}" if level else case
    lines = [f"| {title} | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    for engine, metrics in by_engine.items():
        cells = [*_main_cells(main, metrics), *(value_of(name, metrics) for name in names[1:])]
        if compared:
            cells.append("" if engine == subject else comparison(by_engine[subject], metrics, main))
        lines.append(f"| {engine} | {' | '.join(cells)} |")
    return lines


def _main_cells(name: str, metrics: Mapping[str, Samples]) -> list[str]:
    found = summary(metrics.get(name, ()))
    if not found:
        return ["", ""]
    spread = METRICS[name].span(found.lower, found.upper) if found.count > 1 else ""
    failed = f", {found.failed} failed" if found.failed else ""
    return [METRICS[name].text(found.median), spread + failed]


def value_of(name: str, metrics: Mapping[str, Samples]) -> str:
    """The median with its unit, or nothing."""
    found = summary(metrics.get(name, ()))
    return METRICS[name].text(found.median) if found else ""


def comparison(subject: Mapping[str, Samples], other: Mapping[str, Samples], name: str) -> str:
    """`0.31 x (0.29 to 0.33)`: the subject's median over the other's."""
    found = ratio(subject.get(name, ()), other.get(name, ()))
    if not found:
        return ""
    text = f"{number(found.value)} x"
    enough = len(other.get(name, ())) >= FEWEST
    return f"{text} ({number(found.low)} to {number(found.high)})" if enough else text
