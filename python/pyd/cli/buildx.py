"""buildx ls, inspect, version, use, create, rm, stop: pyd has one builder, which is no server."""

from __future__ import annotations

from pyd.cli import table
from pyd.cli.command import BOOL, LIST, TEXT, Args, Command, Option, UsageError
from pyd.engine import builder

_NAME = "default"
_HEADERS = {
    "Name": "NAME/NODE",
    "DriverEndpoint": "DRIVER/ENDPOINT",
    "Status": "STATUS",
    "Buildkit": "BUILDKIT",
    "Platforms": "PLATFORMS",
}


def ls(args: Args) -> int:
    platforms = ", ".join(builder.platforms())
    rows = [
        {"Name": f"{_NAME}*", "DriverEndpoint": "pyd", "Status": "", "Buildkit": "", "Platforms": ""},
        {
            "Name": rf" \_ {_NAME}",
            "DriverEndpoint": r" \_ this process",
            "Status": "running",
            "Buildkit": builder.version(),
            "Platforms": platforms,
        },
    ]
    if args.text("format"):
        # one row for the builder, as a template can name its fields
        rows = [{**rows[1], "Name": _NAME, "DriverEndpoint": "pyd"}]
    table.print_rows(rows, _HEADERS, tuple(_HEADERS), args.text("format"))
    return 0


def inspect(args: Args) -> int:
    _known(args)
    lines = [
        ["Name:", _NAME],
        ["Driver:", "pyd"],
        [],
        ["Nodes:"],
        ["Name:", _NAME],
        ["Endpoint:", "this process"],
        ["Status:", "running"],
        ["BuildKit version:", builder.version()],
        ["Platforms:", ", ".join(builder.platforms())],
    ]
    table.print_columns(lines)
    return 0


def version(args: Args) -> int:
    print(f"pyd {builder.version()}: builds in its own process, without BuildKit")
    return 0


def use(args: Args) -> int:
    _known(args)
    return 0


def refuse(args: Args) -> int:
    """create, rm, stop: there is nothing to make and nothing to end."""
    verb = args.path.split()[-1]
    raise UsageError(
        f"pyd has one builder, {_NAME!r}, which is the process of each command: there is nothing to {verb}",
        exit_code=1,
    )


def _known(args: Args) -> None:
    for name in (*args.rest, args.text("builder")):
        if name not in (None, "", _NAME):
            raise UsageError(f'no builder "{name}" found: pyd has one, "{_NAME}"', exit_code=1)


_BUILDER = Option("builder", TEXT, "pyd has one builder, default")
_NAMED = (
    _BUILDER,
    Option("bootstrap", BOOL, "It is always ready"),
)
_CREATE = (
    _BUILDER,
    Option("append", BOOL, "Not supported"),
    Option("bootstrap", BOOL, "Not supported"),
    Option("buildkitd-config", TEXT, "Not supported"),
    Option("buildkitd-flags", TEXT, "Not supported"),
    Option("config", TEXT, "Not supported"),
    Option("driver", TEXT, "Not supported"),
    Option("driver-opt", LIST, "Not supported"),
    Option("leave", BOOL, "Not supported"),
    Option("name", TEXT, "Not supported"),
    Option("node", TEXT, "Not supported"),
    Option("platform", LIST, "Not supported"),
    Option("use", BOOL, "Not supported"),
)
_RM = (
    _BUILDER,
    Option("all-inactive", BOOL, "Not supported"),
    Option("force", BOOL, "Not supported", short="f"),
    Option("keep-daemon", BOOL, "Not supported"),
    Option("keep-state", BOOL, "Not supported"),
)
COMMANDS = {
    "ls": Command(
        "ls",
        ls,
        "List builders: there is one",
        (_BUILDER, Option("format", TEXT, "Go template, table TEMPLATE, or json")),
    ),
    "inspect": Command("inspect", inspect, "Show the builder", _NAMED, usage="[NAME]", most=1),
    "version": Command("version", version, "Show the version", (_BUILDER,)),
    "use": Command(
        "use",
        use,
        "Choose the builder: there is one",
        (_BUILDER, Option("default", BOOL, "It is the default"), Option("global", BOOL, "It is everywhere")),
        usage="NAME",
        least=1,
        most=1,
    ),
    "create": Command("create", refuse, "Not supported: there is one builder", _CREATE, most=None),
    "rm": Command("rm", refuse, "Not supported: there is one builder", _RM, most=None),
    "stop": Command("stop", refuse, "Not supported: nothing keeps running", (_BUILDER,), most=None),
}
