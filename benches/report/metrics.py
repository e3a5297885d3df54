"""What each number of a result is, and how it is written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    title: str
    kind: str
    """time (in seconds), rate (per second) or memory (in MiB)."""

    def text(self, value: float) -> str:
        """With its unit."""
        if self.kind == "rate":
            return f"{number(value)} /s"
        if self.kind == "memory" and not value:
            return "none"
        if self.kind == "memory":
            return f"{number(value)} MiB"
        return f"{number(value)} s" if value >= 1 else f"{number(value * 1000)} ms"

    def span(self, low: float, high: float) -> str:
        """Two values in the unit of the second."""
        if self.kind == "time" and high < 1:
            return f"{number(low * 1000)} to {number(high * 1000)}"
        return f"{number(low)} to {number(high)}"


METRICS = {
    "seconds": Metric("median", "time"),
    "cpu": Metric("CPU", "time"),
    "create": Metric("create", "time"),
    "start": Metric("start", "time"),
    "delete": Metric("delete", "time"),
    "one": Metric("one at a time", "rate"),
    "four": Metric("four at once", "rate"),
    "start_each": Metric("start each", "time"),
    "monitor_mib": Metric("monitor each", "memory"),
    "kernel_mib": Metric("kernel each", "memory"),
    "memory_mib": Metric("together", "memory"),
    "remove_all": Metric("remove all", "time"),
    "own_mib": Metric("of its own", "memory"),
    "peak_mib": Metric("peak of the start", "memory"),
    "exec_peak_mib": Metric("peak of exec", "memory"),
    "command_peak_mib": Metric("peak of the command", "memory"),
    "running_mib": Metric("while it runs", "memory"),
}
MAIN = {"parallel": "four", "memory": "running_mib", "density": "memory_mib"}
"""scenario -> the metric whose spread and ratio are given; else `seconds`."""


def main_metric(scenario: str) -> str:
    return MAIN.get(scenario, "seconds")


def number(value: float) -> str:
    """Two significant digits below ten, three or all of the whole ones above."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"
