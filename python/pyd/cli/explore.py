"""pyd image diff, pyd image explore."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from pyd import errors
from pyd.cli.command import BOOL, INT, TEXT, Args, Command, Option, UsageError
from pyd.cli.human import printable
from pyd.sizes import decimal_size

if TYPE_CHECKING:
    from pyd.engine.image_diff import Difference, FileDifference, FileNode, Layer, Setting
    from pyd.engine.image_explore import Explored, Node

_MARKS = {"added": "A", "removed": "D", "changed": "C"}


def diff(args: Args) -> int:
    from pyd.engine import image_diff
    from pyd.engine.engine import Engine

    before, after = args.rest
    with Engine() as engine:
        found = engine.images.diff(before, after, mtime=args.flag("mtime"))
    if not _formatted(args, lambda: image_diff.document(found)):
        parts = {"config": _settings, "layers": _layers, "files": _files}
        only = args.text("only")
        if only is None:
            print(f"--- {_title(before, found.before.id, found.before.size)}")
            print(f"+++ {_title(after, found.after.id, found.after.size)}")
        for name, show in parts.items():
            if only in (None, name):
                _print(show(found))
    return 1 if args.flag("exit-code") and not found.is_empty else 0


def explore(args: Args) -> int:
    from pyd.engine import image_explore
    from pyd.engine.engine import Engine

    top, depth = args.int("top") or 0, args.int("depth") or 0
    if top < 0 or depth < 0:
        raise UsageError("--top and --depth cannot be negative")
    with Engine() as engine:
        found = engine.images.explore(args.rest[0], copies=args.flag("duplicates"))
    page = args.text("html")
    if page is not None:
        from pyd.cli.explore_page import page as made

        _write(page, made(found, args.rest[0]))
        return 0
    if not _formatted(args, lambda: image_explore.document(found, top=top, depth=depth)):
        _print(_explored(found, args.rest[0], top, depth))
    return 0


def _formatted(args: Args, document: Callable[[], dict[str, Any]]) -> bool:
    """Print it by --json or --format; False when neither was given."""
    import json

    form = "json" if args.flag("json") else args.text("format")
    if not form:
        return False
    if form == "json":
        # ASCII: names need not be UTF-8, and JSON has a way to say so
        print(json.dumps(document(), indent=2))
        return True
    from pyd.cli.human import print_documents

    print_documents([_plain(document())], form)
    return True


def _plain(value: Any) -> Any:
    """The document with names that a terminal may be shown."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _write(path: str, text: str) -> None:
    data = text.encode("utf-8")
    if path == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        with open(path, "wb") as file:
            file.write(data)
    except OSError as error:
        raise errors.from_os_error(error, f"writing {path}") from error
    print(os.path.abspath(path))


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def _title(name: str, image_id: str, size: int) -> str:
    return f"{printable(name)}  {image_id[7:19]}  {decimal_size(size)}"


def _settings(found: Difference) -> Iterable[str]:
    if found.settings:
        yield "\nConfig:"
    for one in found.settings:
        yield _setting(one)


def _setting(one: Setting) -> str:
    name = printable(one.name)
    if one.before is None:
        return f"  + {name}: {_value(one.after)}"
    if one.after is None:
        return f"  - {name}: {_value(one.before)}"
    return f"  ~ {name}: {_value(one.before)} -> {_value(one.after)}"


def _value(value: Any) -> str:
    import json

    return printable(value if isinstance(value, str) else json.dumps(value))


def _layers(found: Difference) -> Iterable[str]:
    shared = sum(layer.size for layer in found.shared)
    yield f"\nLayers: {len(found.shared)} shared ({decimal_size(shared)})"
    for mark, layers in (("-", found.only_before), ("+", found.only_after)):
        for layer in layers:
            yield f"  {mark} {_layer(layer)}"


def _layer(layer: Layer) -> str:
    return f"{layer.diff_id[7:19]}  {decimal_size(layer.size):>7}  {_shortened(layer.created_by)}".rstrip()


def _shortened(text: str, length: int = 90) -> str:
    text = printable(" ".join(text.split()))
    return text if len(text) <= length else text[: length - 1] + "…"


def _files(found: Difference) -> Iterable[str]:
    count = {kind: found.of_kind(kind) for kind in _MARKS}
    added = sum(one.after.size for one in count["added"] if one.after)
    removed = sum(one.before.size for one in count["removed"] if one.before)
    yield (
        f"\nFiles: {len(count['added'])} added ({decimal_size(added)}), "
        f"{len(count['removed'])} removed ({decimal_size(removed)}), {len(count['changed'])} changed"
    )
    for one in found.files:
        yield _file(one)


def _file(one: FileDifference) -> str:
    from pyd.engine.image_diff import kind_of, mode_text

    kind = kind_of(one)
    path = printable(f"/{one.path}")
    before, after = one.before, one.after
    if before is not None and after is not None:
        # a time is worth a word only where it is all that differs
        changes = [what for what in one.changes if what != "mtime"] or one.changes
        return f"  C {path}  {', '.join(_change(what, before, after) for what in changes)}"
    node = before or after
    assert node is not None
    size = f"  {decimal_size(node.size)}" if node.kind == "file" else ""
    target = f" -> {printable(node.target)}" if node.kind == "symlink" else ""
    return f"  {_MARKS[kind]} {path}{target}  {mode_text(node)} {node.uid}:{node.gid}{size}"


