"""Stacks of layers, read without a mount, against the kernel's own overlay of the same directories."""

from __future__ import annotations

import json
import os
import random
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyd import _native

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: whiteouts are device nodes")

COUNT = int(os.environ.get("PYD_TEST_VIEWS", "25"))
NAMES = ("a", "b", "c", "\udcff\n")

# mounts each stack in a mount namespace of its own, and prints what is seen there
LIST = r"""
import ctypes, hashlib, json, os, stat, sys
libc = ctypes.CDLL(None, use_errno=True)
def seen(root):
    found = {}
    def walk(path):
        for name in os.listdir(path):
            full = f"{path}/{name}"
            try:
                info = os.lstat(full)
            except FileNotFoundError:
                continue  # a whiteout in a directory that only one layer has: listed, and not there
            kind = stat.S_IFMT(info.st_mode)
            found[os.path.relpath(full, root)] = [
                info.st_mode, info.st_uid, info.st_gid,
                info.st_size if kind == stat.S_IFREG else 0,
                os.readlink(full) if kind == stat.S_IFLNK else "",
                hashlib.sha256(open(full, "rb").read()).hexdigest() if kind == stat.S_IFREG else "",
                {name: os.getxattr(full, name, follow_symlinks=False).hex()
                 for name in os.listxattr(full, follow_symlinks=False) if ".overlay." not in name},
            ]
            if kind == stat.S_IFDIR:
                walk(full)
    walk(root)
    return found
result = []
for layers in json.load(open(sys.argv[1])):
    target = sys.argv[2]
    stack = ":".join([*layers, sys.argv[3]])  # an empty one: the kernel wants two
    read_only = 1
    if libc.mount(b"overlay", target.encode(), b"overlay", read_only, f"lowerdir={stack}".encode()):
        raise OSError(ctypes.get_errno(), f"mount {stack}")
    result.append(seen(target))
    if libc.umount2(target.encode(), 0):
        raise OSError(ctypes.get_errno(), f"umount {stack}")
json.dump(result, sys.stdout)
"""


def mounted(directory: Path, stacks: list[list[str]]) -> list[dict[str, Any]]:
    """What the kernel shows of each stack (top first): path -> mode, owner, size, target, hash, attributes.

    The mounts are in a namespace that ends with the listing.
    """
    (directory / "stacks.json").write_text(json.dumps(stacks))
    for name in ("target", "empty"):
        (directory / name).mkdir(exist_ok=True)
    words = [str(directory / name) for name in ("stacks.json", "target", "empty")]
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", LIST, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def fill(directory: Path, source: random.Random, depth: int = 0) -> None:
    """Anything that a layer can have, at random."""
    for name in NAMES:
        path = os.path.join(directory, name)
        what = source.choice(["", "", "", "file", "file", "link", "hard", "fifo", "whiteout", *["dir"] * 4])
        if what == "file":
            Path(path).write_bytes(source.choice([b"", b"one", b"two", b"longer"]))
            os.chmod(path, source.choice([0o644, 0o4755]))
            if source.random() < 0.2:
                os.setxattr(path, "user.colour", source.choice([b"red", b"blue"]))
        elif what == "link":
            os.symlink(source.choice(["a", "/nowhere"]), path)
        elif what == "hard":
            others = [one.path for one in os.scandir(directory) if one.is_file(follow_symlinks=False)]
            if others:
                os.link(source.choice(sorted(others)), path)
        elif what == "fifo":
            os.mkfifo(path)
        elif what == "whiteout":
            os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))
        elif what == "dir" and depth < 3:
            os.mkdir(path)
            os.chown(path, source.choice([0, 0, 5]), 0)
            fill(Path(path), source, depth + 1)
            if source.random() < 0.2:
                os.setxattr(path, "trusted.overlay.opaque", b"y")


