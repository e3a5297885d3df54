"""build --call, build --check: questions about a Dockerfile, answered on stdout. Nothing is built."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pyd.cli.build_text import excerpt
from pyd.cli.human import printable
from pyd.cli.table import print_columns
from pyd.engine import build_calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyd.engine.build_calls import Asked
    from pyd.engine.build_values import BuildRequest


def answer(request: BuildRequest, name: str, *, format: str = "text", ignorestatus: bool = False) -> int:
    """Exit status 1 when a check has found something."""
    if name == "check":
        asked = build_calls.check(request)
        if format == "json":
            print(json.dumps(build_calls.check_document(asked), indent=2))
        else:
            _print_check(asked)
        return 1 if asked.answer and not ignorestatus else 0
    if name == "outline":
        asked = build_calls.describe(request)
        if format == "json":
            print(json.dumps(build_calls.outline_document(asked), indent=2))
        else:
            _print_outline(asked)
        return 0
    asked = build_calls.targets(request)
    if format == "json":
        print(json.dumps(build_calls.targets_document(asked), indent=2))
    else:
        _print_targets(asked)
    return 0


def _print_check(asked: Asked) -> None:
    found: build_calls.Findings = asked.answer
    count = len(found)
    if not count:
        print("Check complete, no warnings found.")
        return
    words = "1 warning has been found!" if count == 1 else f"{count} warnings have been found!"
    print(f"Check complete, {words}")
    # of one rule together, as BuildKit
    for one in sorted(found, key=lambda one: one.rule):
        print(f"\nWARNING: {one.rule}{f' - {one.url}' if one.url else ''}")
        print(printable(one.message))
        print(excerpt(asked.name, asked.lines, one.location.line, one.location.end_line))


def _print_outline(asked: Asked) -> None:
    found: build_calls.Outline = asked.answer
    head = [["TARGET:", found.name or "default"], ["DESCRIPTION:", found.description]]
    print_columns([line for line in head if line[1]])
    args = [[one.name, one.value, one.description] for one in found.args]
    _print_table(["BUILD ARG", "VALUE", "DESCRIPTION"], args)
    for title, needs in (("SECRET", found.secrets), ("SSH", found.ssh)):
        _print_table([title, "REQUIRED"], [[one.name, str(one.is_required).lower()] for one in needs])
    _print_table(["CACHE MOUNT"], [[one.name] for one in found.caches])


def _print_targets(asked: Asked) -> None:
    rows = []
    for one in asked.answer:
        name = one.name or "default" if one.is_default else one.name
        # a stage without a name can be asked for only if it is the last one
        if name:
            rows.append([name + (" (default)" if one.is_default and one.name else ""), one.description])
    print_columns([["TARGET", "DESCRIPTION"], *([printable(cell) for cell in row] for row in rows)])


def _print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if rows:
        print()
        print_columns([titles, *([printable(cell) for cell in row] for row in rows)])
