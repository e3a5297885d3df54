"""An image that was built has layers without blobs: everything that is done with images works on it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyd.build.result import Built
from pyd.engine.build_store import store_image
from pyd.engine.image_push import OutLayer, PushWatcher
from pyd.engine.images import Images
from pyd.oci.reference import Reference
from pyd.paths import Paths
from pyd.store import Store
from tests.support.built import base_of, built, layer
from tests.support.command import Pyd
from tests.support.registry import Registry, skopeo
from tests.support.world import World


@pytest.fixture
def store(world: World) -> Iterator[Store]:
    """The store that the `pyd` command uses, too."""
    store = Store(Paths(str(world.data_root), str(world.run_root)))
    yield store
    store.close()


@pytest.fixture
def image(store: Store, busybox: str, name: str) -> Iterator[str]:
    """busybox with two layers on top, under the test's name."""
    result = on_busybox(store, busybox, name)
    store_image(store, [result], [f"docker.io/library/{name.lower()}:latest"])
    yield name.lower()
    Pyd()("rmi", "-f", name.lower(), code=None)


def on_busybox(store: Store, busybox: str, text: str) -> Built:
    layers, manifest = base_of(store, busybox)
    layers = (*layers, layer(store, layers, {"greeting": text.encode(), "home/data": b"x" * 100_000}))

    def change(top: Path) -> None:
        os.mknod(top / "greeting", 0o20000, 0)  # a whiteout
        (top / "hello").write_text("#!/bin/sh\necho hello from a build\n")
        (top / "hello").chmod(0o755)

    layers = (*layers, layer(store, layers, change))
    return built(layers, base_manifest=manifest, Cmd=["/hello"], Labels={"text": text})


def test_run_history_inspect_diff_check_and_save(
    image: str, pyd: Pyd, store: Store, tmp_path: Path, name: str
) -> None:
    assert pyd("run", "--rm", image).out == "hello from a build"
    assert [
        line["CreatedBy"] for line in map(json.loads, pyd("history", "--format", "json", image).lines)
    ] == [
        "step 2",
        "step 1",
        "step 0",
    ]
    manifest = json.loads(pyd("image", "inspect", "--raw", image).stdout)
    kinds = [one["mediaType"].rpartition(".")[2] for one in manifest["layers"]]
    assert kinds == ["tar+gzip", "tar", "tar"]
    assert "hello" in pyd("image", "diff", "busybox", image).stdout
    pyd("run", "--name", name, image, "touch", "/made")
    assert "A /made" in pyd("diff", name).lines
    committed = pyd("commit", name).out
    pyd("rm", name)
    pyd("rmi", committed)
    assert pyd("system", "check", code=None).code == 0
    assert image in pyd("system", "df", "-v").stdout
    archive = tmp_path / "saved.tar"
    pyd("save", "-o", archive, image)
    image_id = pyd("images", "-q", "--no-trunc", image).out
    pyd("rmi", image)
    assert f"Loaded image: {image}:latest" in pyd("load", "-i", archive).stdout
    assert pyd("images", "-q", "--no-trunc", image).out == image_id
    assert pyd("run", "--rm", image).out == "hello from a build"


def test_a_new_build_takes_the_name(image: str, pyd: Pyd, store: Store, busybox: str) -> None:
    before = pyd("images", "-q", "--no-trunc", image).out
    now = store_image(store, [on_busybox(store, busybox, "other")], [f"docker.io/library/{image}:latest"])
    assert pyd("images", "-q", "--no-trunc", image).out == now != before
    assert before in pyd("images", "-q", "--no-trunc", "--filter", "dangling=true").lines
    pyd("rmi", before)


def test_pushes_send_the_same_bytes_wherever_they_are_made(
    image: str, registry: Registry, store: Store, busybox: str, tmp_path: Path
) -> None:
    names = [f"{registry.host}/built/{which}:1" for which in ("first", "second", "third")]
    images = Images(store)
    for one in names[:2]:
        images.tag(image, one)
    first = images.push(names[0])[0]
    assert images.push(names[0])[0] == first
    raw = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{names[0]}")
    layers = json.loads(raw)["layers"]
    assert {one["mediaType"] for one in layers} == {"application/vnd.oci.image.layer.v1.tar+gzip"}
    assert layers[0]["digest"] == json.loads(images.raw(busybox))["layers"][0]["digest"]
    # what was compressed for the first push goes to the second repository without being sent
    told = Outcomes()
    images.push(names[1], watcher=told)
    assert told.outcomes.count("built/first") >= 2
    # another machine builds the same: its blobs have the same digests
    elsewhere = Store(Paths(str(tmp_path / "data"), str(tmp_path / "run")))
    there = Images(elsewhere)
    there.pull(f"{registry.host}/busybox")
    there.tag(f"{registry.host}/busybox", "busybox")
    text = store.images.resolve(image).config.defaults.labels["text"]
    store_image(elsewhere, [on_busybox(elsewhere, "busybox", text)], [names[2]])
    there.push(names[2])
    elsewhere.close()
    assert skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{names[2]}") == raw
    for one in names[:2]:
        images.remove(one)


class Outcomes(PushWatcher):
    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def ends_layer(self, layer: OutLayer, outcome: str) -> None:
        self.outcomes.append(outcome)


def test_a_push_after_the_base_was_removed(
    image: str, pyd: Pyd, registry: Registry, store: Store, busybox: str
) -> None:
    store.images.delete(store.images.resolve(busybox).id)
    store.gc()
    assert store.images.find(Reference.parse(busybox)) is None
    name = f"{registry.host}/built/orphan:1"
    images = Images(store)
    try:
        images.tag(image, name)
        images.push(name)
        assert pyd("run", "--rm", image).out == "hello from a build"
        images.remove(name)
    finally:
        images.pull(f"{registry.host}/busybox")
        images.tag(f"{registry.host}/busybox", busybox)