def stacks(directory: Path, count: int) -> Iterator[list[str]]:
    """Directories of layers, bottom first."""
    source = random.Random(7)
    for number in range(count):
        layers = []
        for layer in range(source.randint(1, 4)):
            path = directory / f"{number}-{layer}"
            path.mkdir()
            fill(path, source)
            layers.append(str(path))
        yield layers


def described(node: _native.FileNode, path: str, hashed: str) -> list[Any]:
    kinds = {"file": stat.S_IFREG, "directory": stat.S_IFDIR, "symlink": stat.S_IFLNK, "fifo": stat.S_IFIFO}
    attributes = {name: value.hex() for name, value in node.xattrs}
    return [kinds[node.kind] | node.mode, node.uid, node.gid, node.size, node.target, hashed, attributes]


def test_a_view_is_what_the_kernel_shows(tmp_path: Path) -> None:
    made = list(stacks(tmp_path, COUNT))
    seen = mounted(tmp_path, [layers[::-1] for layers in made])
    for layers, expected in zip(made, seen, strict=True):
        found = _native.compare_layers([], layers[::-1])
        shown = {
            one.path: described(one.after, one.path, expected[one.path][5]) for one in found if one.after
        }
        assert shown == expected, layers


def test_differences_are_those_of_the_mounts(tmp_path: Path) -> None:
    """Pairs with a common base, as images have, and without."""
    made = list(stacks(tmp_path, COUNT))
    source = random.Random(8)
    pairs = []
    for base in made:
        other = source.choice([layers for layers in made if layers is not base])
        pairs.append((base + other, base) if source.random() < 0.7 else (base, other))
    seen = mounted(tmp_path, [stack[::-1] for pair in pairs for stack in pair])
    for number, (one, other) in enumerate(pairs):
        before, after = seen[2 * number], seen[2 * number + 1]
        expected = {path for path in {*before, *after} if before.get(path) != after.get(path)}
        # all files were made at different times, which the listing passes over
        found = [
            file
            for file in _native.compare_layers(one[::-1], other[::-1])
            if file.path and file.changes != ["mtime"]
        ]
        assert {file.path for file in found} == expected, (one, other)
        for file in found:
            is_there = file.before is not None, file.after is not None
            assert is_there == (file.path in before, file.path in after)


def test_what_each_layer_does(tmp_path: Path) -> None:
    made = list(stacks(tmp_path, COUNT))
    prefixes = [layers[: count + 1][::-1] for layers in made for count in range(len(layers))]
    seen = iter(mounted(tmp_path, prefixes))
    for layers in made:
        found = _native.explore_layers(layers)
        before: dict[str, Any] = {}
        for layer, report in zip(layers, found.layers, strict=True):
            after = next(seen)
            plain = {path for path in after if not stat.S_ISDIR(after[path][0])}
            was_plain = {path for path in before if not stat.S_ISDIR(before[path][0])}
            events = {(kind, path) for kind, path, _ in report.events}
            assert {path for kind, path in events if kind == "added"} == plain - set(before), layer
            assert {path for kind, path in events if kind == "removed"} == was_plain - set(after), layer
            own = {path for path in {*plain, *was_plain} & {*before} & {*after} if _has(layer, path)}
            assert {path for kind, path in events if kind == "changed"} == own, layer
            before = after
        directories = {path for path in before if stat.S_ISDIR(before[path][0])}
        assert {path for path, *_ in found.directories} == directories | {""}
        assert found.visible[0] == len(before) - len(directories)
        # every byte of a layer is seen or wasted
        assert found.visible[1] + found.wasted[1] == sum(report.bytes for report in found.layers)
        assert found.wasted[1] == sum(report.wasted[1] for report in found.layers)
        assert sum(size for _, size, _ in found.wastes) == found.wasted[1]
        assert found.least <= found.visible[1] <= found.stored


def _has(layer: str, path: str) -> bool:
    try:
        info = os.lstat(f"{layer}/{path}")
    except OSError:
        return False
    return not (stat.S_ISCHR(info.st_mode) and info.st_rdev == 0)


