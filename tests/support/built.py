"""Results of builds without a builder: layers made of files, as snapshots of a store."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from pyd import _native
from pyd.build.result import Built, Layer
from pyd.oci.digest import Digest, chain_ids
from pyd.oci.platform import Platform
from pyd.store import Store
from pyd.store.build_cache import BuildLayer, BuildStep

EPOCH = 315532800
AMD64 = Platform("linux", "amd64")
Fill = Callable[[Path], object]


def layer(store: Store, parents: tuple[Layer, ...], fill: Fill | Mapping[str, bytes], key: str = "") -> Layer:
    """A snapshot on top of `parents`: files by path, or what a function makes in the directory."""
    store.paths.make()
    scratch = Path(store.paths.snapshots) / f"{os.urandom(4).hex()}.tmp-test"
    top = scratch / "fs"
    top.mkdir(parents=True)
    if callable(fill):
        fill(top)
    else:
        for name, content in fill.items():
            path = top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    for directory, names, files in os.walk(top, topdown=False):
        for name in [*files, *names, "."]:
            os.utime(f"{directory}/{name}", (EPOCH, EPOCH), follow_symlinks=False)
    with open(os.devnull, "wb") as null:
        packed = _native.pack_layer(null.fileno(), top, compression="")
    diff_id = Digest(packed.diff_id)
    chain = chain_ids([*(one.diff_id for one in parents), diff_id])[-1]
    final = Path(store.paths.snapshots) / chain.hex
    if not final.exists():
        scratch.rename(final)
    made = Layer(diff_id, chain, packed.plain_size, _native.tree_usage(final / "fs")[0])
    parent = parents[-1].chain_id if parents else None
    structure = {"kind": "test", "parent": str(parent or ""), "key": key or chain}
    store.build_cache.add(
        BuildStep(
            key=Digest.of(json.dumps(structure).encode()),
            place=f"test {key}",
            structure=structure,
            layer=BuildLayer(chain, diff_id, parent, packed.plain_size, made.size),
            value={},
            created=1.0,
            used=2.0,
        )
    )
    return made


def built(
    layers: tuple[Layer, ...],
    *,
    platform: Platform = AMD64,
    base_manifest: Digest | None = None,
    materials: tuple[tuple[str, str], ...] = (),
    **config: object,
) -> Built:
    document = {
        "created": "1980-01-01T00:00:00Z",
        "architecture": platform.architecture,
        "os": platform.os,
        "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"], **config},
        "rootfs": {"type": "layers", "diff_ids": [one.diff_id for one in layers]},
        "history": [
            {"created": "1980-01-01T00:00:00Z", "created_by": f"step {number}"}
            for number in range(len(layers))
        ],
    }
    return Built(platform, layers, json.dumps(document).encode(), base_manifest, materials)


def base_of(store: Store, name: str) -> tuple[tuple[Layer, ...], Digest]:
    """The layers and the manifest of an image of the store, to build on."""
    image = store.images.resolve(name)
    layers = tuple(
        Layer(snapshot.diff_id, snapshot.chain_id, 0, snapshot.size)
        for snapshot in map(store.snapshots.get, reversed(image.layers))
    )
    return layers, image.manifest
