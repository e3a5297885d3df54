"""What a command is (a table of options and a function) and the parser for it.

The tables are the only description of the command line: this parser reads them, `typer_app` makes typer
commands of them for --help. Typer itself is not imported to run a command, because its import alone takes
longer (50 ms) than starting a container.

Grammar, as Docker's (pflag): `--flag value`, `--flag=value`, `-f value`, `-fvalue`, combined `-itd`, booleans
`--flag` and `--flag=false`; `--` ends the options; with `stops=True` the first positional argument does too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyd import errors
from pyd.sizes import parse_seconds, parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BOOL, TEXT, LIST, INT, FLOAT, SIZE, SECONDS = "bool", "string", "list", "int", "decimal", "bytes", "seconds"


class UsageError(errors.InvalidArgument):
    """The command line is wrong; the answer ends with a pointer to --help. Exit status as Docker's."""

    def __init__(self, message: str, exit_code: int = 125) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Option:
    """One flag. `later` is set for flags that Docker has and pyd not yet: the rest of the sentence saying
    so. `completes` names what its values are, where `values` does not list them.
    """

    __slots__ = ("completes", "default", "help", "kind", "later", "metavar", "name", "short", "values")

    def __init__(
        self,
        name: str,
        kind: str,
        help: str,
        *,
        short: str = "",
        default: Any = None,
        metavar: str = "",
        values: Sequence[str] = (),
        later: str = "",
        completes: str = "",
    ) -> None:
        self.name = name
        self.short = short
        self.kind = kind
        self.help = help
        self.metavar = metavar or kind
        self.default = default if default is not None else {BOOL: False, LIST: ()}.get(kind)
        self.values = values
        self.later = later
        self.completes = completes

    def __str__(self) -> str:
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"


def refuse_content_trust(args: Args) -> None:
    """Who asks for a signature to be checked must not get an image whose signature nobody has checked."""
    if not args.flag("disable-content-trust"):
        raise UsageError(
            "--disable-content-trust=false is not supported yet: pyd verifies digests, but no signatures"
        )


class Args:
    """The parsed command line of one command: values by the option's name, and the positional arguments."""

    def __init__(self, command: Command, path: str) -> None:
        self.command = command
        self.path = path  # as typed: "pyd container run"
        self.values: dict[str, Any] = {}
        self.rest: list[str] = []

    def given(self, name: str) -> bool:
        return name in self.values

    def _value(self, name: str) -> Any:
        return self.values[name] if name in self.values else self.command.by_name[name].default

    def flag(self, name: str) -> bool:
        return bool(self._value(name))

    def text(self, name: str) -> str | None:
        value = self._value(name)
        return None if value is None else str(value)

    def all(self, name: str) -> list[str]:
        return list(self._value(name))

    def int(self, name: str) -> int | None:
        value: int | None = self._value(name)
        return value

    def float(self, name: str) -> float | None:
        value: float | None = self._value(name)
        return value


class Command:
    """`usage` is what follows the name in the first line of --help. `completes` names what positionals are:
    containers, running, images, volumes or files."""

    __slots__ = (
        "by_name",
        "by_short",
        "completes",
        "epilog",
        "help",
        "least",
        "most",
        "name",
        "options",
        "run",
        "stops",
        "usage",
    )

    def __init__(
        self,
        name: str,
        run: Callable[[Args], int],
        help: str,
        options: Sequence[Option] = (),
        *,
        usage: str = "",
        least: int = 0,
        most: int | None = 0,
        stops: bool = False,
        completes: str = "",
        epilog: str = "",
    ) -> None:
        self.name = name
        self.run = run
        self.help = help
        self.options = options
        self.usage = usage
        self.least = least
        self.most = most
        self.stops = stops
        self.completes = completes
        self.epilog = epilog
        self.by_name = {option.name: option for option in options}
        self.by_short = {option.short: option for option in options if option.short}


