"""The short verbs: stop, kill, restart, pause, unpause, rm, rename, wait, port, top."""

from __future__ import annotations

from collections.abc import Callable

from pyd import errors
from pyd.cli.command import BOOL, INT, TEXT, Args, Command, Option
from pyd.cli.main import each, warn
from pyd.engine.engine import Engine

_TIME = Option("time", INT, "Seconds to wait before it is killed, -1 = for ever", short="t")
_TIMEOUT = Option("timeout", INT, "The same as --time")
_SIGNAL = Option("signal", TEXT, "Signal to send", short="s")
_MANY = "CONTAINER [CONTAINER...]"


def _seconds(args: Args) -> float | None:
    value = args.int("time") if args.given("time") else args.int("timeout")
    return None if value is None else float(value)


def stop(args: Args) -> int:
    engine, seconds, signal = Engine(), _seconds(args), args.text("signal") or ""

    def one(name: str) -> str:
        engine.containers.stop(name, seconds, signal)
        return name

    return each(args, one)


def restart(args: Args) -> int:
    engine, seconds, signal = Engine(), _seconds(args), args.text("signal") or ""
    engine.on_warning = warn

    def one(name: str) -> str:
        engine.containers.restart(name, seconds, signal)
        return name

    return each(args, one)


def kill(args: Args) -> int:
    engine, signal = Engine(), args.text("signal") or "KILL"

    def one(name: str) -> str:
        engine.containers.kill(name, signal)
        return name

    return each(args, one)


def pause(args: Args) -> int:
    engine = Engine()

    def one(name: str) -> str:
        engine.containers.pause(name)
        return name

    return each(args, one)


def unpause(args: Args) -> int:
    engine = Engine()

    def one(name: str) -> str:
        engine.containers.unpause(name)
        return name

    return each(args, one)


def rm(args: Args) -> int:
    if args.flag("link"):
        raise errors.NotSupported("--link is not supported: pyd has no links between containers")
    engine, force = Engine(), args.flag("force")

    def one(name: str) -> str | None:
        engine.containers.remove(name, force=force, volumes=args.flag("volumes"))
        return name

    return each(args, one)


def rename(args: Args) -> int:
    Engine().containers.rename(args.rest[0], args.rest[1])
    return 0


def wait(args: Args) -> int:
    engine = Engine()
    return each(args, lambda name: str(engine.containers.wait(name)))


def port(args: Args) -> int:
    ports = Engine().containers.ports(args.rest[0])
    wanted = args.rest[1] if len(args.rest) > 1 else None
    if wanted is not None:
        key = wanted if "/" in wanted else f"{wanted}/tcp"
        if key not in ports:
            raise errors.NotFound(f"No public port '{key}' published for {args.rest[0]}")
        for binding in ports[key]:
            print(_address(binding))
        return 0
    for key in sorted(ports):
        for binding in ports[key]:
            print(f"{key} -> {_address(binding)}")
    return 0


def _address(binding: dict[str, str]) -> str:
    address = f"[{binding['HostIp']}]" if ":" in binding["HostIp"] else binding["HostIp"]
    return f"{address}:{binding['HostPort']}"


def top(args: Args) -> int:
    from pyd.cli.human import printable
    from pyd.cli.table import print_columns

    titles, rows = Engine().containers.top(args.rest[0], args.rest[1:])
    print_columns([titles, *([printable(cell) for cell in row] for row in rows)])
    return 0


def _many(
    name: str, run: Callable[[Args], int], help: str, *options: Option, completes: str = "containers"
) -> Command:
    return Command(name, run, help, options, usage=_MANY, least=1, most=None, completes=completes)


_RM = _many(
    "rm",
    rm,
    "Remove one or more containers.",
    Option("force", BOOL, "Kill them first when they run", short="f"),
    Option("volumes", BOOL, "Remove their anonymous volumes too", short="v"),
    Option("link", BOOL, "Remove a link", short="l"),
)
COMMANDS = {
    "stop": _many("stop", stop, "Stop running containers.", _TIME, _TIMEOUT, _SIGNAL, completes="running"),
    "restart": _many("restart", restart, "Restart containers.", _TIME, _TIMEOUT, _SIGNAL),
    "kill": _many("kill", kill, "Send a signal (KILL) to running containers.", _SIGNAL, completes="running"),
    "pause": _many("pause", pause, "Freeze all processes of containers.", completes="running"),
    "unpause": _many("unpause", unpause, "Let frozen containers go on.", completes="running"),
    "rm": _RM,
    "remove": _RM,
    "rename": Command(
        "rename",
        rename,
        "Rename a container.",
        usage="CONTAINER NEW_NAME",
        least=2,
        most=2,
        completes="containers",
    ),
    "wait": _many("wait", wait, "Wait until containers have ended and print their exit codes."),
    "port": Command(
        "port",
        port,
        "List published ports.",
        usage="CONTAINER [PRIVATE_PORT[/PROTO]]",
        least=1,
        most=2,
        completes="running",
    ),
    "top": Command(
        "top",
        top,
        "Show the processes of a container.",
        usage="CONTAINER [ps OPTIONS]",
        least=1,
        most=None,
        stops=True,
        completes="running",
    ),
}
