"""An image that was built has layers without blobs: everything that is done with images works on it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyd.build.result import Built
from pyd.engine.build_store import store_image
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
    pyd("image", "explore", image)
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
    image: str, pyd: Pyd, registry: Registry, store: Store, busybox: str, world: World, tmp_path: Path
) -> None:
    names = [f"{registry.host}/built/{which}:1" for which in ("first", "second", "third")]
    for one in names[:2]:
        pyd("tag", image, one)
    first = pyd("push", names[0]).lines[-1]
    assert pyd("push", names[0]).lines[-1] == first
    raw = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{names[0]}")
    layers = json.loads(raw)["layers"]
    assert {one["mediaType"] for one in layers} == {"application/vnd.oci.image.layer.v1.tar+gzip"}
    base = json.loads(pyd("image", "inspect", "--raw", busybox).stdout)["layers"][0]["digest"]
    assert layers[0]["digest"] == base
    # what was compressed for the first push goes to the second repository without being sent
    assert pyd("push", names[1]).stdout.count("Mounted from built/first") >= 2
    # another machine builds the same: its blobs have the same digests
    elsewhere = Store(Paths(str(tmp_path / "data"), str(tmp_path / "run")))
    env = {"PYD_DATA_ROOT": str(tmp_path / "data"), "PYD_RUN_ROOT": str(tmp_path / "run")}
    pyd("pull", "-q", f"{registry.host}/busybox", env=env)
    pyd("tag", f"{registry.host}/busybox", "busybox", env=env)
    store_image(elsewhere, [on_busybox(elsewhere, "busybox", image_text(pyd, image))], [names[2]])
    elsewhere.close()
    pyd("push", names[2], env=env)
    assert skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{names[2]}") == raw
    for one in names[:2]:
        pyd("rmi", one)


def image_text(pyd: Pyd, image: str) -> str:
    return pyd("image", "inspect", "-f", "{{.Config.Labels.text}}", image).out


def test_a_push_after_the_base_was_removed(
    image: str, pyd: Pyd, registry: Registry, store: Store, busybox: str
) -> None:
    store.images.delete(store.images.resolve(busybox).id)
    store.gc()
    assert busybox not in pyd("images", "--format", "{{.Repository}}").lines
    name = f"{registry.host}/built/orphan:1"
    try:
        pyd("tag", image, name)
        pyd("push", name)
        assert pyd("run", "--rm", image).out == "hello from a build"
    finally:
        pyd("rmi", name, code=None)
        pyd("pull", "-q", f"{registry.host}/busybox")
        pyd("tag", f"{registry.host}/busybox", busybox)
