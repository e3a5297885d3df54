"""Lists of objects: the default table, `--format` with a template, `--format json`."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime

_ESCAPES = {"\\t": "\t", "\\n": "\n", "\\\\": "\\"}


def print_rows(
    rows: Sequence[Mapping[str, str]],
    headers: Mapping[str, str],
    columns: Sequence[str],
    format: str | None = None,
) -> None:
    """`rows`: field name of templates -> text; `headers`: the same fields -> column titles; `columns`: the
    default.
    """
    if format == "json":
        for row in rows:
            print(
                json.dumps(
                    {field: row[field] for field in sorted(row)}, ensure_ascii=False, separators=(",", ":")
                )
            )
        return
    if format and not format.startswith("table"):
        from pyd.cli.template import Template

        template = Template(unescape(format))
        for row in rows:
            print(template.render(row))
        return
    template_text = (format or "table").removeprefix("table").strip()
    if template_text:
        from pyd.cli.template import Template

        template = Template(unescape(template_text))
        lines = [template.render(row).split("\t") for row in (headers, *rows)]
    else:
        lines = [[row[field] for field in columns] for row in (headers, *rows)]
    print_columns(lines)


def print_columns(lines: Sequence[Sequence[str]]) -> None:
    """Three blanks between columns, as Docker's tabwriter; the last column is not padded."""
    count = max(len(line) for line in lines)
    widths = [
        max((len(line[index]) for line in lines if index < len(line)), default=0) for index in range(count)
    ]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        print("   ".join(cells).rstrip())


def unescape(format: str) -> str:
    """`\\t` and `\\n` as people write them in single quotes, outside of {{ }}."""
    parts = re.split(r"(\{\{.*?\}\})", format, flags=re.DOTALL)
    return "".join(
        part if part.startswith("{{") else re.sub(r"\\[tn\\]", lambda match: _ESCAPES[match[0]], part)
        for part in parts
    )


def age(text: str) -> str:
    """ "3 weeks", from an RFC 3339 time until now (go-units, HumanDuration); "" if it is none."""
    try:
        seconds = time.time() - datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError):
        return ""
    return human_duration(seconds)


def human_duration(seconds: float) -> str:
    if seconds < 1:
        return "Less than a second"
    whole = int(seconds)
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    minutes = whole // 60
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{whole // 3600 // 24 // 365} years"


def local_time(text: str) -> str:
    """`2026-11-23 20:27:55 +0000 UTC`, as Docker's CreatedAt."""
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone()
    except (ValueError, OverflowError):
        return ""
    return moment.strftime("%Y-%m-%d %H:%M:%S %z %Z")
