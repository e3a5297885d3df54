"""artifact push, attach, pull, ls, rm: files in a registry, by themselves or attached to an image."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from pyd.cli.command import BOOL, LIST, TEXT, Args, Command, Option, UsageError

if TYPE_CHECKING:
    from pyd.engine.artifacts import Node, Stored


def _annotations(args: Args) -> dict[str, str]:
    found = {}
    for text in args.all("annotation"):
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f'invalid argument "{text}" for "-a, --annotation" flag: it must be key=value')
        found[key] = value
    return found


def _push(args: Args) -> int:
    from pyd.engine import artifacts

    stored = artifacts.push(
        args.rest[0],
        args.rest[1:],
        artifact_type=args.text("artifact-type") or "",
        annotations=_annotations(args),
        config=args.text("config") or "",
        tls_verify=args.flag("tls-verify"),
    )
    return _told(args, stored)


def _attach(args: Args) -> int:
    from pyd.engine import artifacts

    kind = args.text("artifact-type")
    if not kind:
        raise UsageError("--artifact-type is required: it says what the files are to the image")
    stored = artifacts.attach(
        args.rest[0],
        args.rest[1:],
        artifact_type=kind,
        annotations=_annotations(args),
        tls_verify=args.flag("tls-verify"),
    )
    return _told(args, stored)


def _told(args: Args, stored: Stored) -> int:
    if args.flag("quiet"):
        print(stored.digest)
        return 0
    if stored.subject:
        print(f"Attached to {stored.reference.repository}@{stored.subject}")
    else:
        print(f"Pushed {args.rest[0]}")
    print(f"Digest: {stored.digest}")
    return 0


def _pull(args: Args) -> int:
    from pyd.cli.human import printable
    from pyd.engine import artifacts

    fetched = artifacts.pull(args.rest[0], args.text("output") or ".", tls_verify=args.flag("tls-verify"))
    for path in fetched.paths:
        print(printable(path))
    if not args.flag("quiet"):
        if fetched.unnamed:
            print(f"WARNING: {fetched.unnamed} blobs without a file name were not fetched", file=sys.stderr)
        print(f"Digest: {fetched.digest}")
    return 0


def _list(args: Args) -> int:
    from pyd.engine import artifacts

    subject, nodes = artifacts.tree(
        args.rest[0], artifact_type=args.text("artifact-type") or "", tls_verify=args.flag("tls-verify")
    )
    if args.text("format") == "json":
        document = {"reference": subject.canonical, "digest": subject.digest, "referrers": _documents(nodes)}
        print(json.dumps(document, indent=4, ensure_ascii=False))
        return 0
    print(subject.canonical)
    _print_tree(nodes, "")
    return 0


def _documents(nodes: list[Node] | tuple[Node, ...]) -> list[dict[str, Any]]:
    return [{**node.referrer.raw, "referrers": _documents(node.below)} for node in nodes]


def _print_tree(nodes: list[Node] | tuple[Node, ...], indent: str) -> None:
    from pyd.cli.human import printable

    for number, node in enumerate(nodes):
        last = number + 1 == len(nodes)
        kind = printable(node.referrer.artifact_type or node.referrer.descriptor.media_type)
        print(f"{indent}{'└── ' if last else '├── '}{kind}  {node.referrer.descriptor.digest}")
        _print_tree(node.below, indent + ("    " if last else "│   "))


def _remove(args: Args) -> int:
    from pyd.cli.main import each
    from pyd.engine import artifacts

    return each(
        args,
        lambda name: f"Deleted: {artifacts.remove(name, tls_verify=args.flag('tls-verify')).canonical}",
    )


_TYPE = Option("artifact-type", TEXT, "Media type of the artifact: what it is")
_ANNOTATION = Option("annotation", LIST, "Annotation of the manifest: key=value", short="a")
_TLS = Option("tls-verify", BOOL, "Require https with a valid certificate", default=True)
_QUIET = Option("quiet", BOOL, "Print only the digest, or the paths", short="q")

COMMANDS = {
    f"artifact {command.name}": command
    for command in (
        Command(
            "push",
            _push,
            "Push files to a registry as an artifact",
            (
                _TYPE,
                _ANNOTATION,
                Option("config", TEXT, "Config of the artifact: FILE[:MEDIA/TYPE]"),
                _TLS,
                _QUIET,
            ),
            usage="NAME[:TAG] FILE[:MEDIA/TYPE]...",
            least=2,
            most=None,
            completes="files",
            epilog="pyd artifact push --artifact-type application/vnd.me.config example.com/conf:1 a.json",
        ),
        Command(
            "attach",
            _attach,
            "Attach files to an image in its registry",
            (_TYPE, _ANNOTATION, _TLS, _QUIET),
            usage="NAME[:TAG|@DIGEST] FILE[:MEDIA/TYPE]...",
            least=1,
            most=None,
            completes="files",
            epilog="pyd artifact attach --artifact-type application/spdx+json example.com/app:1 sbom.json",
        ),
        Command(
            "pull",
            _pull,
            "Fetch the files of an artifact into a directory",
            (Option("output", TEXT, "The directory (default: this one)", short="o"), _TLS, _QUIET),
            usage="NAME[:TAG|@DIGEST]",
            least=1,
            most=1,
        ),
        Command(
            "ls",
            _list,
            "Show what refers to an image: signatures, SBOMs, attached files",
            (_TYPE, Option("format", TEXT, "tree or json", default="tree", values=("tree", "json")), _TLS),
            usage="NAME[:TAG|@DIGEST]",
            least=1,
            most=1,
        ),
        Command(
            "rm",
            _remove,
            "Delete artifacts from their registry",
            (_TLS,),
            usage="NAME[:TAG|@DIGEST]...",
            least=1,
            most=None,
        ),
    )
}
