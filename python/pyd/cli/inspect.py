"""pyd inspect, pyd container inspect."""

from __future__ import annotations

import sys

from pyd import errors
from pyd.cli.command import BOOL, TEXT, Args, Command, Option
from pyd.cli.human import print_documents
from pyd.engine.engine import Engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TYPES = ("container", "image", "volume")


def inspect(args: Args) -> int:
    return _inspect(args, args.text("type"))


def inspect_container(args: Args) -> int:
    return _inspect(args, "container")


def _inspect(args: Args, kind: str | None) -> int:
    engine = Engine()
    found: list[dict[str, Any]] = []
    failures: list[errors.PydError] = []
    for name in args.rest:
        try:
            found.append(_find(engine, name, kind, args.flag("size")))
        except errors.PydError as error:
            failures.append(error)
    form = args.text("format")
    if found or not form:
        print_documents(found, form)
    sys.stdout.flush()
    for failure in failures:
        hint = f"hint: {failure.hint}\n" if failure.hint else ""
        sys.stderr.write(f"Error: {failure.message}\n{hint}")
    return 1 if failures else 0


def _find(engine: Engine, name: str, kind: str | None, size: bool) -> dict[str, Any]:
    """The first object of this name; containers come before images and volumes."""
    if kind in (None, "container"):
        try:
            return engine.containers.inspect(name, size=size)
        except errors.ContainerNotFound:
            if kind:
                raise
    if kind in (None, "image"):
        try:
            return engine.images.inspect(name)
        except (errors.ImageNotFound, errors.InvalidArgument):
            if kind:
                raise
    if kind in (None, "volume"):
        try:
            return engine.volumes.inspect(name)
        except (errors.VolumeNotFound, errors.InvalidArgument):
            if kind:
                raise
    raise errors.NotFound(f"No such object: {name}")


_OPTIONS = (
    Option("format", TEXT, "Go template, or json", short="f"),
    Option("size", BOOL, "Sizes of what containers wrote", short="s"),
)
COMMANDS = {
    "inspect": Command(
        "inspect",
        inspect,
        "Show everything about containers, images or volumes as JSON.",
        (*_OPTIONS, Option("type", TEXT, "Kind of object", values=_TYPES)),
        usage="NAME|ID [NAME|ID...]",
        least=1,
        most=None,
        completes="containers",
    ),
    "container inspect": Command(
        "inspect",
        inspect_container,
        "Show everything about containers as JSON.",
        _OPTIONS,
        usage="CONTAINER [CONTAINER...]",
        least=1,
        most=None,
        completes="containers",
    ),
}
