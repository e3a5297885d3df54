"""The newest results of every scenario as Markdown tables."""

from __future__ import annotations

import json
from typing import Any

from benches.harness import RESULTS

MILLISECONDS = {"median", "p95", "min", "start_each"}


def newest() -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(RESULTS.glob("*.json")):
        document = json.loads(path.read_text())
        found[document["scenario"]] = document
    return list(found.values())


def render() -> str:
    documents = newest()
    if not documents:
        return "no results yet: python -m benches start"
    lines = []
    for document in documents:
        machine = document["machine"]
        lines += [f"## {document['scenario']}", ""]
        lines += [
            f"{machine['cores']} cores, {machine['processor']}, kernel {machine['kernel']},"
            f" cgroup {machine['cgroup']}",
            "",
        ]
        for case, by_engine in document["results"].items():
            lines += _table(case, by_engine)
    return "\n".join(lines)


def _table(case: str, by_engine: dict[str, dict[str, float]]) -> list[str]:
    columns = sorted({key for numbers in by_engine.values() for key in numbers} - {"n"}, key=_order)
    first = next((numbers for name, numbers in by_engine.items() if name.startswith("pyd")), None)
    key = columns[0]
    lines = [f"| {case} | {' | '.join(_title(column) for column in columns)} | pyd is |"]
    lines += ["|---" * (len(columns) + 2) + "|"]
    for name, numbers in by_engine.items():
        cells = [_cell(column, numbers[column]) if column in numbers else "" for column in columns]
        ratio = f"{first[key] / numbers[key]:.2f} x" if first and numbers.get(key) else ""
        lines.append(f"| {name} | {' | '.join(cells)} | {ratio} |")
    return [*lines, ""]


def _order(column: str) -> tuple[int, str]:
    known = ["median", "p95", "min", "start_each", "mib_each", "remove_all", "per_second"]
    return (known.index(column) if column in known else len(known), column)


def _title(column: str) -> str:
    return f"{column} (ms)" if column in MILLISECONDS else column


def _cell(column: str, value: float) -> str:
    return f"{value * 1000:.1f}" if column in MILLISECONDS else f"{value:.2f}"
