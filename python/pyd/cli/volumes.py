"""pyd volume …"""

from __future__ import annotations

import sys

from pyd import errors
from pyd.cli import table
from pyd.cli.command import BOOL, LIST, TEXT, Args, Command, Option, UsageError
from pyd.cli.human import print_documents, printable
from pyd.cli.main import each
from pyd.cli.options import pairs
from pyd.engine import filters
from pyd.engine.engine import Engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HEADERS = {
    "Driver": "DRIVER",
    "Name": "VOLUME NAME",
    "Mountpoint": "MOUNTPOINT",
    "Labels": "LABELS",
    "Scope": "SCOPE",
    "Size": "SIZE",
    "Links": "LINKS",
}


def create(args: Args) -> int:
    name = args.rest[0] if args.rest else args.text("name") or ""
    if args.rest and args.given("name"):
        raise UsageError("conflicting options: either specify --name or provide positional arg, not both")
    created = Engine().volumes.create(
        name,
        driver=args.text("driver") or "local",
        labels=pairs(args.all("label"), "label"),
        options=pairs(args.all("opt"), "opt"),
    )
    print(created)
    return 0


def ls(args: Args) -> int:
    rows = Engine().volumes.list(filters.parse(args.all("filter")))
    if args.flag("quiet"):
        for row in rows:
            print(row["Name"])
        return 0
    table.print_rows([_texts(row) for row in rows], _HEADERS, ("Driver", "Name"), args.text("format"))
    return 0


def _texts(row: dict[str, Any]) -> dict[str, str]:
    labels = row["Labels"] or {}
    return {
        "Driver": row["Driver"],
        "Name": row["Name"],
        "Mountpoint": row["Mountpoint"],
        "Labels": ",".join(f"{printable(key)}={printable(value)}" for key, value in sorted(labels.items())),
        "Scope": row["Scope"],
        "Size": "N/A",
        "Links": "N/A",
    }


def inspect(args: Args) -> int:
    engine = Engine()
    found, failures = [], []
    for name in args.rest:
        try:
            found.append(engine.volumes.inspect(name))
        except errors.PydError as error:
            failures.append(error)
    print_documents(found, args.text("format"))
    sys.stdout.flush()
    for failure in failures:
        sys.stderr.write(f"Error response from daemon: {failure.message}\n")
    return 1 if failures else 0


def rm(args: Args) -> int:
    engine = Engine()
    return each(args, lambda name: engine.volumes.remove(name, force=args.flag("force")))


_FILTER = Option("filter", LIST, "name=…, label=…, driver=…, dangling=true", short="f")
_LS = Command(
    "ls",
    ls,
    "List volumes.",
    (
        _FILTER,
        Option("format", TEXT, "Go template, table TEMPLATE, or json"),
        Option("quiet", BOOL, "Names only", short="q"),
    ),
)
_RM = Command(
    "rm",
    rm,
    "Remove one or more volumes.",
    (Option("force", BOOL, "No error for a volume that does not exist", short="f"),),
    usage="VOLUME [VOLUME...]",
    least=1,
    most=None,
    completes="volumes",
)
COMMANDS = {
    "create": Command(
        "create",
        create,
        "Create a volume.",
        (
            Option("driver", TEXT, "Driver (local)", short="d", default="local"),
            Option("label", LIST, "Metadata: key=value"),
            Option("opt", LIST, "Option of the driver", short="o"),
            Option("name", TEXT, "Name"),
        ),
        usage="[VOLUME]",
        most=1,
    ),
    "ls": _LS,
    "list": _LS,
    "inspect": Command(
        "inspect",
        inspect,
        "Show everything about volumes as JSON.",
        (Option("format", TEXT, "Go template, or json", short="f"),),
        usage="VOLUME [VOLUME...]",
        least=1,
        most=None,
        completes="volumes",
    ),
    "rm": _RM,
    "remove": _RM,
}
