"""pyd start."""

from __future__ import annotations

from pyd.cli.command import BOOL, TEXT, Args, Command, Option, UsageError
from pyd.cli.main import each, warn
from pyd.engine.engine import Engine
from pyd.errors import NotModified


def start(args: Args) -> int:
    engine = Engine()
    engine.on_warning = warn
    if args.flag("attach") or args.flag("interactive"):
        if len(args.rest) > 1:
            raise UsageError("you cannot start and attach multiple containers at once", exit_code=1)
        return _attached(engine, args)

    def one(name: str) -> str:
        try:
            engine.containers.start(name)
        except NotModified:
            pass
        return name

    return each(args, one)


def _attached(engine: Engine, args: Args) -> int:
    from pyd.cli.run import detach_keys
    from pyd.engine.session import Session

    name = args.rest[0]
    config = engine.containers.get(name).config
    session = Session(
        tty=bool(config["Tty"]),
        stdin=args.flag("interactive") and bool(config["OpenStdin"]),
        proxy=args.flag("sig-proxy"),
        detach_keys=detach_keys(args),
    )
    try:
        return engine.containers.start_attached(name, session)
    except NotModified:
        return engine.containers.attach(name, session)


COMMANDS = {
    "start": Command(
        "start",
        start,
        "Start one or more stopped containers.",
        (
            Option("attach", BOOL, "Attach stdout and stderr and hand signals on", short="a"),
            Option("interactive", BOOL, "Attach the container's stdin", short="i"),
            Option("sig-proxy", BOOL, "Hand received signals on to the process", default=True),
            Option("detach-keys", TEXT, "Keys that detach from the container", metavar="keys"),
        ),
        usage="CONTAINER [CONTAINER...]",
        least=1,
        most=None,
        completes="containers",
    ),
}
