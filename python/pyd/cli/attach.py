"""pyd attach."""

from __future__ import annotations

from pyd.cli.command import BOOL, TEXT, Args, Command, Option
from pyd.cli.run import detach_keys
from pyd.engine.engine import Engine
from pyd.engine.session import Session
from pyd.errors import Conflict


def attach(args: Args) -> int:
    engine, name = Engine(), args.rest[0]
    record = engine.containers.get(name)
    if record.state == "paused":
        raise Conflict("You cannot attach to a paused container, unpause it first")
    if record.state != "running":
        raise Conflict("You cannot attach to a stopped container, start it first")
    tty = bool(record.config["Tty"])
    session = Session(
        tty=tty,
        stdin=bool(record.config["OpenStdin"]) and not args.flag("no-stdin"),
        proxy=args.flag("sig-proxy") and not tty,
        detach_keys=detach_keys(args),
        # `echo command | pyd attach x` has done its work when the command is delivered
        leave_at_eof=not tty and not record.config["StdinOnce"],
    )
    session.check_terminal()
    return engine.containers.attach(name, session)


COMMANDS = {
    "attach": Command(
        "attach",
        attach,
        "Attach stdin, stdout and stderr to a running container.",
        (
            Option("no-stdin", BOOL, "Do not attach stdin"),
            Option("sig-proxy", BOOL, "Hand received signals on to the process", default=True),
            Option("detach-keys", TEXT, "Keys that detach from the container", metavar="keys"),
        ),
        usage="CONTAINER",
        least=1,
        most=1,
        completes="running",
    ),
}
