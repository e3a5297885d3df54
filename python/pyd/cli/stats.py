"""pyd stats."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from pyd import errors
from pyd.cli import table
from pyd.cli.command import BOOL, TEXT, Args, Command, Option
from pyd.engine.engine import Engine
from pyd.sizes import binary_size, decimal_size

_HEADERS = {
    "Container": "CONTAINER ID",
    "ID": "CONTAINER ID",
    "Name": "NAME",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
}
_COLUMNS = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")
_INTERVAL = 1.0  # seconds; the CPU percentage is that of the time between two readings

Reading = dict[str, Any]


def stats(args: Args) -> int:
    engine = Engine()
    form = args.text("format")
    if form is None:
        from pyd.config import docker_config

        form = docker_config().get("statsFormat")
    full = args.flag("no-trunc")
    for name in args.rest:
        engine.containers.get(name)
    before = _read(engine, args)
    clear = sys.stdout.isatty() and form != "json"
    while True:
        time.sleep(_INTERVAL)
        now = _read(engine, args)
        rows = [_texts(reading, before.get(key), full) for key, reading in now.items()]
        if clear and not args.flag("no-stream"):
            sys.stdout.write("\x1b[H\x1b[J")
        if form == "json":
            for row in rows:
                print(json.dumps(row, separators=(",", ":")))
        else:
            table.print_rows(rows, _HEADERS, _COLUMNS, form)
        sys.stdout.flush()
        if args.flag("no-stream"):
            return 0
        before = now


def _read(engine: Engine, args: Args) -> dict[str, Reading]:
    """Readings by container id: of those named, else of all that run (with -a of all)."""
    names = args.rest or [row["Id"] for row in engine.containers.list(all=args.flag("all"))]
    result = {}
    for name in names:
        try:
            reading = engine.containers.stats(name)
        except errors.PydError:
            continue  # it has just ended
        result[reading["Id"]] = reading
    return result


def _texts(now: Reading, before: Reading | None, full: bool) -> dict[str, str]:
    key = now["Id"] if full else now["Id"][:12]
    if "cpu_stats" not in now:
        empty = {"CPUPerc": "0.00%", "MemUsage": "0B / 0B", "MemPerc": "0.00%", "NetIO": "0B / 0B"}
        return {"Container": key, "ID": key, "Name": now["Name"], **empty, "BlockIO": "0B / 0B", "PIDs": "0"}
    usage, limit = memory(now["memory_stats"])
    received = sum(link["rx_bytes"] for link in now["networks"].values())
    sent = sum(link["tx_bytes"] for link in now["networks"].values())
    blocks = {"read": 0, "write": 0}
    for entry in now["blkio_stats"]["io_service_bytes_recursive"]:
        operation = entry["op"].lower()
        if operation in blocks:
            blocks[operation] += entry["value"]
    return {
        "Container": key,
        "ID": key,
        "Name": now["Name"],
        "CPUPerc": f"{_cpu_percent(now, before):.2f}%",
        "MemUsage": f"{binary_size(usage)} / {binary_size(limit)}",
        "MemPerc": f"{100 * usage / limit if limit else 0:.2f}%",
        "NetIO": f"{decimal_size(received)} / {decimal_size(sent)}",
        "BlockIO": f"{decimal_size(blocks['read'])} / {decimal_size(blocks['write'])}",
        "PIDs": str(now["pids_stats"]["current"]),
    }


def memory(stats: Reading) -> tuple[int, int]:
    """(bytes in use without page cache that can be dropped, limit): what Docker's CLI shows."""
    detail = stats["stats"]
    cache = detail.get("total_inactive_file", detail.get("inactive_file", 0))
    usage = stats["usage"]
    return (usage - cache if cache < usage else usage), stats["limit"]


def _cpu_percent(now: Reading, before: Reading | None) -> float:
    """Per cent of one CPU between the two readings."""
    if before is None or "cpu_stats" not in before:
        return 0.0
    used = now["cpu_stats"]["cpu_usage"]["total_usage"] - before["cpu_stats"]["cpu_usage"]["total_usage"]
    elapsed = (now["time"] - before["time"]) * 1e9
    return max(100.0 * used / elapsed, 0.0) if elapsed > 0 else 0.0


COMMANDS = {
    "stats": Command(
        "stats",
        stats,
        "Show what containers use, live.",
        (
            Option("all", BOOL, "Those that do not run too", short="a"),
            Option("format", TEXT, "Go template, table TEMPLATE, or json"),
            Option("no-stream", BOOL, "Show one reading only"),
            Option("no-trunc", BOOL, "Do not shorten"),
        ),
        usage="[CONTAINER...]",
        most=None,
        completes="running",
    ),
}
