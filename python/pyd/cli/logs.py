"""pyd logs."""

from __future__ import annotations

import os

from pyd.cli.command import BOOL, TEXT, Args, Command, Option, UsageError
from pyd.engine.engine import Engine
from pyd.engine.filters import moment
from pyd.engine.options import LogOptions


def logs(args: Args) -> int:
    options = LogOptions(
        follow=args.flag("follow"),
        tail=_tail(args.text("tail") or "all"),
        since=moment(since) if (since := args.text("since")) else None,
        until=moment(until) if (until := args.text("until")) else None,
    )
    stamps, details = args.flag("timestamps"), args.flag("details")
    engine = Engine()
    prefix = ""
    if details:
        config = engine.containers.get(args.rest[0]).config
        prefix = ",".join(f"{key}={value}" for key, value in sorted((config["Labels"] or {}).items())) + " "
    starts_line = {"stdout": True, "stderr": True}
    for line in engine.containers.logs(args.rest[0], options):
        text = line.text
        if starts_line[line.stream]:
            text = prefix + text
            if stamps:
                text = f"{line.time} {text}"
        starts_line[line.stream] = line.text.endswith("\n")
        data = text.encode("utf-8", "surrogateescape")
        fd = 2 if line.stream == "stderr" else 1
        while data:
            data = data[os.write(fd, data) :]
    return 0


def _tail(text: str) -> int | None:
    """Docker takes what is no number, and negative ones, for all."""
    if text == "all":
        return None
    try:
        count = int(text)
    except ValueError:
        raise UsageError(f'invalid argument "{text}" for "-n, --tail" flag: a number or all', 1) from None
    return None if count < 0 else count


COMMANDS = {
    "logs": Command(
        "logs",
        logs,
        "Show the output of a container.",
        (
            Option("follow", BOOL, "Go on showing new output", short="f"),
            Option("tail", TEXT, "Number of lines from the end", short="n", default="all"),
            Option("since", TEXT, "Only what is newer: a time stamp (2026-01-02T13:23:37Z) or 42m"),
            Option("until", TEXT, "Only what is older"),
            Option("timestamps", BOOL, "Show times", short="t"),
            Option("details", BOOL, "Show labels"),
        ),
        usage="CONTAINER",
        least=1,
        most=1,
        completes="containers",
    ),
}
