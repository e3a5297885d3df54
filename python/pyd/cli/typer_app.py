"""The whole command line as a typer application, made from the commands' tables: --help is printed by it.

Without typer's markup mode, so that help is plain text and rich, 40 ms more to import, is not needed.
"""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from pyd.cli import main as entry
from pyd.cli.command import BOOL, LIST, Command, Option

COMMON = (
    "run exec ps build pull push images start stop restart kill logs attach create rm rmi wait inspect "
    "top stats port pause unpause rename update load import tag history login logout info version doctor "
    "completion"
).split()
EPILOG = (
    "Global options: --data-root DIR, --run-root DIR (where the objects live), -D/--debug (tracebacks), "
    "-v/--version.\n"
    "See 'pyd COMMAND --help'."
)


def show_help(words: list[str]) -> int:
    """Print the help of `pyd`, of a group or of a command. Exit status 0, or raises UsageError for an
    unknown one.
    """
    if not words:
        typer.echo(_overview().get_help(typer.Context(_overview(), info_name="pyd")))
        return 0
    if words[0] in entry.GROUPS and len(words) == 1:
        group = _group(words[0])
        typer.echo(group.get_help(typer.Context(group, info_name=f"pyd {words[0]}")))
        return 0
    command, path, _ = entry.find(words)
    if command is None:
        return show_help(words[:1])
    made = typer_command(command)
    typer.echo(made.get_help(typer.Context(made, info_name=path, max_content_width=110)))
    return 0


def _overview() -> TyperGroup:
    commands: dict[str, Any] = {name: _named(entry.TOP[name], name) for name in COMMON if name in entry.TOP}
    for name, (text, _) in entry.GROUPS.items():
        commands[name] = TyperCommand(name, help=text, rich_markup_mode=None)
    return TyperGroup(
        name="pyd",
        commands=commands,
        help="Containers without a daemon: images, containers and volumes for Linux.",
        epilog=EPILOG,
        rich_markup_mode=None,
        add_help_option=False,
        subcommand_metavar="COMMAND",
    )


def _group(name: str) -> TyperGroup:
    text, subcommands = entry.GROUPS[name]
    commands: dict[str, Any] = {
        sub: _named(module, f"{name} {sub}") for sub, module in sorted(subcommands.items())
    }
    return TyperGroup(
        name=name, commands=commands, help=text, rich_markup_mode=None, subcommand_metavar="COMMAND"
    )


def _named(module: str, name: str) -> TyperCommand:
    try:
        return TyperCommand(name, help=entry.load(module, name).help, rich_markup_mode=None)
    except (ImportError, KeyError):  # a group whose module this build leaves out
        return TyperCommand(name, rich_markup_mode=None)


def typer_command(command: Command) -> TyperCommand:
    """The typer command with the same options; it is never invoked."""

    class _Usage(TyperCommand):
        def collect_usage_pieces(self, ctx: Any) -> list[str]:
            return ["[OPTIONS]", command.usage] if command.usage else ["[OPTIONS]"]

    return _Usage(
        command.name,
        help=command.help,
        epilog=command.epilog,
        params=[_typer_option(option) for option in sorted(command.options, key=lambda option: option.name)],
        rich_markup_mode=None,
    )


def _typer_option(option: Option) -> TyperOption:
    declarations = [f"-{option.short}"] if option.short else []
    text = option.help + (f" (one of {', '.join(option.values)})" if option.values else "")
    if option.later:
        text = f"{text} (not yet)"
    return TyperOption(
        param_decls=[*declarations, f"--{option.name}"],
        is_flag=option.kind == BOOL,
        multiple=option.kind == LIST,
        metavar=None if option.kind == BOOL else option.metavar,
        help=text,
        show_default=False,
    )
