"""What a list of entries makes of an empty directory: the rules of rust/layers, written a second time.

OCI image spec layer.md for whiteouts; the last entry of a name wins; no symbolic link is followed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

AUFS, WHITEOUT, OPAQUE = b".wh..wh.", b".wh.", b".wh..wh..opq"
Path = tuple[bytes, ...]


class Refused(Exception):
    """The reader, or the rules, do not take this archive; the message says why."""


@dataclass(frozen=True)
class Entry:
    """As a reader of archives found it; `content` is None where it is too long to compare."""

    name: bytes
    kind: str  # file directory symlink hardlink char block fifo
    size: int = 0
    content: bytes | None = None
    link: bytes = b""
    mode: int = 0
    uid: int = 0
    gid: int = 0
    device: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Node:
    """A thing in a directory. `inode` is the same for names of one file."""

    kind: str  # also whiteout
    size: int = 0
    content: bytes | None = None
    link: bytes = b""
    mode: int | None = None  # None: nobody said
    owner: tuple[int, int] | None = None
    device: tuple[int, int] = (0, 0)
    inode: int = 0


class Tree:
    """Entries go in by `add`; `nodes` after `finish` is what must be there."""

    def __init__(self) -> None:
        self.nodes: dict[Path, Node] = {(): Node("directory")}
        self._pending: dict[Path, Path] = {}
        self._inodes = 0

    def add(self, entry: Entry) -> None:
        path = _normal(entry.name)
        parents = path[:-1]
        if any(part.startswith(AUFS) for part in parents):
            return
        if any(part.startswith(WHITEOUT) for part in parents):
            raise Refused("below a whiteout")
        base = path[-1] if path else b""
        if base == OPAQUE:
            if parents:
                self._parents((*parents, b""))
            return
        if base.startswith(AUFS):
            return
        if base.startswith(WHITEOUT):
            self._whiteout(path)
            return
        if not path and entry.kind != "directory":
            raise Refused("root")
        self._pending.pop(path, None)
        if entry.kind == "hardlink":
            self._hard_link(path, entry)
            return
        if path:
            self._parents(path)
        old = self.nodes.get(path)
        if not (old and old.kind == entry.kind == "directory"):
            self._remove(path)
        self._inodes += 1
        device = entry.device if entry.kind in ("char", "block") else (0, 0)
        kind = "whiteout" if entry.kind == "char" and device == (0, 0) else entry.kind
        link = entry.link if kind == "symlink" else b""
        if kind == "symlink" and not link:
            raise Refused("symlink without a target")
        size = entry.size if kind == "file" else 0
        content = entry.content if kind == "file" else None
        mode = None if kind == "symlink" else entry.mode
        owner = (entry.uid, entry.gid)
        self.nodes[path] = Node(kind, size, content, link, mode, owner, device, self._inodes)

    def finish(self) -> dict[Path, Node]:
        for path, target in self._pending.items():
            if path[:-1] not in self.nodes:
                continue  # its directory was replaced by a later entry
            node = self.nodes.get(target)
            if node is None or node.kind in ("directory", "whiteout"):
                raise Refused("hard link to nothing")
            self.nodes[path] = node
        return self.nodes

    def _whiteout(self, path: Path) -> None:
        hidden = path[-1].removeprefix(WHITEOUT)
        if hidden in (b"", b".", b".."):
            raise Refused("whiteout of nothing")
        place = (*path[:-1], hidden)
        if place in self._pending:
            return
        self._parents(place)
        if place not in self.nodes:
            self._inodes += 1
            self.nodes[place] = Node("whiteout", inode=self._inodes)

    def _hard_link(self, path: Path, entry: Entry) -> None:
        target = _normal(entry.link)
        if not target or target[-1].startswith(WHITEOUT):
            raise Refused("hard link to that cannot be")
        if not path:
            raise Refused("root")
        self._check_parents(target)
        node = self.nodes.get(target)
        self._parents(path)
        if node is None:
            self._remove(path)
            self._pending[path] = target
            return
        if node.kind in ("directory", "whiteout"):
            raise Refused("hard link to a directory or what is removed")
        if target == path:
            return
        if target[: len(path)] == path:
            raise Refused("inside what it replaces")
        self._remove(path)
        self.nodes[path] = node

    def _check_parents(self, path: Path) -> None:
        for end in range(1, len(path)):
            node = self.nodes.get(path[:end])
            if node is None:
                return
            if node.kind != "directory":
                raise Refused("through a link or a file")

    def _parents(self, path: Path) -> None:
        self._check_parents(path)
        for end in range(1, len(path)):
            if path[:end] in self._pending:
                raise Refused("below a hard link")
            self.nodes.setdefault(path[:end], Node("directory"))

    def _remove(self, path: Path) -> None:
        if path not in self.nodes:
            return
        for each in [each for each in self.nodes if each[: len(path)] == path]:
            del self.nodes[each]


def built(entries: list[Entry]) -> dict[Path, Node]:
    tree = Tree()
    for entry in entries:
        tree.add(entry)
    return tree.finish()


def with_links_named(nodes: dict[Path, Node]) -> dict[Path, Node]:
    """Inode numbers replaced by one that depends on the names only: the rank of the file's first name."""
    first: dict[int, int] = {}
    named = {}
    for rank, path in enumerate(sorted(nodes)):
        node = nodes[path]
        if node.kind == "directory":
            named[path] = replace(node, inode=0)
        else:
            named[path] = replace(node, inode=first.setdefault(node.inode, rank))
    return named


def _normal(name: bytes) -> Path:
    if not name:
        raise Refused("no name")
    path: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not path:
                raise Refused("escapes")
            path.pop()
        elif part not in (b"", b"."):
            path.append(part)
    return tuple(path)