def _change(what: str, before: FileNode, after: FileNode) -> str:
    from pyd.engine.image_diff import mode_text

    if what == "xattrs":
        names = sorted({name for name, _ in {*before.xattrs} ^ {*after.xattrs}})
        return f"xattrs {', '.join(map(printable, names))}"
    if what in ("content", "mtime"):
        return what
    texts: dict[str, Callable[[FileNode], str]] = {
        "type": lambda node: node.kind,
        "size": lambda node: decimal_size(node.size),
        "mode": mode_text,
        "owner": lambda node: f"{node.uid}:{node.gid}",
        "target": lambda node: printable(node.target),
        "device": lambda node: ":".join(map(str, node.device)),
    }
    return f"{what} {texts[what](before)} -> {texts[what](after)}"


def _explored(found: Explored, name: str, top: int, depth: int) -> Iterable[str]:
    limit = top or None
    yield _title(name, found.image.id, found.stored)
    yield (
        f"visible {decimal_size(found.visible[1])} in {found.visible[0]} files, "
        f"wasted {decimal_size(found.wasted[1])} in {found.wasted[0]}, "
        f"efficiency {found.efficiency:.1%}"
    )
    yield "\nLayers (bottom first):"
    for number, layer in enumerate(found.layers):
        yield (
            f"  {number:>2}  {decimal_size(layer.bytes):>7}  "
            f"+{layer.added[0]} ~{layer.changed[0]} -{layer.removed[0]}"
            + (f"  wasted {decimal_size(layer.wasted[1])}" if layer.wasted[1] else "")
            + f"  {_shortened(layer.created_by)}".rstrip()
        )
        for kind, path, size in layer.events[: min(3, top) if top else 3]:
            yield f"        {_MARKS[kind]} {decimal_size(size):>7}  {printable('/' + path)}"
    if found.wastes:
        yield "\nWasted (stored, but replaced or removed by a later layer):"
    for path, size, layers in found.wastes[:limit]:
        yield f"  {decimal_size(size):>7}  {printable('/' + path)}  (layer {', '.join(map(str, layers))})"
    if found.copies:
        yield f"\nDuplicates ({decimal_size(found.copied[1])} in {found.copied[0]} further copies):"
    for size, places in found.copies[:limit]:
        shown = ", ".join(f"{printable('/' + path)} (layer {layer})" for layer, path in places[:4])
        more = f", and {len(places) - 4} more" if len(places) > 4 else ""
        yield f"  {decimal_size(size):>7} x {len(places)}  {shown}{more}"
    yield "\nBiggest files:"
    for path, size, file_layer in found.files[:limit]:
        yield f"  {decimal_size(size):>7}  {printable('/' + path)}  (layer {file_layer})"
    yield "\nTree:"
    yield from _branch(found.tree, limit, depth, "")


def _branch(node: Node, limit: int | None, depth: int, indent: str) -> Iterable[str]:
    name = printable(node.name or "/") + ("/" if node.is_directory and node.name else "")
    count = f"  ({node.files} files)" if node.is_directory else ""
    yield f"{decimal_size(node.bytes):>8}  {indent}{name}{count}"
    if depth <= 0:
        return
    for child in node.children[:limit]:
        yield from _branch(child, limit, depth - 1, indent + "  ")
    rest = node.children[len(node.children) if limit is None else limit :]
    if rest:
        size = decimal_size(sum(child.bytes for child in rest))
        yield f"{size:>8}  {indent}  … {len(rest)} more"


_JSON = Option("json", BOOL, "Print JSON")
_FORMAT = Option("format", TEXT, "Go template, or json")
COMMANDS = {
    "diff": Command(
        "diff",
        diff,
        "Show in what two images differ: settings, layers, files (A added, D deleted, C changed)",
        (
            Option("exit-code", BOOL, "Exit with 1 if they differ"),
            _FORMAT,
            _JSON,
            Option("mtime", BOOL, "Files count as changed when only their time differs"),
            Option("only", TEXT, "Show one part", values=("config", "layers", "files")),
        ),
        usage="IMAGE IMAGE",
        least=2,
        most=2,
        completes="images",
        epilog="pyd image diff nginx:1.26 nginx:1.27",
    ),
    "explore": Command(
        "explore",
        explore,
        "Show what each layer of an image adds, its biggest files, and the bytes that are wasted",
        (
            Option("depth", INT, "Levels of the tree", default=2),
            Option("duplicates", BOOL, "Look for files with the same content, too", default=True),
            _FORMAT,
            Option("html", TEXT, "Write a page with a picture to this file (- = stdout)", metavar="file"),
            _JSON,
            Option("top", INT, "Length of each list, 0 = whole", default=10),
        ),
        usage="IMAGE",
        least=1,
        most=1,
        completes="images",
        epilog="pyd image explore --html debian.html debian",
    ),
}
