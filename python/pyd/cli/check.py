"""pyd system check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pyd.cli.command import BOOL, TEXT, Args, Command, Option, UsageError
from pyd.cli.human import printable
from pyd.sizes import decimal_size

if TYPE_CHECKING:
    from pyd.engine.check import Audit, Finding


def check(args: Args) -> int:
    """Exit status 1 when something is damaged or missing that was not put right."""
    from pyd.engine import check as _check
    from pyd.engine.engine import Engine

    quick, deep = args.flag("quick"), args.flag("deep")
    if quick and deep:
        raise UsageError("conflicting options: --quick and --deep")
    with Engine() as engine:
        # the names now: an image that is taken away has none any more
        names = {str(image.id): image.references for image in engine.store.images.list()}
        found = _check.check(engine, quick=quick, deep=deep)
        repaired = _check.repair(engine, found) if args.flag("repair") else ()
        form = "json" if args.flag("json") else args.text("format")
        if form:
            from pyd.cli.human import print_documents

            print_documents((_document(one, one in repaired) for one in found.findings), form)
        else:
            _show(names, found, repaired)
    bad = [one for one in found.findings if one.state != "unused" and one not in repaired]
    return 1 if bad else 0


def _show(names: Mapping[str, Sequence[str]], found: Audit, repaired: Sequence[Finding]) -> None:
    for one in found.findings:
        print(f"{one.state:<8} {one.kind} {printable(one.name)}: {printable(one.problem)}")
        users = [name for image in one.images for name in names.get(image) or (image,)]
        if users:
            print(f"{'':9}needed by {', '.join(map(printable, users))}")
        if one in repaired:
            print(f"{'':9}done: {one.repair}")
        elif one.repair:
            print(f"{'':9}--repair would {one.repair}")
    counts = ", ".join(f"{count} {kind}" for kind, count in found.checked.items())
    print(f"Checked {counts}; {decimal_size(found.hashed)} hashed")
    states = [one.state for one in found.findings]
    print(", ".join(f"{states.count(state)} {state}" for state in ("damaged", "missing", "unused")))


def _document(one: Finding, repaired: bool) -> dict[str, object]:
    return {
        "State": one.state,
        "Kind": one.kind,
        "Name": one.name,
        "Problem": one.problem,
        "Images": list(one.images),
        "Repair": one.repair,
        "Repaired": repaired,
    }


COMMANDS = {
    "check": Command(
        "check",
        check,
        "Verify the store: blobs against their digests, layers, rows and files against each other",
        (
            Option("deep", BOOL, "Unpack each layer again and compare it file by file"),
            Option("format", TEXT, "Go template, or json: one line for each finding"),
            Option("json", BOOL, "The same as --format json"),
            Option("quick", BOOL, "Compare sizes only"),
            Option("repair", BOOL, "Take away what is damaged, so that the next pull brings it again"),
        ),
    ),
}