class HelpWanted(Exception):
    """--help was on the command line."""


def parse(command: Command, arguments: Sequence[str], path: str) -> Args:
    """The arguments read by the command's table. Raises UsageError, HelpWanted, NotSupported."""
    args = Args(command, path)
    index = 0
    while index < len(arguments):
        word = arguments[index]
        index += 1
        if word == "--":
            args.rest.extend(arguments[index:])
            break
        if word.startswith("--"):
            index = _long(args, word[2:], arguments, index)
        elif word.startswith("-") and word != "-":
            index = _short(args, word[1:], arguments, index)
        else:
            args.rest.append(word)
            if command.stops:
                args.rest.extend(arguments[index:])
                break
    _check_count(args)
    return args


def _long(args: Args, word: str, arguments: Sequence[str], index: int) -> int:
    name, equals, value = word.partition("=")
    option = args.command.by_name.get(name)
    if option is None:
        if name == "help":
            raise HelpWanted
        raise UsageError(f"unknown flag: --{name}")
    if option.kind == BOOL:
        _store(args, option, value if equals else "true")
    elif equals:
        _store(args, option, value)
    elif index < len(arguments):
        _store(args, option, arguments[index])
        index += 1
    else:
        raise UsageError(f"flag needs an argument: --{name}")
    return index


def _short(args: Args, word: str, arguments: Sequence[str], index: int) -> int:
    while word:
        letter, word = word[0], word[1:]
        option = args.command.by_short.get(letter)
        if option is None:
            if letter == "h":
                raise HelpWanted
            raise UsageError(f"unknown shorthand flag: {letter!r} in -{letter}{word}")
        if option.kind == BOOL:
            if word.startswith("="):
                _store(args, option, word[1:])
                return index
            _store(args, option, "true")
        elif word:
            _store(args, option, word.removeprefix("="))
            return index
        elif index < len(arguments):
            _store(args, option, arguments[index])
            return index + 1
        else:
            raise UsageError(f"flag needs an argument: {letter!r} in -{letter}")
    return index


def _store(args: Args, option: Option, text: str) -> None:
    if option.later:
        raise errors.NotSupported(f"--{option.name} is not supported yet: {option.later}")
    try:
        value = _CONVERT[option.kind](text)
    except ValueError as error:
        raise UsageError(f'invalid argument "{text}" for "{option}" flag: {error}') from None
    if option.values and text not in option.values:
        raise UsageError(
            f'invalid argument "{text}" for "{option}" flag: must be one of {", ".join(option.values)}'
        )
    if option.kind == LIST:
        args.values.setdefault(option.name, []).append(value)
    else:
        args.values[option.name] = value


def _boolean(text: str) -> bool:
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise ValueError("parse error: must be true or false")


def _integer(text: str) -> int:
    if not text.lstrip("+-").isascii() or not text.lstrip("+-").isdigit():
        raise ValueError("parse error: must be a whole number")
    return int(text)


def _decimal(text: str) -> float:
    value = float(text)
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError("must be a finite number")
    return value


_CONVERT: dict[str, Callable[[str], Any]] = {
    BOOL: _boolean,
    TEXT: str,
    LIST: str,
    INT: _integer,
    FLOAT: _decimal,
    SIZE: parse_size,
    SECONDS: parse_seconds,
}


def _check_count(args: Args) -> None:
    command, count = args.command, len(args.rest)
    if count >= command.least and (command.most is None or count <= command.most):
        return
    if command.most == 0:
        wanted = "accepts no arguments"
    elif command.least == command.most:
        wanted = f"requires exactly {command.least} argument{'s' if command.least != 1 else ''}"
    elif count < command.least:
        wanted = f"requires at least {command.least} argument{'s' if command.least != 1 else ''}"
    else:
        wanted = f"requires at most {command.most} argument{'s' if command.most != 1 else ''}"
    raise UsageError(f'"{args.path}" {wanted}.', exit_code=1)
