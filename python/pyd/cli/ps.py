"""pyd ps, pyd container ls."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from pyd.cli import table
from pyd.cli.command import BOOL, INT, LIST, TEXT, Args, Command, Option
from pyd.cli.human import printable
from pyd.engine import filters
from pyd.engine.engine import Engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEADERS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "RunningFor": "CREATED",
    "CreatedAt": "CREATED AT",
    "Status": "STATUS",
    "State": "STATE",
    "Ports": "PORTS",
    "Names": "NAMES",
    "Labels": "LABELS",
    "Mounts": "MOUNTS",
    "Networks": "NETWORKS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Size": "SIZE",
    "Platform": "PLATFORM",
}
_COLUMNS = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")


def ps(args: Args) -> int:
    engine = Engine()
    last = 1 if args.flag("latest") else max(args.int("last") or 0, 0)
    rows = engine.containers.list(all=args.flag("all"), last=last, filters=filters.parse(args.all("filter")))
    full = args.flag("no-trunc")
    form = args.text("format")
    if form is None and not args.flag("quiet"):
        from pyd.config import docker_config

        form = docker_config().get("psFormat")
    if args.flag("quiet") and form is None:
        for row in rows:
            print(row["Id"] if full else row["Id"][:12])
        return 0
    with_size = args.flag("size") or ".Size" in (form or "")
    texts = [_texts(row, full, engine if with_size else None) for row in rows]
    columns: Sequence[str] = (*_COLUMNS, "Size") if with_size else _COLUMNS
    table.print_rows(texts, HEADERS, columns, form)
    return 0


def _texts(row: Mapping[str, Any], full: bool, engine: Engine | None) -> dict[str, str]:
    command = printable(row["Command"])
    mounts = [point.get("Name") or point["Source"] for point in row["Mounts"] if point["Type"] != "tmpfs"]
    image = row["Image"]
    return {
        "ID": row["Id"] if full else row["Id"][:12],
        "Image": printable(image if full or not image.startswith("sha256:") else image[7:19]),
        "Command": json.dumps(command if full else _shorten(command, 20), ensure_ascii=False),
        "RunningFor": f"{table.age(row['Created'])} ago",
        "CreatedAt": table.local_time(row["Created"]),
        "Status": status(row),
        "State": row["State"],
        "Ports": ports_text(row["Ports"]),
        "Names": ",".join(name.removeprefix("/") for name in row["Names"]),
        "Labels": ",".join(f"{printable(k)}={printable(v)}" for k, v in sorted(row["Labels"].items())),
        "Mounts": ",".join(mount if full else _shorten(mount, 15) for mount in mounts),
        "Networks": ",".join(row["Networks"]),
        "LocalVolumes": str(sum(point["Type"] == "volume" for point in row["Mounts"])),
        "Size": _size(engine, row["Id"]) if engine else "0B",
        "Platform": "",
    }


def _size(engine: Engine, container_id: str) -> str:
    from pyd.sizes import decimal_size

    own, virtual = engine.containers.sizes(container_id)
    return f"{decimal_size(own)} (virtual {decimal_size(virtual)})"


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def status(row: Mapping[str, Any]) -> str:
    """Docker's words: "Up 5 minutes", "Exited (0) 2 hours ago"."""
    if row["State"] == "running":
        return f"Up {table.age(row['StartedAt'])}"
    if row["State"] == "paused":
        return f"Up {table.age(row['StartedAt'])} (Paused)"
    if row["State"] == "exited":
        return f"Exited ({row['ExitCode']}) {table.age(row['FinishedAt'])} ago"
    return {"created": "Created", "removing": "Removal In Progress", "dead": "Dead"}[row["State"]]


def ports_text(ports: Mapping[str, Sequence[Mapping[str, str]] | None]) -> str:
    """ "0.0.0.0:8080->80/tcp, 443/tcp"."""
    parts = []
    for key in sorted(ports, key=lambda key: (int(key.split("/")[0]), key)):
        bindings = ports[key]
        if not bindings:
            parts.append(key)
        for binding in bindings or ():
            address = binding["HostIp"]
            address = f"[{address}]" if ":" in address else address
            parts.append(f"{address}:{binding['HostPort']}->{key}")
    return ", ".join(parts)


_PS = Command(
    "ps",
    ps,
    "List containers.",
    (
        Option("all", BOOL, "Those that do not run too", short="a"),
        Option("filter", LIST, "name=…, status=…, label=…, ancestor=… and more", short="f"),
        Option("format", TEXT, "Go template, table TEMPLATE, or json"),
        Option(
            "last", INT, "The last n created ones, whatever their state", short="n", metavar="n", default=-1
        ),
        Option("latest", BOOL, "The last created one, whatever its state", short="l"),
        Option("no-trunc", BOOL, "Do not shorten"),
        Option("quiet", BOOL, "Ids only", short="q"),
        Option("size", BOOL, "Sizes of what they wrote", short="s"),
    ),
)
COMMANDS = {"ps": _PS, "ls": _PS, "list": _PS}
