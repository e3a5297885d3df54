"""`image diff`: in what two images differ, in their settings, their layers and their files."""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyd.engine.image_views import layer_steps

if TYPE_CHECKING:
    from pyd.store import Store
    from pyd.store.images import Image
    from pyd.store.snapshots import FileDifference as FileDifference
    from pyd.store.snapshots import FileNode as FileNode

_TYPES = {
    "file": stat.S_IFREG,
    "directory": stat.S_IFDIR,
    "symlink": stat.S_IFLNK,
    "fifo": stat.S_IFIFO,
    "socket": stat.S_IFSOCK,
    "character device": stat.S_IFCHR,
    "block device": stat.S_IFBLK,
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One value of the config that differs; `name` is "Cmd", or "Env PATH" for one entry of several. None:
    not there.
    """

    name: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Layer:
    diff_id: str
    size: int  # bytes, unpacked
    created_by: str


@dataclass(frozen=True, slots=True)
class Difference:
    before: Image
    after: Image
    settings: tuple[Setting, ...]
    shared: tuple[Layer, ...]  # bottom first
    only_before: tuple[Layer, ...]
    only_after: tuple[Layer, ...]
    files: tuple[FileDifference, ...]  # by path

    @property
    def is_empty(self) -> bool:
        return not (self.settings or self.only_before or self.only_after or self.files)

    def of_kind(self, kind: str) -> list[FileDifference]:
        """The files that were `added`, `removed` or `changed`."""
        return [one for one in self.files if kind_of(one) == kind]


def diff(store: Store, before: str, after: str, *, mtime: bool = False) -> Difference:
    """`mtime`: files count as changed too when nothing but their time of modification differs."""
    one, other = store.images.resolve(before), store.images.resolve(after)
    found = store.snapshots.compare(one.layers, other.layers)
    ours, theirs = _layers(store, one), _layers(store, other)
    # a layer is the same only on the same layers below: what is shared is a common beginning
    common = 0
    for chain, other_chain in zip(reversed(one.layers), reversed(other.layers), strict=False):
        if chain != other_chain:
            break
        common += 1
    return Difference(
        before=one,
        after=other,
        settings=tuple(_settings(one, other)),
        shared=ours[:common],
        only_before=ours[common:],
        only_after=theirs[common:],
        files=tuple(file for file in found if mtime or file.changes != ["mtime"]),
    )


def kind_of(file: FileDifference) -> str:
    """added, removed or changed"""
    if file.before is None:
        return "added"
    return "removed" if file.after is None else "changed"


def _layers(store: Store, image: Image) -> tuple[Layer, ...]:
    sizes = [size for _, size in store.images.chain(image.id)]
    steps = layer_steps(image.config)
    return tuple(
        Layer(diff_id, size, step)
        for diff_id, size, step in zip(image.config.diff_ids, sizes, steps, strict=True)
    )


def _settings(before: Image, after: Image) -> list[Setting]:
    found: list[Setting] = []
    for name, one, other in (
        ("Architecture", before.config.architecture, after.config.architecture),
        ("Os", before.config.os, after.config.os),
        ("Variant", before.config.variant, after.config.variant),
        ("Author", before.config.author, after.config.author),
        ("Created", before.created, after.created),
    ):
        if one != other:
            found.append(Setting(name, one or None, other or None))
    # as the documents have them: what this pyd knows nothing of differs too
    old, new = (image.config.raw.get("config") or {} for image in (before, after))
    for name in sorted({*old, *new}):
        found += _setting(name, old.get(name), new.get(name))
    return found


def _setting(name: str, one: Any, other: Any) -> list[Setting]:
    if name == "Env":
        one, other = _environment(one), _environment(other)
    if not (isinstance(one, Mapping) or isinstance(other, Mapping)):
        return [] if (one or None) == (other or None) else [Setting(name, one, other)]
    one, other = (value if isinstance(value, Mapping) else {} for value in (one, other))
    found = []
    for key in sorted({*one, *other}):
        values = one.get(key), other.get(key)
        if (key in one, values[0]) != (key in other, values[1]):
            found.append(Setting(f"{name} {key}", *values))
    return found


def _environment(entries: Any) -> dict[str, str]:
    pairs = (str(entry).partition("=") for entry in entries or ())
    return {name: value for name, _, value in pairs}


def mode_text(node: FileNode) -> str:
    """`-rwxr-xr-x`, as of ls(1)."""
    return stat.filemode(_TYPES[node.kind] | node.mode)


def document(found: Difference) -> dict[str, Any]:
    """All of it as JSON, with Docker's kind of names."""
    return {
        "Before": _image(found.before),
        "After": _image(found.after),
        "Config": [{"Name": one.name, "Before": one.before, "After": one.after} for one in found.settings],
        "Layers": {
            "Shared": _layer_documents(found.shared),
            "Before": _layer_documents(found.only_before),
            "After": _layer_documents(found.only_after),
        },
        "Files": {
            "Added": [_file(one.path, one.after) for one in found.of_kind("added")],
            "Removed": [_file(one.path, one.before) for one in found.of_kind("removed")],
            "Changed": [
                {
                    "Path": f"/{one.path}",
                    "Changes": list(one.changes),
                    "Before": _node(one.before),
                    "After": _node(one.after),
                }
                for one in found.of_kind("changed")
            ],
        },
    }


def _image(image: Image) -> dict[str, Any]:
    return {"Id": image.id, "Size": image.size, "Created": image.created, "Platform": image.platform}


def _layer_documents(layers: Sequence[Layer]) -> list[dict[str, Any]]:
    return [{"DiffID": one.diff_id, "Size": one.size, "CreatedBy": one.created_by} for one in layers]


def _file(path: str, node: FileNode | None) -> dict[str, Any]:
    return {"Path": f"/{path}", **_node(node)}


def _node(node: FileNode | None) -> dict[str, Any]:
    """Only what a file of this type can have."""
    if node is None:
        return {}
    seconds, nanoseconds = node.mtime
    return {
        "Type": node.kind,
        "Mode": f"{node.mode:04o}",
        "Uid": node.uid,
        "Gid": node.gid,
        "Mtime": seconds + nanoseconds / 1e9,
        **({"Size": node.size} if node.kind == "file" else {}),
        **({"Target": node.target} if node.kind == "symlink" else {}),
        **({"Device": ":".join(map(str, node.device))} if node.kind.endswith("device") else {}),
        **({"Xattrs": {name: value.hex() for name, value in node.xattrs}} if node.xattrs else {}),
    }