def test_bytes_wasted_and_copied(tmp_path: Path) -> None:
    """By hand: 3 layers, one file replaced, one removed with its directory, one with three names."""
    layers = [tmp_path / name for name in "012"]
    big, small = b"x" * 10_000, b"y" * 5000
    for layer in layers:
        layer.mkdir()
    (layers[0] / "dir").mkdir()
    (layers[0] / "dir/gone").write_bytes(big)
    (layers[0] / "replaced").write_bytes(small)
    (layers[0] / "linked").write_bytes(b"z" * 7000)
    os.link(layers[0] / "linked", layers[0] / "second")
    os.link(layers[0] / "linked", layers[0] / "third")
    (layers[1] / "replaced").write_bytes(big)
    os.mknod(layers[1] / "dir", stat.S_IFCHR, os.makedev(0, 0))
    os.mknod(layers[2] / "linked", stat.S_IFCHR, os.makedev(0, 0))
    (layers[2] / "copy").write_bytes(big)
    found = _native.explore_layers([str(layer) for layer in layers])
    assert [report.bytes for report in found.layers] == [22_000, 10_000, 10_000]
    # the linked file is still there by its other names
    assert found.wastes == [("dir/gone", 10_000, [0]), ("replaced", 5000, [0])]
    assert (found.visible, found.wasted) == ((4, 27_000), (2, 15_000))
    assert found.copies == [(10_000, [(0, "dir/gone"), (1, "replaced"), (2, "copy")])]
    assert found.copied == (2, 20_000)
    assert found.layers[1].removed == (1, 10_000) and found.layers[1].changed == (1, 10_000)
    assert found.files[0] == ("copy", 10_000, 2)
    # dive's formula: 5,000 of the 15,000 replaced, none of the 17,000 removed, all of the copy
    assert (found.least, found.stored) == (5000 + 10_000, 15_000 + 10_000 + 10_000 + 7000)
    assert _native.explore_layers([]).visible == (0, 0)


def test_many_layers_and_a_deep_tree(tmp_path: Path) -> None:
    """More layers than descriptors would allow for each level of each."""
    layers = []
    for number in range(150):
        path = tmp_path / str(number)
        path.mkdir()
        layers.append(str(path))
        here = path.joinpath(*["d"] * 10)
        here.mkdir(parents=True)
        (here / f"file{number}").write_bytes(b"1")
    found = _native.compare_layers([], layers[::-1])
    assert len(found) == 10 + 150
    assert _native.explore_layers(layers).visible == (150, 150)
    deep = tmp_path / "deep"
    deep.mkdir()
    fd = os.open(deep, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("d", dir_fd=fd)
        above, fd = fd, os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(above)
    os.close(fd)
    assert len(_native.compare_layers([], [str(deep)])) == 1100
    _native.remove_tree(deep)


def test_disk_usage_adds_up_to_du(tmp_path: Path) -> None:
    trees = [tmp_path / name for name in ("one", "two", "missing")]
    for number, tree in enumerate(trees[:2]):
        (tree / "sub").mkdir(parents=True)
        (tree / "sub/file").write_bytes(os.urandom(50_000 + number))
        with (tree / "holes").open("wb") as file:
            file.truncate(10_000_000)
    os.link(trees[0] / "sub/file", trees[1] / "linked")
    found = _native.disk_usage([str(tree) for tree in trees])
    said = subprocess.run(
        ["du", "-sxc", "--block-size=1", *map(str, trees[:2])], capture_output=True, text=True, check=True
    )
    assert sum(one[0] for one in found) == int(said.stdout.splitlines()[-1].split()[0])
    assert found[2] == (0, 0, 0)
    # the first that has it has it
    other_way = _native.disk_usage([str(tree) for tree in reversed(trees)])
    assert other_way[1][0] - found[1][0] == found[0][0] - other_way[2][0] == 53_248
