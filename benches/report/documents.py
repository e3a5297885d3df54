"""The newest results into README.md and docs/: tables between markers, and the picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benches.engines import SUBJECTS
from benches.programs import HERE
from benches.report import goals, markdown, overview, svg
from benches.report.metrics import METRICS
from benches.results import Result, case_of
from benches.stats import summary

TOP = HERE.parent
BEGIN = "<!-- benchmarks: written by `python -m benches report --readme` -->"
END = "<!-- benchmarks: end -->"

ALL = (*overview.RUNTIMES[1:], *overview.COMMANDS[2:])
# title, note, scenario, case, metric, engines
PANELS = (
    ("Start", "true is created, run and removed", "start", "hot", "seconds", overview.RUNTIMES),
    (
        "Start after 150 ms of rest",
        "the same, as a user meets it",
        "start",
        "cold",
        "seconds",
        overview.RUNTIMES,
    ),
    ("Exec", "true in a running container", "exec", "hot", "seconds", overview.RUNTIMES),
    (
        "Four at once",
        "starts per second: more is better",
        "parallel",
        "per second",
        "four",
        overview.RUNTIMES,
    ),
    ("Whole command", "run --rm of true", "start", "hot", "seconds", overview.COMMANDS),
    (
        "Memory of a container",
        "monitor (a bare runtime has none) and kernel",
        "density",
        "",
        "memory_mib",
        ALL,
    ),
)


def write(found: Mapping[str, Result], top: Path = TOP) -> list[Path]:
    """Gives the files written. A document without the markers is left as it is, and an error."""
    paths = [top / "README.md", top / "docs" / "benchmarks.md", top / overview.PICTURE]
    texts = [
        between(paths[0].read_text(), overview.tables(found)),
        between(paths[1].read_text(), f"### Goals\n\n{goals.table(found)}\n\n{markdown.whole(found)}"),
        picture(found),
    ]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    return paths


def between(document: str, text: str) -> str:
    """The document with `text` between its markers."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the markers are missing: {BEGIN} and {END}")
    return f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}"


def picture(found: Mapping[str, Result]) -> str:
    panels = []
    for title, note, scenario, case, metric, engines in PANELS:
        if scenario in found:
            bars = _bars(found[scenario], case, metric, engines)
            if bars:
                panels.append(svg.Panel(title, note, bars))
    some = next(iter(found.values()))
    footnote = "Medians; whiskers are quartiles. " + markdown.machine(some.machine)
    return svg.picture("pyd beside other container engines", footnote, panels)


def _bars(result: Result, case: str, metric: str, engines: tuple[str, ...]) -> list[svg.Bar]:
    _, by_engine = case_of(result, case)
    bars = []
    for name in engines:
        engine = overview.engine_of(name, engines, result.scenario)
        samples = by_engine.get(engine, {}).get(metric, ())
        values = summary(samples)
        if values:
            role = "floor" if name == "floor" else "subject" if name in SUBJECTS.values() else "peer"
            text = METRICS[metric].text(values.median)
            bars.append(svg.Bar(name, values.median, values.lower, values.upper, text, role))
    return bars
