"""pyd run, pyd create."""

from __future__ import annotations

import os
import sys

from pyd import errors
from pyd.cli.command import BOOL, TEXT, Args, Command, Option, UsageError
from pyd.cli.main import warn
from pyd.cli.options import CREATE, container_options
from pyd.engine.engine import Engine
from pyd.engine.options import ContainerOptions, Created

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyd.engine.image_pull import Watcher

_STREAMS = ("stdin", "stdout", "stderr")


def run(args: Args) -> int:
    detach = args.flag("detach")
    streams = _streams(args)
    if detach and streams is not None:
        raise UsageError("Conflicting options: -a and -d")
    options = container_options(args, detach=detach)
    engine = _engine(args)
    if detach:
        created = _create(engine, options, args.text("cidfile"))
        engine.containers.start_new(created, remove=options.remove)
        print(created.id)
        return 0
    from pyd.engine.session import Session

    session = Session(
        tty=options.tty,
        stdin=options.interactive and (streams is None or "stdin" in streams),
        stdout=streams is None or "stdout" in streams,
        stderr=streams is None or "stderr" in streams,
        proxy=args.flag("sig-proxy"),
        detach_keys=detach_keys(args),
    )
    session.check_terminal()
    created = _create(engine, options, args.text("cidfile"))
    return engine.containers.run_attached(created, session, remove=options.remove)


def create(args: Args) -> int:
    _streams(args)
    created = _create(_engine(args), container_options(args), args.text("cidfile"))
    print(created.id)
    return 0


def _engine(args: Args) -> Engine:
    engine = Engine()
    engine.on_warning = warn
    if not args.flag("quiet"):
        engine.on_pull = _watcher
    return engine


def _watcher() -> Watcher:
    """Only when something is pulled: what shows it is not imported before."""
    from pyd.cli import progress

    return progress.watcher(stream=sys.stderr)


def _streams(args: Args) -> list[str] | None:
    """What -a names; None when it is not given."""
    streams = [stream.lower() for stream in args.all("attach")]
    for stream in streams:
        if stream not in _STREAMS:
            raise UsageError(
                f'invalid argument "{stream}" for "-a, --attach" flag: '
                "valid streams are STDIN, STDOUT and STDERR"
            )
    return streams or None


def detach_keys(args: Args) -> str:
    """--detach-keys, else the user's in config.json, else the default."""
    given = args.text("detach-keys")
    if given is not None:
        return given
    from pyd.config import docker_config

    return str(docker_config().get("detachKeys") or "")


def _create(engine: Engine, options: ContainerOptions, cidfile: str | None) -> Created:
    fd = _open_cidfile(cidfile) if cidfile else None
    try:
        created = engine.containers.create(options)
        for warning in created.warnings:
            warn(warning)
        if fd is not None:
            os.write(fd, created.id.encode())
        return created
    except BaseException:
        if cidfile and fd is not None:
            os.unlink(cidfile)
        raise
    finally:
        if fd is not None:
            os.close(fd)


def _open_cidfile(path: str) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise errors.InvalidArgument(
            "container ID file found, make sure the other container isn't running "
            f"or delete {path}: it already exists"
        ) from None
    except OSError as error:
        raise errors.from_os_error(error, f"failed to create the container ID file {path}") from error


_RUN = (
    Option("detach", BOOL, "Run in the background and print the id", short="d"),
    Option("sig-proxy", BOOL, "Hand received signals on to the process", default=True),
    Option("detach-keys", TEXT, "Keys that detach from the container (ctrl-p,ctrl-q)", metavar="keys"),
)
_USAGE = "IMAGE [COMMAND] [ARG...]"
COMMANDS = {
    "run": Command(
        "run",
        run,
        "Create a container from an image and run it.",
        (*_RUN, *CREATE),
        usage=_USAGE,
        least=1,
        most=None,
        stops=True,
        completes="images",
        epilog="Example: pyd run --rm -it -v $PWD:/work -w /work alpine sh",
    ),
    "create": Command(
        "create",
        create,
        "Create a container without starting it.",
        CREATE,
        usage=_USAGE,
        least=1,
        most=None,
        stops=True,
        completes="images",
    ),
}
