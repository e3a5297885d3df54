"""Entry point of `pyd`: finds the module of the command, lets it run, turns errors into messages and exit
codes.

Every module of commands has `COMMANDS: dict[str, Command]`; it is named in the tables here and imported
only when one of its commands is used.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from pyd import errors
from pyd.cli.command import Args, Command, HelpWanted, UsageError, parse

_CONTAINER = {
    "attach": "attach",
    "commit": "archives",
    "create": "run",
    "diff": "archives",
    "exec": "exec",
    "export": "archives",
    "inspect": "inspect",
    "kill": "containers",
    "logs": "logs",
    "ls": "ps",
    "list": "ps",
    "pause": "containers",
    "port": "containers",
    "prune": "prune",
    "ps": "ps",
    "rename": "containers",
    "restart": "containers",
    "rm": "containers",
    "run": "run",
    "start": "start",
    "stats": "stats",
    "stop": "containers",
    "top": "containers",
    "unpause": "containers",
    "update": "update",
    "wait": "containers",
}
_IMAGE = {
    "build": "build",
    "copy": "copy",
    "diff": "explore",
    "explore": "explore",
    "history": "images",
    "import": "images",
    "inspect": "images",
    "load": "images",
    "ls": "images",
    "list": "images",
    "prune": "prune",
    "pull": "images",
    "push": "push",
    "rm": "images",
    "remove": "images",
    "save": "archives",
    "tag": "images",
}
_REGISTRY = dict.fromkeys(("certificate", "gc", "htpasswd", "ls", "rm", "serve"), "registry")
_CREDENTIAL = dict.fromkeys(("setup", "status", "unlock", "lock"), "credential")
_ARTIFACT = dict.fromkeys(("attach", "ls", "pull", "push", "rm"), "artifact")
_MANIFEST = dict.fromkeys(("annotate", "create", "inspect", "push", "rm"), "manifest")
_VOLUME = {**dict.fromkeys(("create", "inspect", "ls", "list", "rm", "remove"), "volumes"), "prune": "prune"}
_NETWORK = {"prune": "prune"}
_BUILDER = {"build": "build", "du": "builder", "prune": "builder"}
_BUILDX = {
    **_BUILDER,
    "b": "build",
    "bake": "bake",
    "f": "bake",
    **dict.fromkeys(("create", "inspect", "ls", "rm", "stop", "use", "version"), "buildx"),
}
_BUILD_CACHE = {"ls": "builder", "prune": "builder"}
_SYSTEM = {"info": "system", "doctor": "system", "df": "df", "check": "check", "prune": "prune"}

# group -> (help, subcommand -> module)
GROUPS: dict[str, tuple[str, dict[str, str]]] = {
    "container": ("Manage containers", _CONTAINER),
    "image": ("Manage images", _IMAGE),
    "builder": ("Manage builds", _BUILDER),
    "buildx": ("Build images", _BUILDX),
    "build-cache": ("See and prune what builds have kept", _BUILD_CACHE),
    "artifact": ("Manage files in registries, attached to images or not", _ARTIFACT),
    "manifest": ("Manage manifests of several platforms", _MANIFEST),
    "volume": ("Manage volumes", _VOLUME),
    "registry": ("Serve a registry and look after it", _REGISTRY),
    "network": ("Manage networks", _NETWORK),
    "system": ("Manage pyd", _SYSTEM),
    "credential": ("Keep the passwords of registries encrypted", _CREDENTIAL),
}
# top-level command -> module
TOP: dict[str, str] = {
    **{name: module for name, module in _CONTAINER.items() if name not in ("ls", "list", "prune", "inspect")},
    "bake": "bake",
    "build": "build",
    "inspect": "inspect",
    "images": "images",
    "history": "images",
    "import": "images",
    "load": "images",
    "login": "login",
    "logout": "login",
    "pull": "images",
    "push": "push",
    "rmi": "images",
    "save": "archives",
    "search": "search",
    "tag": "images",
    "info": "system",
    "version": "system",
    "doctor": "system",
    "completion": "completion",
}
# their errors begin as buildx's do
_BUILDS = ("build", "b", "bake", "f")
# their exit status is the container's, so that errors of pyd itself are 125
_STARTERS = ("pyd run", "pyd create", "pyd container run", "pyd container create")
_GLOBALS = {
    "--data-root": "PYD_DATA_ROOT",
    "--run-root": "PYD_RUN_ROOT",
    "--cgroup-parent": "PYD_CGROUP_PARENT",
    "--config": "DOCKER_CONFIG",
}


def entry() -> None:
    """What the installed command calls: `main`, then out without taking the interpreter down in good order.

    That would take 10 ms of a start: modules one by one, and SQLite's last close, which moves the log into
    the database with two fsyncs. The log is as durable where it is, and is moved when it has grown.
    """
    gc.set_threshold(100_000, 20, 20)  # a command lives too short for the garbage of its imports to matter
    status = main()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        pass
    os._exit(status)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; the exit status is the return value."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    path, command = "pyd", None
    try:
        arguments = _globals(arguments)
        if not arguments or arguments[0] in ("help", "--help", "-h"):
            return _help(arguments[1:])
        if arguments[0] in ("-v", "--version"):
            arguments[0] = "version"
            arguments.append("--short")
        if arguments[0] == "__complete":
            from pyd.cli.completion import complete

            return complete(arguments[1:])
        command, path, arguments = find(arguments)
        if command is None:
            return _help(path.split()[1:])
        try:
            args = parse(command, arguments, path)
        except HelpWanted:
            return _help(path.split()[1:])
        except errors.NotSupported as error:
            report(error, path)
            return error.exit_code
        status = command.run(args)
        sys.stdout.flush()
        return status
    except UsageError as error:
        prefix = "pyd: " if path in _STARTERS else "ERROR: " if path.split()[-1] in _BUILDS else ""
        usage = ""
        if command is not None and prefix == "ERROR: " and " requires " in error.message:
            usage = f"\n\nUsage:  {path} [OPTIONS] {command.usage}\n\n{command.help}"
        _say(f"{prefix}{error.message}\nSee '{path} --help'.{usage}", error.hint)
        return error.exit_code
    except errors.PydError as error:
        return report(error, path)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # `pyd ps | head`: what is left in the buffer has no reader either
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except OSError as error:
        if os.environ.get("PYD_DEBUG"):
            raise
        return report(
            errors.from_os_error(error, (error.filename and f"opening {error.filename}") or "system call"),
            path,
        )


def find(arguments: list[str]) -> tuple[Command | None, str, list[str]]:
    """(command, its name as typed, what is left). The command is None for a group without a subcommand."""
    name, rest = arguments[0], arguments[1:]
    path = f"pyd {name}"
    if name in GROUPS:
        subcommands = GROUPS[name][1]
        if name in ("builder", "buildx"):
            rest = _builder_last(rest)
        if not rest or rest[0] in ("--help", "-h", "help"):
            return None, path, []
        if rest[0] not in subcommands:
            raise UsageError(f"pyd: '{name} {rest[0]}' is not a pyd command.", exit_code=1)
        return load(subcommands[rest[0]], f"{name} {rest[0]}"), f"{path} {rest[0]}", rest[1:]
    if name.startswith("-"):
        raise UsageError(f"unknown flag: {name}")
    if name not in TOP:
        raise UsageError(f"pyd: '{name}' is not a pyd command.", exit_code=1)
    return load(TOP[name], name), path, rest


def _builder_last(words: list[str]) -> list[str]:
    """buildx takes --builder before its subcommand too: here all take it after that."""
    flags = []
    while words and words[0].partition("=")[0] == "--builder":
        count = 1 if "=" in words[0] else 2
        flags += words[:count]
        words = words[count:]
    return [*words[:1], *flags, *words[1:]]


def load(module: str, name: str) -> Command:
    """The command `name` ("run", "image ls") of pyd.cli.<module>: its table has the full name or the last
    word.
    """
    commands: dict[str, Command] = import_module(f"pyd.cli.{module}").COMMANDS
    return commands[name] if name in commands else commands[name.rpartition(" ")[2]]


def _globals(arguments: list[str]) -> list[str]:
    """Take the options before the command. They become environment, which is where Config looks."""
    while arguments and arguments[0].startswith("-"):
        name, equals, value = arguments[0].partition("=")
        if name in ("-D", "--debug"):
            os.environ["PYD_DEBUG"] = "1"
            arguments = arguments[1:]
        elif name in _GLOBALS:
            if not equals:
                if len(arguments) < 2:
                    raise UsageError(f"flag needs an argument: {name}")
                value = arguments[1]
                arguments = arguments[1:]
            # config.json's directory is Docker's setting; an empty one would mean the working directory
            os.environ[_GLOBALS[name]] = value
            arguments = arguments[1:]
        elif name in ("-H", "--host", "-c", "--context"):
            raise errors.NotSupported(
                f"{name} is not supported yet: pyd works on its own store", "leave it out, or set --data-root"
            )
        else:
            break
    return arguments


def _help(words: list[str]) -> int:
    from pyd.cli import typer_app

    return typer_app.show_help(words)


def report(error: errors.PydError, path: str) -> int:
    """Say on stderr what went wrong; the exit status that goes with it."""
    if os.environ.get("PYD_DEBUG"):
        import traceback

        traceback.print_exception(error)
    command = path.split()[-1]
    starts = path in _STARTERS
    if command in _BUILDS:
        _say(f"ERROR: {error.message}", error.hint)
    else:
        _say(f"{'pyd: ' if starts else ''}Error response from daemon: {error.message}", error.hint)
    if starts or isinstance(error, errors.Cancelled):
        return error.exit_code
    return error.exit_code if command == "exec" and isinstance(error, errors.StartError) else 1


def _say(message: str, hint: str | None) -> None:
    sys.stdout.flush()
    sys.stderr.write(message + "\n" + (f"hint: {hint}\n" if hint else ""))


def warn(text: str) -> None:
    sys.stderr.write(f"WARNING: {text}\n")


def each(args: Args, act: Callable[[str], str | None]) -> int:
    """Apply `act(target)` to every positional argument, print what it gives back, go on after errors.

    Exit status 1 if any failed.
    """
    status = 0
    for target in args.rest:
        try:
            line = act(target)
            if line is not None:
                print(line)
        except errors.PydError as error:
            report(error, args.path)
            status = 1
    return status


if __name__ == "__main__":
    entry()
