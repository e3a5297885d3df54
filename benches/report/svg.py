"""A picture of bars in panels, as SVG text. No library: rectangles, lines and words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, MARGIN, GUTTER = 880, 24, 36
BAR, STEP, TITLE, GAP = 16, 24, 44, 22
LABEL, VALUE = 104, 64
"""Pixels for the name before a bar and for the value after the longest."""
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
COLOURS = {"subject": "#0b6e4f", "floor": "#b9d8cb", "peer": "#8a94a6"}
INK, SOFT, PAPER = "#1c2430", "#5b6575", "#ffffff"


@dataclass(frozen=True)
class Bar:
    name: str
    value: float
    low: float
    """First quartile."""
    high: float
    text: str
    role: str
    """subject, floor or peer."""


@dataclass(frozen=True)
class Panel:
    title: str
    note: str
    bars: Sequence[Bar]


def picture(heading: str, footnote: str, panels: Sequence[Panel]) -> str:
    """The panels in two columns, each row as high as its higher panel."""
    column = (WIDTH - 2 * MARGIN - GUTTER) / 2
    parts = [_text(MARGIN, 34, heading, 17, INK, weight=600)]
    y = 54.0
    for left in range(0, len(panels), 2):
        row = panels[left : left + 2]
        for number, panel in enumerate(row):
            parts += _panel(panel, MARGIN + number * (column + GUTTER), y, column)
        y += max(TITLE + STEP * len(panel.bars) for panel in row) + GAP
    lines = _wrapped(footnote, 138)
    for line in lines:
        parts.append(_text(MARGIN, y, line, 11, SOFT))
        y += 16
    height = int(y + 8)
    frame = f'<rect width="{WIDTH}" height="{height}" rx="8" fill="{PAPER}"/>'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
        f' viewBox="0 0 {WIDTH} {height}" role="img" font-family="{escape(FONT)}">'
    )
    return "\n".join([head, f"<title>{escape(heading)}</title>", frame, *parts, "</svg>", ""])


def _panel(panel: Panel, x: float, y: float, width: float) -> list[str]:
    parts = [_text(x, y + 16, panel.title, 13, INK, weight=600), _text(x, y + 32, panel.note, 11, SOFT)]
    longest = max((max(bar.value, bar.high) for bar in panel.bars), default=0) or 1
    room = width - LABEL - VALUE
    for number, bar in enumerate(panel.bars):
        top = y + TITLE + STEP * number
        middle = top + BAR / 2
        length = max(1.0, room * bar.value / longest)
        end = x + LABEL + length
        weight = 600 if bar.role == "subject" else 400
        parts.append(_text(x + LABEL - 8, middle + 4, bar.name, 12, INK, anchor="end", weight=weight))
        parts.append(
            f'<rect x="{x + LABEL:.1f}" y="{top:.1f}" width="{length:.1f}" height="{BAR}" rx="2"'
            f' fill="{COLOURS[bar.role]}"/>'
        )
        if bar.high > bar.low:
            low, high = (x + LABEL + room * bound / longest for bound in (bar.low, bar.high))
            parts.append(
                f'<path d="M{low:.1f} {middle:.1f}H{high:.1f}M{low:.1f} {middle - 3:.1f}v6M{high:.1f}'
                f' {middle - 3:.1f}v6" stroke="{INK}" stroke-opacity="0.55" fill="none"/>'
            )
            end = max(end, high)
        parts.append(_text(end + 6, middle + 4, bar.text, 12, INK, weight=weight))
    return parts


def _text(
    x: float, y: float, words: str, size: int, colour: str, *, anchor: str = "start", weight: int = 400
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}"'
        f' font-weight="{weight}">{escape(words)}</text>'
    )


def _wrapped(words: str, width: int) -> list[str]:
    lines = [""]
    for word in words.split():
        if len(lines[-1]) + len(word) + 1 > width and lines[-1]:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
