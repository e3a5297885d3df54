"""`image explore`: what each layer of an image adds, where its bytes are, and which of them nobody sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyd.engine.image_views import layer_steps

if TYPE_CHECKING:
    from pyd.store import Store
    from pyd.store.images import Image
    from pyd.store.snapshots import ImageContent

Copies = list[tuple[int, list[tuple[int, str]]]]


@dataclass(slots=True)
class Node:
    """A file or directory of the finished image. Children are the biggest first."""

    name: str
    path: str  # without a slash at its beginning
    bytes: int  # of a directory: of all below it, hard links once
    files: int
    layer: int  # from 0, the uppermost that has it
    is_directory: bool = False
    children: list[Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class LayerView:
    """Pairs are (files, bytes)."""

    digest: str  # chainID
    diff_id: str
    created_by: str
    bytes: int
    entries: int
    added: tuple[int, int]
    changed: tuple[int, int]
    removed: tuple[int, int]
    wasted: tuple[int, int]
    events: list[tuple[str, str, int]]  # (added, changed or removed; path; bytes), biggest first


@dataclass(frozen=True, slots=True)
class Explored:
    image: Image
    layers: tuple[LayerView, ...]  # bottom first
    tree: Node
    files: list[tuple[str, int, int]]  # (path, bytes, layer), biggest first
    directories: list[Node]  # the biggest first, without the root
    visible: tuple[int, int]
    wasted: tuple[int, int]
    wastes: list[tuple[str, int, list[int]]]  # (path, bytes, layers that have it in vain)
    copied: tuple[int, int]
    copies: Copies  # (bytes of one, [(layer, path)])
    efficiency: float

    @property
    def stored(self) -> int:
        """Bytes of all layers: those that are seen and those that are wasted."""
        return self.visible[1] + self.wasted[1]


def explore(store: Store, name: str, *, copies: bool = True) -> Explored:
    """`copies`: look for files with the same content too, which reads those of the same length.

    The efficiency is `dive`'s: for all paths together, the fewest bytes that a path has in any layer by those
    that it has in all of them. A path that was removed needed none. (dive counts the files of a removed
    directory as if they were needed; here they are not.)
    """
    image = store.images.resolve(name)
    found = store.snapshots.explore(image.layers, copies=copies)
    steps = layer_steps(image.config)
    layers = tuple(
        LayerView(
            digest=chain_id,
            diff_id=diff_id,
            created_by=step,
            bytes=one.bytes,
            entries=one.entries,
            added=one.added,
            changed=one.changed,
            removed=one.removed,
            wasted=one.wasted,
            events=one.events,
        )
        for chain_id, diff_id, step, one in zip(
            reversed(image.layers), image.config.diff_ids, steps, found.layers, strict=True
        )
    )
    files = found.files
    tree, directories = _tree(found, files)
    return Explored(
        image=image,
        layers=layers,
        tree=tree,
        files=files,
        directories=sorted(directories, key=lambda node: (-node.bytes, node.path)),
        visible=found.visible,
        wasted=found.wasted,
        wastes=found.wastes,
        copied=found.copied,
        copies=found.copies,
        efficiency=found.least / found.stored if found.stored else 1.0,
    )


def _tree(found: ImageContent, files: Sequence[tuple[str, int, int]]) -> tuple[Node, list[Node]]:
    root = Node("", "", 0, 0, 0, True)
    nodes = {"": root}
    for path, size, count, layer in found.directories:  # parents come first
        if not path:
            root.bytes, root.files, root.layer = size, count, layer
            continue
        above, _, name = path.rpartition("/")
        nodes[path] = node = Node(name, path, size, count, layer, True)
        nodes[above].children.append(node)
    for path, size, layer in files:
        above, _, name = path.rpartition("/")
        nodes[above].children.append(Node(name, path, size, 1, layer))
    for node in nodes.values():
        node.children.sort(key=lambda child: (-child.bytes, child.name))
    del nodes[""]
    return root, list(nodes.values())


def document(found: Explored, *, top: int = 20, depth: int = 2) -> dict[str, Any]:
    """All of it as JSON. `top`: length of lists, 0 = whole; `depth`: levels of the tree."""
    limit = top or None
    return {
        "Id": found.image.id,
        "Platform": found.image.platform,
        "Size": found.stored,
        "Visible": _tally(found.visible),
        "Wasted": {
            **_tally(found.wasted),
            "Paths": [
                {"Path": f"/{path}", "Bytes": size, "Layers": layers}
                for path, size, layers in found.wastes[:limit]
            ],
        },
        "Duplicates": {
            **_tally(found.copied),
            "Groups": [
                {"Bytes": size, "Copies": [{"Layer": layer, "Path": f"/{path}"} for layer, path in places]}
                for size, places in found.copies[:limit]
            ],
        },
        "Efficiency": found.efficiency,
        "Layers": [
            {
                "Layer": number,
                "ChainID": layer.digest,
                "DiffID": layer.diff_id,
                "CreatedBy": layer.created_by,
                "Bytes": layer.bytes,
                "Entries": layer.entries,
                "Added": _tally(layer.added),
                "Changed": _tally(layer.changed),
                "Removed": _tally(layer.removed),
                "Wasted": _tally(layer.wasted),
                "Biggest": [
                    {"Kind": kind, "Path": f"/{path}", "Bytes": size}
                    for kind, path, size in layer.events[:limit]
                ],
            }
            for number, layer in enumerate(found.layers)
        ],
        "Files": [
            {"Path": f"/{path}", "Bytes": size, "Layer": layer} for path, size, layer in found.files[:limit]
        ],
        "Directories": [
            {"Path": f"/{node.path}", "Bytes": node.bytes, "Files": node.files, "Layer": node.layer}
            for node in found.directories[:limit]
        ],
        "Tree": _branch(found.tree, limit, depth),
    }


def _tally(pair: tuple[int, int]) -> dict[str, int]:
    return {"Files": pair[0], "Bytes": pair[1]}


def _branch(node: Node, limit: int | None, depth: int) -> dict[str, Any]:
    made: dict[str, Any] = {"Name": node.name or "/", "Bytes": node.bytes, "Layer": node.layer}
    if node.is_directory:
        made["Files"] = node.files
        if depth > 0:
            made["Children"] = [_branch(child, limit, depth - 1) for child in node.children[:limit]]
    return made
