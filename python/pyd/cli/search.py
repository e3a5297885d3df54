"""search: repositories of Docker Hub, or of the registry whose host begins the term."""

from __future__ import annotations

from pyd.cli.command import BOOL, INT, LIST, TEXT, Args, Command, Option

_HEADERS = {
    "Name": "NAME",
    "Description": "DESCRIPTION",
    "StarCount": "STARS",
    "IsOfficial": "OFFICIAL",
    "IsAutomated": "AUTOMATED",
}
_WIDTH = 45  # characters of a description that is cut


def _search(args: Args) -> int:
    from pyd.cli.human import printable
    from pyd.cli.table import print_rows
    from pyd.engine.remote_images import search

    limit = args.int("limit")
    found = search(
        args.rest[0],
        limit=25 if limit is None else limit,
        filters=args.all("filter"),
        tls_verify=args.flag("tls-verify"),
    )
    rows = []
    for one in found:
        text = printable(one.description.replace("\n", " ").replace("\r", " "))
        if not args.flag("no-trunc") and len(text) > _WIDTH:
            text = text[: _WIDTH - 1] + "…"
        rows.append(
            {
                "Name": printable(one.name),
                "Description": text,
                "StarCount": str(one.stars),
                "IsOfficial": "[OK]" if one.is_official else "",
                "IsAutomated": "[OK]" if one.is_automated else "",
            }
        )
    print_rows(rows, _HEADERS, ("Name", "Description", "StarCount", "IsOfficial"), args.text("format"))
    return 0


COMMANDS = {
    "search": Command(
        "search",
        _search,
        "Search Docker Hub, or another registry, for images",
        (
            Option("filter", LIST, "Filter output: stars=N, is-official=BOOL, is-automated=BOOL", short="f"),
            Option("format", TEXT, "Format output using a Go template, 'table TEMPLATE' or 'json'"),
            Option("limit", INT, "Max number of search results (default 25)"),
            Option("no-trunc", BOOL, "Don't truncate output"),
            Option("tls-verify", BOOL, "Require https with a valid certificate", default=True),
        ),
        usage="[HOST/]TERM",
        least=1,
        most=1,
        epilog="pyd search nginx; pyd search registry.example.com:5000/team",
    )
}
