"""A named context that is a directory as the base of a stage: its files are the only layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyd import _native
from pyd.build import layers
from pyd.build.files import Tree
from pyd.build.result import Layer, State
from pyd.oci.platform import Platform

if TYPE_CHECKING:
    from pyd.build.build import Build


def state_of(build: Build, tree: Tree, platform: Platform) -> State:
    selection = tree.select(["/"])
    empty = State(platform)
    with layers.upper(build.store) as made:
        _native.copy_files(
            selection,
            lowers=[],
            upper=made.fs,
            work=made.work,
            dest="/",
            dest_is_dir=True,
            uid=0,
            gid=0,
            chmod=None,
            epoch=build.epoch,
        )
        layer = layers.publish(build.store, made, empty, epoch=build.epoch)
    if layer is None:
        return empty
    return State(platform, (Layer(layer.diff_id, layer.chain_id, layer.plain_size, layer.size),))
