"""builder du, builder prune and their other names: what builds keep."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from pyd.cli import table
from pyd.cli.command import BOOL, LIST, SIZE, TEXT, Args, Command, Option
from pyd.cli.human import confirmed, print_documents, printable
from pyd.engine import build_cache, disk, filters, prune
from pyd.engine.engine import Engine
from pyd.sizes import decimal_size

if TYPE_CHECKING:
    from pyd.engine.build_cache import Entry

_HEADERS = {"ID": "ID", "Reclaimable": "RECLAIMABLE", "Size": "SIZE", "LastUsedSince": "LAST ACCESSED"}
_WIDE = {
    **_HEADERS,
    "Parents": "PARENTS",
    "CreatedAt": "CREATED AT",
    "CreatedSince": "CREATED",
    "LastUsedAt": "LAST USED AT",
    "Mutable": "MUTABLE",
    "Shared": "SHARED",
    "Description": "DESCRIPTION",
    "Type": "TYPE",
}


def du(args: Args) -> int:
    wanted = filters.parse(args.all("filter"))
    with Engine() as engine:
        found = build_cache.entries(engine.store)
    found = build_cache.chosen(found, wanted)
    form = args.text("format")
    if args.flag("json"):
        print_documents([disk.cache_document(entry) for entry in found], None)
        return 0
    if form:
        table.print_rows([_texts(entry) for entry in found], _WIDE, tuple(_HEADERS), form)
        return 0
    if args.flag("verbose"):
        for entry in found:
            _print_verbose(entry)
    else:
        _print_table(found)
    if not wanted:
        _print_summary(found)
    return 0


def _prune(args: Args) -> int:
    wanted = filters.parse(args.all("filter"))
    reserved = args.int("reserved-space") or args.int("keep-storage") or 0
    limits = build_cache.Limits(reserved, args.int("max-used-space") or 0, args.int("min-free-space") or 0)
    everything = args.flag("all")
    with Engine() as engine:
        plan = prune.builds(
            engine.store,
            wanted,
            everything=everything,
            limits=limits if limits != build_cache.Limits() else None,
        )
        if args.flag("dry-run"):
            print("\n".join(_preview(plan)))
            return 0
        kind = "all" if everything else "all dangling"
        warning = f"This will remove {kind} build cache."
        if not args.flag("force") and not confirmed("\n".join([warning, "", *_preview(plan), ""])):
            return 0
        busy = build_cache.is_busy(engine.store)
        done = prune.carry_out(engine, plan)
    gone = {item.id for item in done.items}
    entries = [entry for entry in plan.cache if entry.id in gone]
    if args.flag("verbose"):
        for entry in entries:
            _print_verbose(entry)
    elif entries:
        _print_table(entries)
    print(f"Total:\t{decimal_size(done.bytes, 4)}")
    if busy and entries:
        sys.stdout.flush()
        sys.stderr.write("a build or a pull is running: files of layers go when it has ended\n")
    return 0


def _preview(plan: prune.Plan) -> list[str]:
    from pyd.cli.prune import preview

    return list(preview(plan))


def _print_table(found: list[Entry]) -> None:
    table.print_rows([_texts(entry) for entry in found], _HEADERS, tuple(_HEADERS))


def _print_summary(found: list[Entry]) -> None:
    """What is shared is on the disk once, for the images."""
    total = sum(entry.size for entry in found)
    shared = sum(entry.size for entry in found if entry.is_shared)
    free = sum(entry.own for entry in found if not entry.is_used)
    lines = {"Shared:": shared, "Private:": total - shared} if shared else {}
    lines |= {"Reclaimable:": free, "Total:": total}
    table.print_columns([[name, decimal_size(size, 4)] for name, size in lines.items()])


def _print_verbose(entry: Entry) -> None:
    texts = _texts(entry)
    lines = [["ID:", entry.id]]
    if entry.parent:
        lines.append(["Parent:", entry.parent])
    lines += [
        ["Created at:", texts["CreatedAt"]],
        ["Mutable:", texts["Mutable"]],
        ["Reclaimable:", texts["Reclaimable"]],
        ["Shared:", texts["Shared"]],
        ["Size:", decimal_size(entry.size, 4)],
        ["Description:", texts["Description"]],
        ["Last used:", texts["LastUsedSince"]],
        ["Type:", entry.kind],
    ]
    table.print_columns(lines)
    print()


def _texts(entry: Entry) -> dict[str, str]:
    document: dict[str, Any] = disk.cache_document(entry)
    now = time.time()
    return {
        # as buildx marks what changes, and what images have too
        "ID": entry.id + ("*" if entry.is_mutable else ""),
        "Parents": entry.parent,
        "Reclaimable": str(not entry.is_used).lower(),
        "Size": decimal_size(entry.size, 4) + ("*" if entry.is_shared else ""),
        "CreatedAt": document["CreatedAt"],
        "CreatedSince": f"{table.human_duration(now - entry.created)} ago",
        "LastUsedAt": document["LastUsedAt"],
        "LastUsedSince": f"{table.human_duration(now - entry.used)} ago",
        "Mutable": str(entry.is_mutable).lower(),
        "Shared": str(entry.is_shared).lower(),
        "Description": printable(entry.description),
        "Type": entry.kind,
    }


_FILTER = Option("filter", LIST, "until=24h, id=…, type=regular|exec.cachemount|source.local, description=…")
_BUILDER = Option("builder", TEXT, "pyd has one builder, default", values=("", "default"))
_DU = (
    _BUILDER,
    _FILTER,
    Option("format", TEXT, "Go template, table TEMPLATE, or json"),
    Option("json", BOOL, "Everything as one JSON array, sizes in bytes"),
    Option("verbose", BOOL, "Each entry with what it is"),
)
_PRUNE = (
    Option("all", BOOL, "Forget also the steps whose layers images have", short="a"),
    _BUILDER,
    Option("dry-run", BOOL, "Only show what would be removed, and how much that frees"),
    _FILTER,
    Option("force", BOOL, "Do not ask", short="f"),
    Option("keep-storage", SIZE, "The same as --reserved-space"),
    Option("max-used-space", SIZE, "Keep so much of the cache at most"),
    Option("min-free-space", SIZE, "Remove until so much of the disk is free"),
    Option("reserved-space", SIZE, "Keep so much of the cache always"),
    Option("verbose", BOOL, "Each entry with what it is"),
)
COMMANDS = {
    "du": Command("du", du, "Show what builds keep", _DU),
    "build-cache ls": Command("ls", du, "Show what builds keep", _DU),
    "prune": Command(
        "prune",
        _prune,
        "Remove what builds keep, what was not used for longest first",
        _PRUNE,
        epilog="pyd builder prune --filter until=48h --reserved-space 10gb",
    ),
}
