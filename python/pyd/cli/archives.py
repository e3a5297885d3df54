"""commit, export, diff, save: what leaves a container or the store."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from pyd import errors
from pyd.cli.command import BOOL, LIST, TEXT, Args, Command, Option
from pyd.engine.engine import Engine


def commit(args: Args) -> int:
    name = args.rest[0]
    reference = args.rest[1] if len(args.rest) > 1 else ""
    pause = args.flag("pause") and not args.flag("no-pause")
    with Engine() as engine:
        made = engine.containers.commit(
            name,
            reference,
            author=args.text("author") or "",
            message=args.text("message") or "",
            changes=args.all("change"),
            pause=pause,
        )
    print(made)
    return 0


def export(args: Args) -> int:
    with Engine() as engine:
        engine.containers.get(args.rest[0])  # before a file is made
        with _output(args) as out:
            try:
                engine.containers.export(args.rest[0], out.fileno())
            except errors.KernelError as error:
                if error.errno == errno.EPIPE:  # `pyd export x | head`
                    raise BrokenPipeError from None
                raise
    return 0


def diff(args: Args) -> int:
    with Engine() as engine:
        changes = engine.containers.diff(args.rest[0])
    # names are bytes: what a container wrote is shown as it is to a file, without commands to a terminal
    from pyd.cli.human import printable

    terminal = sys.stdout.isatty()
    lines = (f"{kind} {printable(path) if terminal else path}\n" for kind, path in changes)
    sys.stdout.buffer.write("".join(lines).encode("utf-8", "surrogateescape"))
    return 0


def save(args: Args) -> int:
    from pyd.cli import progress

    with Engine() as engine:
        for name in args.rest:
            engine.images.check(name)
        with _output(args) as out:
            engine.images.save(
                args.rest,
                out,
                format=args.text("format") or "docker",
                platform=args.text("platform"),
                watcher=progress.saving(quiet=args.flag("quiet")),
            )
    return 0


@contextmanager
def _output(args: Args) -> Iterator[BinaryIO]:
    """The file of -o, or stdout if that is no terminal."""
    path = args.text("output")
    if path:
        from pyd.engine.output import replacing

        with replacing(path) as file:
            yield file
        return
    if sys.stdout.isatty():
        raise errors.InvalidArgument("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    sys.stdout.flush()
    with os.fdopen(1, "wb", closefd=False) as file:
        yield file


_OUTPUT = Option("output", TEXT, "Write to a file, instead of stdout", short="o", metavar="file")

COMMANDS = {
    "commit": Command(
        "commit",
        commit,
        "Create a new image from a container's changes",
        (
            Option("author", TEXT, 'Author (e.g., "Ada <ada@example.org>")', short="a"),
            Option("change", LIST, "Apply a Dockerfile instruction to the image", short="c"),
            Option("message", TEXT, "Commit message", short="m"),
            Option("pause", BOOL, "Freeze the container during the commit", short="p", default=True),
            Option("no-pause", BOOL, "The same as --pause=false"),
        ),
        usage="CONTAINER [REPOSITORY[:TAG]]",
        least=1,
        most=2,
        completes="containers",
        epilog="pyd commit -c 'CMD [\"serve\"]' web web:configured",
    ),
    "export": Command(
        "export",
        export,
        "Export a container's filesystem as a tar archive",
        (_OUTPUT,),
        usage="CONTAINER",
        least=1,
        most=1,
        completes="containers",
        epilog="pyd export web | tar -t",
    ),
    "diff": Command(
        "diff",
        diff,
        "Inspect changes to files or directories on a container's filesystem",
        usage="CONTAINER",
        least=1,
        most=1,
        completes="containers",
    ),
    "save": Command(
        "save",
        save,
        "Save images to a tar archive that Docker, Podman and containerd load",
        (
            Option(
                "format",
                TEXT,
                "docker (an OCI layout that docker load reads too) or oci",
                default="docker",
                values=("docker", "oci"),
            ),
            _OUTPUT,
            Option("platform", TEXT, "Save only if the image is of this platform: os/arch[/variant]"),
            Option("quiet", BOOL, "No progress bars", short="q"),
        ),
        usage="IMAGE [IMAGE...]",
        least=1,
        most=None,
        completes="images",
        epilog="pyd save -o images.tar web:1 web:2 db",
    ),
}
