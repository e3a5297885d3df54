"""Where COPY, ADD and bind mounts take files from: a directory of the host, or the layers of a stage or
image.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack

from pyd import _native
from pyd.build import layers
from pyd.build.result import State
from pyd.oci.digest import sha256_hex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from pyd.store import Store
else:
    Protocol = object  # nothing here is checked at run time


class Tree(Protocol):
    """identity: what names these files as a whole and for ever, or "" when they have to be looked at."""

    identity: str
    # owner of what is copied from here, unless the instruction says another: None keeps each file's own
    owner: tuple[int, int] | None

    def select(
        self, patterns: Sequence[str], *, excludes: Sequence[str] = (), parents: bool = False
    ) -> _native.Selection:
        """What COPY would copy. Raises NotFound for a path that is not there."""

    def mountable(self, source: str, stack: ExitStack) -> tuple[list[str], str]:
        """(directories, top first; path in them) for a bind mount of `source`, valid until `stack` ends."""

    def copy(self, selection: _native.Selection, work: str, dest: str) -> None:
        """The files into the directory `dest`, as they are."""


class HostTree:
    """A directory of this machine, seen through its .dockerignore."""

    identity: str = ""
    owner: tuple[int, int] | None = (0, 0)

    def __init__(self, store: Store, root: str, ignore: Sequence[str]) -> None:
        self.root = root
        self._store = store
        cache = f"{store.paths.build}/contexts/{_name(root)}"
        os.makedirs(os.path.dirname(cache), 0o700, exist_ok=True)
        self._context = _native.BuildContext(root, ignore=list(ignore), cache=cache)

    def select(
        self, patterns: Sequence[str], *, excludes: Sequence[str] = (), parents: bool = False
    ) -> _native.Selection:
        return self._context.select(list(patterns), excludes=list(excludes), parents=parents)

    def mountable(self, source: str, stack: ExitStack) -> tuple[list[str], str]:
        """A copy: files that .dockerignore hides are not there, and no edit reaches a step that runs."""
        selection = self.select([source or "/"])
        made = stack.enter_context(layers.upper(self._store))
        kinds = [kind for _, _, kind in selection.roots]
        self._copy(selection, made.work, made.fs, "/m/" if kinds == ["file"] else "/m")
        if kinds == ["file"]:
            return [made.fs], f"m/{os.path.basename(selection.roots[0][1])}"
        return [made.fs], "m"

    def copy(self, selection: _native.Selection, work: str, dest: str) -> None:
        self._copy(selection, work, dest, "/")

    def _copy(self, selection: _native.Selection, work: str, upper: str, dest: str) -> None:
        _native.copy_files(
            selection,
            lowers=[],
            upper=upper,
            work=work,
            dest=dest,
            dest_is_dir=dest.endswith("/"),
            uid=0,
            gid=0,
            chmod=None,
            epoch=None,
        )


class StageTree:
    """The files of a stage or image. They never change: its chainID says all about them."""

    owner: tuple[int, int] | None = None

    def __init__(self, store: Store, state: State) -> None:
        self.identity = state.chain_id or "scratch"
        self._dirs = layers.lowers(store, state)
        self._tree = _native.LayerTree(self._dirs)

    def select(
        self, patterns: Sequence[str], *, excludes: Sequence[str] = (), parents: bool = False
    ) -> _native.Selection:
        return self._tree.select(list(patterns), excludes=list(excludes), parents=parents)

    def mountable(self, source: str, stack: ExitStack) -> tuple[list[str], str]:
        return self._dirs, source.strip("/")

    def copy(self, selection: _native.Selection, work: str, dest: str) -> None:
        _native.copy_files(
            selection,
            lowers=[],
            upper=dest,
            work=work,
            dest="/",
            dest_is_dir=True,
            uid=None,
            gid=None,
            chmod=None,
            epoch=None,
        )


def _name(root: str) -> str:
    return sha256_hex(os.fsencode(os.path.realpath(root)))[:32]


def literal(path: str) -> str:
    """The pattern that means just this path."""
    return "".join(f"\\{char}" if char in "*?[\\" else char for char in path)
