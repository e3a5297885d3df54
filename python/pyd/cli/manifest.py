"""manifest create, annotate, inspect, push, rm: one name for several platforms."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pyd.cli.command import BOOL, LIST, TEXT, Args, Command, Option

if TYPE_CHECKING:
    from pyd.engine.engine import Engine


def _engine() -> Engine:
    from pyd.engine.engine import Engine

    return Engine()


def _create(args: Args) -> int:
    with _engine() as engine:
        name = engine.manifests.create(
            args.rest[0], args.rest[1:], amend=args.flag("amend"), insecure=args.flag("insecure")
        )
    print(f"Created manifest list {name}")
    return 0


def _annotate(args: Args) -> int:
    with _engine() as engine:
        engine.manifests.annotate(
            args.rest[0],
            args.rest[1],
            os=args.text("os") or "",
            architecture=args.text("arch") or "",
            variant=args.text("variant") or "",
            os_version=args.text("os-version") or "",
            os_features=args.all("os-features"),
        )
    return 0


def _inspect(args: Args) -> int:
    with _engine() as engine:
        document = engine.manifests.inspect(
            args.rest[-1],
            inside=args.rest[0] if len(args.rest) > 1 else "",
            verbose=args.flag("verbose"),
            insecure=args.flag("insecure"),
        )
    print(json.dumps(document, indent="\t", ensure_ascii=False))
    return 0


def _push(args: Args) -> int:
    with _engine() as engine:
        digest = engine.manifests.push(
            args.rest[0],
            purge=args.flag("purge"),
            insecure=args.flag("insecure"),
            said=lambda line: print(line, flush=True),
        )
    print(digest)
    return 0


def _remove(args: Args) -> int:
    from pyd.cli.main import each

    with _engine() as engine:
        return each(args, engine.manifests.remove)


_INSECURE = Option("insecure", BOOL, "Allow communication with an insecure registry")

COMMANDS = {
    f"manifest {command.name}": command
    for command in (
        Command(
            "create",
            _create,
            "Create a local manifest list for annotating and pushing to a registry",
            (Option("amend", BOOL, "Amend an existing manifest list", short="a"), _INSECURE),
            usage="MANIFEST_LIST MANIFEST [MANIFEST...]",
            least=2,
            most=None,
            epilog="pyd manifest create team/app:1 team/app:1-amd64 team/app:1-arm64",
        ),
        Command(
            "annotate",
            _annotate,
            "Add information to an entry of a local manifest list",
            (
                Option("arch", TEXT, "Set architecture"),
                Option("os", TEXT, "Set operating system"),
                Option("os-features", LIST, "Set operating system features"),
                Option("os-version", TEXT, "Set operating system version"),
                Option("variant", TEXT, "Set architecture variant"),
            ),
            usage="MANIFEST_LIST MANIFEST",
            least=2,
            most=2,
        ),
        Command(
            "inspect",
            _inspect,
            "Display an image manifest, or manifest list",
            (
                _INSECURE,
                Option("verbose", BOOL, "Output additional info including layers and platform", short="v"),
            ),
            usage="[MANIFEST_LIST] MANIFEST",
            least=1,
            most=2,
        ),
        Command(
            "push",
            _push,
            "Push a manifest list to a registry",
            (_INSECURE, Option("purge", BOOL, "Remove the local manifest list after push", short="p")),
            usage="MANIFEST_LIST",
            least=1,
            most=1,
        ),
        Command(
            "rm",
            _remove,
            "Delete local manifest lists",
            usage="MANIFEST_LIST [MANIFEST_LIST...]",
            least=1,
            most=None,
        ),
    )
}
