"""pyd exec."""

from __future__ import annotations

from pyd.cli.command import BOOL, LIST, TEXT, Args, Command, Option
from pyd.cli.options import env_file
from pyd.cli.run import detach_keys
from pyd.engine.engine import Engine
from pyd.engine.options import ExecOptions
from pyd.engine.session import Session


def exec_(args: Args) -> int:
    name, command = args.rest[0], tuple(args.rest[1:])
    detach = args.flag("detach")
    options = ExecOptions(
        command=command,
        env=tuple([line for path in args.all("env-file") for line in env_file(path)] + args.all("env")),
        user=args.text("user") or "",
        workdir=args.text("workdir") or "",
        tty=args.flag("tty"),
        interactive=args.flag("interactive") and not detach,
        detach=detach,
        privileged=args.flag("privileged"),
    )
    engine = Engine()
    if detach:
        engine.containers.exec_detached(name, options)
        return 0
    # Signals are not handed on, as in Docker: Ctrl-C ends this command and not the process
    session = Session(tty=options.tty, stdin=options.interactive, proxy=False, detach_keys=detach_keys(args))
    session.check_terminal()
    return engine.containers.exec_attached(name, options, session)


COMMANDS = {
    "exec": Command(
        "exec",
        exec_,
        "Run a command in a running container.",
        (
            Option("detach", BOOL, "Run in the background", short="d"),
            Option("interactive", BOOL, "Keep stdin open", short="i"),
            Option("tty", BOOL, "Allocate a pseudo-terminal", short="t"),
            Option("env", LIST, "Environment variable", short="e"),
            Option("env-file", LIST, "Read environment variables from a file", metavar="file"),
            Option("user", TEXT, "User: name or uid, with :group or :gid", short="u"),
            Option("workdir", TEXT, "Working directory", short="w"),
            Option("privileged", BOOL, "All capabilities"),
            Option("detach-keys", TEXT, "Keys that detach", metavar="keys"),
        ),
        usage="CONTAINER COMMAND [ARG...]",
        least=2,
        most=None,
        stops=True,
        completes="running",
        epilog="Example: pyd exec -it web sh",
    ),
}
