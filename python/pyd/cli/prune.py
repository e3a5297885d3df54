"""pyd container prune."""

from __future__ import annotations

from pyd.cli.command import BOOL, LIST, Args, Command, Option
from pyd.cli.human import confirmed
from pyd.engine import filters
from pyd.engine.engine import Engine
from pyd.sizes import decimal_size


def prune(args: Args) -> int:
    wanted = filters.parse(args.all("filter"))
    if not confirmed("This will remove all stopped containers.", args.flag("force")):
        return 1
    removed, freed = Engine().containers.prune(wanted)
    if removed:
        print("Deleted Containers:\n" + "\n".join(removed) + "\n")
    print(f"Total reclaimed space: {decimal_size(freed, 4)}")
    return 0


COMMANDS = {
    "prune": Command(
        "prune",
        prune,
        "Remove all containers that do not run.",
        (
            Option("force", BOOL, "Do not ask", short="f"),
            Option("filter", LIST, "until=24h, label=…, label!=…"),
        ),
    ),
}
