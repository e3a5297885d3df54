"""container prune, image prune, volume prune, network prune, system prune.

Each shows what it would remove, exactly: with --dry-run and nothing more, or before it asks.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyd.cli.command import BOOL, LIST, Args, Command, Option
from pyd.cli.human import confirmed, printable
from pyd.engine import filters, prune
from pyd.engine.engine import Engine
from pyd.sizes import decimal_size

# in Docker's order and words
_TITLES = {
    prune.CONTAINER: "Deleted Containers:",
    prune.NETWORK: "Deleted Networks:",
    prune.VOLUME: "Deleted Volumes:",
}


def containers(args: Args) -> int:
    engine = Engine()
    plan = prune.containers(engine, filters.parse(args.all("filter")))
    return _prune(args, engine, plan, "This will remove all stopped containers.")


def networks(args: Args) -> int:
    engine = Engine()
    plan = prune.networks(engine, filters.parse(args.all("filter")))
    warning = "This will remove all custom networks not used by at least one container."
    return _prune(args, engine, plan, warning)


def volumes(args: Args) -> int:
    engine, wanted = Engine(), filters.parse(args.all("filter"))
    everything = args.flag("all") or bool({"true", "1"} & set(wanted.get("all", ())))
    plan = prune.volumes(engine, wanted, everything=everything)
    kind = "all" if everything else "anonymous"
    warning = f"This will remove {kind} local volumes not used by at least one container."
    return _prune(args, engine, plan, warning)


def images(args: Args) -> int:
    engine = Engine()
    plan = prune.images(engine.store, args.all("filter"), everything=args.flag("all"))
    what = (
        "all images without at least one container associated to them"
        if plan.is_forced
        else "all dangling images"
    )
    return _prune(args, engine, plan, f"This will remove {what}.")


def system(args: Args) -> int:
    engine, wanted = Engine(), args.all("filter")
    everything = args.flag("all")
    plan = prune.system(engine, wanted, everything=everything, with_volumes=args.flag("volumes"))
    kinds = [
        "all stopped containers",
        "all networks not used by at least one container",
        *(["all anonymous volumes not used by at least one container"] if args.flag("volumes") else []),
        "all images without at least one container associated to them"
        if everything
        else "all dangling images",
        "all build cache" if everything else "unused build cache",
    ]
    lines = ["This will remove:", *(f"  - {kind}" for kind in kinds), ""]
    if wanted:
        lines += ["  Items to be pruned will be filtered with:"]
        lines += [*(f"  - {printable(one)}" for one in wanted), ""]
    return _prune(args, engine, plan, "\n".join(lines))


def _prune(args: Args, engine: Engine, plan: prune.Plan, warning: str) -> int:
    lines = preview(plan)
    if args.flag("dry-run"):
        print("\n".join(lines))
        return 0
    if not args.flag("force") and not confirmed("\n".join([warning, "", *lines, ""])):
        return 0
    _report(prune.carry_out(engine, plan))
    return 0


def preview(plan: prune.Plan) -> Sequence[str]:
    lines = ["Nothing to remove"] if not plan.items else ["To be removed:"]
    for item in plan.items:
        short = item.id.removeprefix("sha256:")[:12] if item.kind in _SHORT else printable(item.id)
        title = printable(item.title)[:80] if item.title != item.id else ""
        lines.append(f"  {item.kind:<9}  {decimal_size(item.bytes, 4):>7}  {short}  {title}".rstrip())
    return [*lines, f"Total reclaimable space: {decimal_size(plan.bytes, 4)}"]


_SHORT = (prune.CONTAINER, prune.IMAGE, prune.NETWORK, prune.CACHE)


def _report(done: prune.Done) -> None:
    for kind, title in _TITLES.items():
        if found := done.of(kind):
            names = [item.title if kind == prune.NETWORK else item.id for item in found]
            print("\n".join([title, *names]) + "\n")
    if found := done.of(prune.CACHE):
        print("\n".join(["Deleted build cache objects:", *(item.id for item in found)]) + "\n")
    if done.lines:
        # here, and only here, Docker writes these words in lower case
        lines = [line[0].lower() + line[1:] for line in done.lines]
        print("\n".join(["Deleted Images:", *lines]) + "\n")
    print(f"Total reclaimed space: {decimal_size(done.bytes, 4)}")


_DRY_RUN = Option("dry-run", BOOL, "Only show what would be removed, and how much that frees")
_FORCE = Option("force", BOOL, "Do not ask", short="f")
_FILTER = Option("filter", LIST, "until=24h, label=…, label!=…")

COMMANDS = {
    "container prune": Command(
        "prune", containers, "Remove all containers that do not run.", (_DRY_RUN, _FILTER, _FORCE)
    ),
    "network prune": Command(
        "prune", networks, "Remove all networks that no container uses.", (_DRY_RUN, _FILTER, _FORCE)
    ),
    "volume prune": Command(
        "prune",
        volumes,
        "Remove anonymous volumes that no container uses.",
        (
            Option("all", BOOL, "Named ones too", short="a"),
            _DRY_RUN,
            Option("filter", LIST, "label=…, label!=…, all=true"),
            _FORCE,
        ),
    ),
    "image prune": Command(
        "prune",
        images,
        "Remove unused images",
        (
            Option("all", BOOL, "Remove all unused images, not just dangling ones", short="a"),
            _DRY_RUN,
            Option("filter", LIST, "Provide filter values: dangling, label, label!, until"),
            _FORCE,
        ),
    ),
    "system prune": Command(
        "prune",
        system,
        "Remove containers, networks, images and build cache that are not used",
        (
            Option("all", BOOL, "Remove all unused images, not just dangling ones", short="a"),
            _DRY_RUN,
            _FILTER,
            _FORCE,
            Option("volumes", BOOL, "Anonymous volumes too"),
        ),
        epilog="pyd system prune --all --dry-run",
    ),
}
