"""pyd system df."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pyd.cli import table
from pyd.cli.command import BOOL, TEXT, Args, Command, Option
from pyd.cli.human import printable
from pyd.sizes import decimal_size

if TYPE_CHECKING:
    from pyd.engine.disk import Report, Row

_HEADERS = {
    "Type": "TYPE",
    "TotalCount": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}
_IMAGE_HEADERS = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "ID": "IMAGE ID",
    "CreatedSince": "CREATED",
    "Size": "SIZE",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
    "Containers": "CONTAINERS",
}
_CONTAINER_HEADERS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "LocalVolumes": "LOCAL VOLUMES",
    "Size": "SIZE",
    "LogSize": "LOG SIZE",
    "RunningFor": "CREATED",
    "Status": "STATUS",
    "Names": "NAMES",
}
_CACHE_HEADERS = {
    "ID": "CACHE ID",
    "CacheType": "CACHE TYPE",
    "Size": "SIZE",
    "CreatedSince": "CREATED",
    "LastUsedSince": "LAST USED",
    "Shared": "SHARED",
}
_VOLUME_HEADERS = {"Name": "VOLUME NAME", "Links": "LINKS", "Size": "SIZE"}


def df(args: Args) -> int:
    from pyd.engine import disk
    from pyd.engine.engine import Engine

    with Engine() as engine:
        found = disk.report(engine)
    form = args.text("format")
    if args.flag("json") or (form == "json" and args.flag("verbose")):
        import json

        print(json.dumps(disk.document(found), indent=2))
    elif args.flag("verbose"):
        if form:
            from pyd.cli.human import print_documents

            print_documents([_verbose_texts(found)], form)
        else:
            _verbose(found)
    else:
        table.print_rows([_row(row) for row in found.rows], _HEADERS, tuple(_HEADERS), form)
        if not form:
            total, free = _size(found.total), _size(found.reclaimable)
            print(f"\n{total} in all; `pyd system prune --all --volumes` frees {free}")
    return 0


def _row(row: Row) -> dict[str, str]:
    # as Docker: a share only where there is something
    share = f" ({row.reclaimable * 100 // row.size}%)" if row.size and row.kind != "Build Cache" else ""
    return {
        "Type": row.kind,
        "TotalCount": str(row.total),
        "Active": str(row.active),
        "Size": _size(row.size),
        "Reclaimable": f"{_size(row.reclaimable)}{share}",
    }


def _verbose(found: Report) -> None:
    texts = _verbose_texts(found)
    print("Images space usage:\n")
    table.print_rows(texts["Images"], _IMAGE_HEADERS, tuple(_IMAGE_HEADERS))
    print("\nContainers space usage:\n")
    table.print_rows(texts["Containers"], _CONTAINER_HEADERS, tuple(_CONTAINER_HEADERS))
    print("\nLocal Volumes space usage:\n")
    table.print_rows(texts["Volumes"], _VOLUME_HEADERS, tuple(_VOLUME_HEADERS))
    print(
        f"\nBuild cache usage: {_size(next(row.size for row in found.rows if row.kind == 'Build Cache'))}\n"
    )
    if texts["BuildCache"]:
        table.print_rows(texts["BuildCache"], _CACHE_HEADERS, tuple(_CACHE_HEADERS))
        print()
    print("Everything else:\n")
    rest = [_row(row) for row in found.rows[4:]]
    table.print_rows(rest, _HEADERS, ("Type", "TotalCount", "Size", "Reclaimable"))


def _verbose_texts(found: Report) -> dict[str, Any]:
    from pyd.cli.ps import status
    from pyd.engine import listing
    from pyd.engine.disk import name_of

    images, containers = [], []
    for use in found.images:
        repository, tag = name_of(use.image)
        images.append(
            {
                "Repository": repository,
                "Tag": tag,
                "ID": use.image.id[7:19],
                "CreatedSince": _ago(use.image.created),
                "Size": _size(use.shared + use.unique),
                "SharedSize": _size(use.shared),
                "UniqueSize": _size(use.unique),
                "Containers": str(use.image.containers),
            }
        )
    for one in found.containers:
        row = listing.row(one.record)
        command = printable(row["Command"])
        containers.append(
            {
                "ID": one.record.id[:12],
                "Image": printable(row["Image"]),
                "Command": f'"{command if len(command) <= 20 else command[:19] + "…"}"',
                "LocalVolumes": str(len(one.record.volumes)),
                "Size": _size(one.size),
                "LogSize": _size(one.log),
                "RunningFor": _ago(one.record.created),
                "Status": status(row),
                "Names": one.record.name,
            }
        )
    volumes = [
        {"Name": use.record.name, "Links": str(use.links), "Size": _size(use.size)} for use in found.volumes
    ]
    cache = [
        {
            "ID": entry.id[:12],
            "CacheType": entry.kind,
            "Size": _size(entry.size),
            "CreatedSince": f"{table.human_duration(time.time() - entry.created)} ago",
            "LastUsedSince": f"{table.human_duration(time.time() - entry.used)} ago",
            "Shared": str(entry.is_shared).lower(),
            "Description": printable(entry.description),
        }
        for entry in found.cache
    ]
    return {"Images": images, "Containers": containers, "Volumes": volumes, "BuildCache": cache}


def _ago(created: str) -> str:
    since = table.age(created)
    return f"{since} ago" if since else "N/A"


def _size(count: int) -> str:
    return decimal_size(count, 4)


COMMANDS = {
    "df": Command(
        "df",
        df,
        "Show what images, containers and volumes take of the disk, and what a prune frees",
        (
            Option("format", TEXT, "Go template, table TEMPLATE, or json"),
            Option("json", BOOL, "Everything as one JSON object, sizes in bytes"),
            Option("verbose", BOOL, "Each image, container and volume", short="v"),
        ),
    ),
}
