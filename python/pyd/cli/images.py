"""pull, load, import, images, rmi, tag, history, and `pyd image ...`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial

from pyd import errors
from pyd.cli.command import BOOL, LIST, TEXT, Args, Command, Option, UsageError, refuse_content_trust

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyd.engine.engine import Engine
    from pyd.engine.image_views import Branch, Row

_NONE = "<none>"


def _engine() -> Engine:
    from pyd.engine.engine import Engine

    return Engine()


def _pull(args: Args) -> int:
    from pyd.cli import progress
    from pyd.engine.image_pull import Pulled, Reference

    refuse_content_trust(args)
    quiet = args.flag("quiet")
    reference = Reference.parse(args.rest[0])
    every = args.flag("all-tags")
    if reference.is_name_only and not quiet and not every:
        print("Using default tag: latest", flush=True)
    is_new = False
    with _engine() as engine:
        images = engine.images
        watcher = progress.watcher(quiet=quiet)
        get = partial(
            images.pull_all if every else images.pull,
            args.rest[0],
            platform=args.text("platform"),
            tls_verify=args.flag("tls-verify"),
            watcher=watcher,
        )
        got = get()
        for pulled in [got] if isinstance(got, Pulled) else got:
            is_new |= pulled.is_new
            if not quiet:
                print(f"Digest: {pulled.digest}", flush=True)
    if not every:
        reference = pulled.reference
    if not quiet:
        state = "Downloaded newer image for" if is_new else "Image is up to date for"
        print(f"Status: {state} {reference.familiar_repository if every else reference.familiar}")
    print(reference.repository if every else reference.canonical)
    return 0


def _load(args: Args) -> int:
    from pyd.cli import progress
    from pyd.engine.archive import message

    path = args.text("input")
    if path is None and sys.stdin.isatty():
        raise errors.InvalidArgument(
            "requested load from stdin, but stdin is empty", "give a file with -i, or pipe it in"
        )
    with _engine() as engine:
        loaded = engine.images.load(
            path or os.fdopen(0, "rb", closefd=False),
            platform=args.text("platform"),
            watcher=progress.loading(quiet=args.flag("quiet")),
        )
    for line in message(loaded):
        print(line)
    return 0


def _import(args: Args) -> int:
    source = args.rest[0]
    name = args.rest[1] if len(args.rest) > 1 else ""
    with _engine() as engine:
        before = engine.images.named(name) if name else None
        image_id = engine.images.import_(
            os.fdopen(0, "rb", closefd=False) if source == "-" else source,
            name=name,
            changes=args.all("change"),
            message=args.text("message") or "",
            platform=args.text("platform"),
        )
    if before not in (None, image_id):
        # Whoever runs the name next gets another program: not without a word (CVE-2026-50195)
        text = f"The image {name} already exists, renaming the old one with ID {before} to empty string"
        print(text, file=sys.stderr)
    print(image_id)
    return 0


_HEADERS = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "ID": "IMAGE ID",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "VirtualSize": "SIZE",
    "Containers": "CONTAINERS",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
}


def _list(args: Args) -> int:
    from pyd.cli.table import print_rows

    name, filters = args.rest[0] if args.rest else "", args.all("filter")
    full, format = args.flag("no-trunc"), args.text("format")
    if args.flag("tree"):
        if format or args.flag("quiet"):
            raise UsageError("--tree cannot be used with --format or --quiet")
        with _engine() as engine:
            _print_tree(engine.images.tree(name=name, filters=filters), full)
        return 0
    with _engine() as engine:
        rows = engine.images.list(name=name, filters=filters)
        # only for those who ask: it needs the layers of all images
        wants_shared = format == "json" or any(
            field in (format or "") for field in ("SharedSize", "UniqueSize")
        )
        shared = engine.images.shared_sizes() if wants_shared else None
    if args.flag("quiet"):
        for image_id in dict.fromkeys(row.id for row in rows):
            print(image_id if full else image_id[7:19])
        return 0
    if format is None:
        from pyd.config import docker_config

        wanted = docker_config().get("imagesFormat")
        format = wanted if isinstance(wanted, str) else None
    columns = ["Repository", "Tag", "ID", "CreatedSince", "Size"]
    if args.flag("digests"):
        columns.insert(2, "Digest")
    print_rows([_fields(row, full, shared) for row in rows], _HEADERS, columns, format)
    return 0


def _print_tree(branches: Sequence[Branch], full: bool) -> None:
    """Each image below that which it is built on, with the bytes that it adds."""
    from pyd.engine.image_remove import familiar
    from pyd.sizes import decimal_size

    def show(branch: Branch, lead: str, below: str, is_child: bool) -> None:
        image = branch.image
        names = ", ".join(familiar(key) for key in image.references) or _NONE
        size = decimal_size(image.size)
        size = f"+{decimal_size(branch.own)} of {size}" if is_child else size
        print(f"{lead}{names}  {image.id if full else image.id[7:19]}  {size}")
        for child in branch.children[:-1]:
            show(child, f"{below}├── ", f"{below}│   ", True)
        for child in branch.children[-1:]:
            show(child, f"{below}└── ", f"{below}    ", True)

    for branch in branches:
        show(branch, "", "", False)


def _fields(row: Row, full: bool, shared: Mapping[str, int] | None) -> dict[str, str]:
    from pyd.cli.table import age, local_time
    from pyd.sizes import decimal_size

    since = age(row.created)
    size = decimal_size(row.size)
    return {
        "Repository": row.repository,
        "Tag": row.tag,
        "Digest": row.digest,
        "ID": row.id if full else row.id[7:19],
        "CreatedSince": f"{since} ago" if since else "N/A",
        "CreatedAt": local_time(row.created) or "N/A",
        "Size": size,
        "VirtualSize": size,
        "Containers": str(row.containers),
        "SharedSize": "N/A" if shared is None else decimal_size(shared.get(row.id, 0)),
        "UniqueSize": "N/A" if shared is None else decimal_size(row.size - shared.get(row.id, 0)),
    }


def _remove(args: Args) -> int:
    from pyd.cli.main import each

    with _engine() as engine:

        def one(name: str) -> str:
            lines = engine.images.remove(name, force=args.flag("force"), prune=False)
            return "\n".join(lines)

        status = each(args, one)
        sys.stdout.flush()
        # the answer is out: what takes time comes now, and what takes long goes on without us
        if not args.flag("no-prune"):
            engine.images.sweep()
    return status


def _tag(args: Args) -> int:
    with _engine() as engine:
        engine.images.tag(args.rest[0], args.rest[1])
    return 0


_HISTORY = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
}


def _history(args: Args) -> int:
    from pyd.cli.human import printable
    from pyd.cli.table import age, print_rows
    from pyd.sizes import decimal_size

    with _engine() as engine:
        lines = engine.images.history(args.rest[0])
    full, human = args.flag("no-trunc"), args.flag("human")
    if args.flag("quiet"):
        for line in lines:
            print(line.id if full or line.id.startswith("<") else line.id[7:19])
        return 0
    rows = []
    for line in lines:
        since = age(line.created)
        by = printable(line.created_by).replace("\t", " ").replace("\n", " ")
        rows.append(
            {
                "ID": line.id if full or line.id.startswith("<") else line.id[7:19],
                "CreatedSince": (f"{since} ago" if since else "N/A") if human else line.created,
                "CreatedAt": line.created,
                "CreatedBy": by if full or len(by) <= 45 else by[:44] + "…",
                "Size": decimal_size(line.size) if human else str(line.size),
                "Comment": printable(line.comment).replace("\n", " "),
            }
        )
    columns = ("ID", "CreatedSince" if human else "CreatedAt", "CreatedBy", "Size", "Comment")
    print_rows(rows, _HISTORY, columns, args.text("format"))
    return 0


def _inspect(args: Args) -> int:
    from pyd.cli.human import print_documents
    from pyd.cli.main import report

    found, status = [], 0
    remote, verify = args.flag("remote"), args.flag("tls-verify")
    if args.flag("raw"):
        if len(args.rest) > 1 or args.text("format"):
            raise UsageError("--raw prints the manifest of one image as it is")
        with _engine() as engine:
            sys.stdout.buffer.write(engine.images.raw(args.rest[0], remote=remote, tls_verify=verify))
        return 0
    with _engine() as engine:
        for name in args.rest:
            try:
                if remote:
                    one = engine.images.inspect_remote(
                        name, platform=args.text("platform"), tls_verify=verify
                    )
                else:
                    one = engine.images.inspect(name)
                found.append(one)
            except errors.PydError as error:
                report(error, args.path)
                status = 1
    print_documents(found, args.text("format"))
    return status


_QUIET = Option("quiet", BOOL, "Only show image IDs", short="q")
_NO_TRUNC = Option("no-trunc", BOOL, "Don't truncate output")
_FORMAT = Option("format", TEXT, "Format output using a Go template, 'table TEMPLATE' or 'json'")
_PLATFORM = Option("platform", TEXT, "Platform in the form os/arch[/variant]")
_LIST = (
    Option("all", BOOL, "Show all images (there are no hidden intermediate ones)", short="a"),
    Option("digests", BOOL, "Show digests"),
    Option("filter", LIST, "Filter output: dangling, label, before, since, reference, until", short="f"),
    _FORMAT,
    _NO_TRUNC,
    _QUIET,
    Option("tree", BOOL, "Show each image below that which it is built on"),
)
_REMOVE = (
    Option("force", BOOL, "Force removal of the image", short="f"),
    Option("no-prune", BOOL, "Do not free blobs and layers now"),
)

COMMANDS = {
    command.name: command
    for command in (
        Command(
            "pull",
            _pull,
            "Pull an image from a registry",
            (
                Option("all-tags", BOOL, "Download all tagged images in the repository", short="a"),
                Option(
                    "disable-content-trust",
                    BOOL,
                    "Signatures are not verified yet: =false is refused",
                    default=True,
                ),
                _PLATFORM,
                Option("quiet", BOOL, "Suppress verbose output", short="q"),
                Option("tls-verify", BOOL, "Require https with a valid certificate", default=True),
            ),
            usage="NAME[:TAG|@DIGEST]",
            least=1,
            most=1,
            epilog="pyd pull debian:bookworm",
        ),
        Command(
            "load",
            _load,
            "Load images from an archive (docker save, OCI layout) or stdin",
            (
                Option(
                    "input",
                    TEXT,
                    "Read from this file or OCI layout directory instead of stdin",
                    short="i",
                    metavar="file",
                ),
                _PLATFORM,
                Option("quiet", BOOL, "Suppress the load output", short="q"),
            ),
            epilog="pyd load -i images.tar",
        ),
        Command(
            "import",
            _import,
            "Import the contents of a tarball as an image",
            (
                Option("change", LIST, "Apply a Dockerfile instruction to the image", short="c"),
                Option("message", TEXT, "Commit message for the imported image", short="m"),
                _PLATFORM,
            ),
            usage="file|URL|- [REPOSITORY[:TAG]]",
            least=1,
            most=2,
            completes="files",
            epilog="pyd import -c 'CMD [\"sh\"]' rootfs.tar.gz mine:1",
        ),
        Command(
            "images", _list, "List images", _LIST, usage="[REPOSITORY[:TAG]]", most=1, completes="images"
        ),
        Command("ls", _list, "List images", _LIST, usage="[REPOSITORY[:TAG]]", most=1, completes="images"),
        Command("list", _list, "List images", _LIST, usage="[REPOSITORY[:TAG]]", most=1, completes="images"),
        *(
            Command(
                name,
                _remove,
                "Remove images",
                _REMOVE,
                usage="IMAGE...",
                least=1,
                most=None,
                completes="images",
            )
            for name in ("rmi", "rm", "remove")
        ),
        Command(
            "tag",
            _tag,
            "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
            usage="SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
            least=2,
            most=2,
            completes="images",
        ),
        Command(
            "history",
            _history,
            "Show the history of an image",
            (
                _FORMAT,
                Option(
                    "human", BOOL, "Print sizes and dates in human readable format", short="H", default=True
                ),
                _NO_TRUNC,
                _QUIET,
            ),
            usage="IMAGE",
            least=1,
            most=1,
            completes="images",
        ),
        Command(
            "inspect",
            _inspect,
            "Display detailed information on images",
            (
                Option("format", TEXT, "Format output using a Go template, or 'json'", short="f"),
                Option("platform", TEXT, "With --remote: the platform, os/arch[/variant]"),
                Option("raw", BOOL, "Print the manifest, byte for byte"),
                Option("remote", BOOL, "Ask the registry; nothing is pulled"),
                Option("tls-verify", BOOL, "Require https with a valid certificate", default=True),
            ),
            usage="IMAGE...",
            least=1,
            most=None,
            completes="images",
        ),
    )
}
