"""push: to a real registry and back, digests equal bit for bit; what is there is not sent again."""

from __future__ import annotations

import json
import os
import signal
import tarfile
import threading
import time
from pathlib import Path

import pytest

from tests.fakes.registry import INDEX, MANIFEST, FakeImage, digest_of, serving
from tests.fakes.uploads import UploadHandler, taking
from tests.support.command import Pyd
from tests.support.registry import Registry, skopeo
from tests.support.world import World


@pytest.fixture
def store(tmp_path: Path) -> dict[str, str]:
    """An environment with a store of its own."""
    return {"PYD_DATA_ROOT": str(tmp_path / "data"), "PYD_RUN_ROOT": str(tmp_path / "run")}


def raw(reference: str) -> bytes:
    return skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{reference}").encode()


def digest(reference: str) -> str:
    return skopeo("inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://{reference}").strip()


def renamed(pyd: Pyd, reference: str, name: str, store: dict[str, str]) -> str:
    """Another name at the same registry."""
    other = f"{reference.partition('/')[0]}/{name}"
    pyd("tag", reference, other, env=store)
    return other


@pytest.mark.parametrize("kind", ["oci", "v2s2", "zstd"])
def test_what_was_pulled_is_pushed_as_it_was(
    registry: Registry, layouts: dict[str, Path], pyd: Pyd, store: dict[str, str], kind: str
) -> None:
    reference = registry.push(
        layouts["busybox"],
        f"push-{kind}",
        v2s2=kind == "v2s2",
        compression="zstd" if kind == "zstd" else "gzip",
    )
    pyd("pull", "-q", reference, env=store)
    other = renamed(pyd, reference, f"pushed-{kind}:v1", store)
    result = pyd("push", other, env=store)
    assert raw(other) == raw(reference)
    lines = result.lines
    assert lines[0] == f"The push refers to repository [{other.rpartition(':')[0]}]"
    diff_id = pyd("image", "inspect", reference, env=store).json()[0]["RootFS"]["Layers"][0][7:19]
    assert f"{diff_id}: Preparing" in lines
    assert f"{diff_id}: Mounted from push-{kind}" in lines
    assert lines[-1] == f"v1: digest: {digest(reference)} size: {len(raw(reference))}"
    again = pyd("push", other, env=store)
    assert f"{diff_id}: Layer already exists" in again.lines
    assert pyd("push", "-q", other, env=store).out == other
    assert (
        f"{other.rpartition(':')[0]}@{digest(reference)}"
        in pyd("image", "inspect", "-f", "{{.RepoDigests}}", reference, env=store).out
    )


def test_to_another_registry_the_bytes_go(
    registry: Registry, layouts: dict[str, Path], pyd: Pyd, store: dict[str, str], tmp_path: Path
) -> None:
    reference = registry.push(layouts["python"], "far")
    pyd("pull", "-q", reference, env=store)
    second = Registry(tmp_path / "second")
    try:
        name = f"{second.host}/a/b/far"
        pyd("tag", reference, name, env=store)
        out = pyd("push", name, env=store, timeout=120).stdout
        assert "Using default tag: latest" in out and out.count(": Pushed\n") == 3
        assert raw(name) == raw(reference)
        # a world that knows nothing of it pulls it from there
        fresh = {key: f"{value}-fresh" for key, value in store.items()}
        assert digest(reference) in pyd("pull", name, env=fresh).stdout
    finally:
        second.stop()


def test_plain_layers_are_compressed_once(
    registry: Registry, rootfs: Path, pyd: Pyd, store: dict[str, str], tmp_path: Path
) -> None:
    archive = tmp_path / "root.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(rootfs, ".")
    name, other = f"{registry.host}/imported:1", f"{registry.host}/imported-again:1"
    image = pyd("import", archive, name, env=store).out
    first = pyd("push", name, env=store).lines[-1]
    manifest = json.loads(raw(name))
    assert [layer["mediaType"] for layer in manifest["layers"]] == [
        "application/vnd.oci.image.layer.v1.tar+gzip"
    ]
    assert manifest["config"]["digest"] == image
    assert pyd("push", name, env=store).lines[-1] == first
    # the same layer in another image: the blob that was made is used, and mounted
    second = pyd("import", "-m", "again", archive, other, env=store).out
    assert second != image
    assert "Mounted from imported" in pyd("push", other, env=store).stdout
    assert json.loads(raw(other))["layers"] == manifest["layers"]
    fresh = {key: f"{value}-fresh" for key, value in store.items()}
    pyd("pull", "-q", name, env=fresh)
    assert pyd("images", "-q", "--no-trunc", env=fresh).out == image


def test_all_tags(registry: Registry, layouts: dict[str, Path], pyd: Pyd, store: dict[str, str]) -> None:
    reference = registry.push(layouts["busybox"], "tags")
    pyd("pull", "-q", reference, env=store)
    for tag in ("a", "b"):
        renamed(pyd, reference, f"all-tags:{tag}", store)
    lines = pyd("push", "-a", f"{registry.host}/all-tags", env=store).lines
    assert [line.partition(":")[0] for line in lines if ": digest: " in line] == ["a", "b"]
    tags = json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{registry.host}/all-tags"))
    assert sorted(tags["Tags"]) == ["a", "b"]
    assert "tag can't be used" in pyd("push", "-a", f"{registry.host}/all-tags:a", env=store, code=1).stderr


def test_what_cannot_be_pushed(pyd: Pyd, store: dict[str, str], registry: Registry) -> None:
    result = pyd("push", f"{registry.host}/nobody", env=store, code=1)
    assert f"An image does not exist locally with the tag: {registry.host}/nobody" in result.stderr
    assert (
        "cannot push a digest reference"
        in pyd("push", f"{registry.host}/a@sha256:{'0' * 64}", env=store, code=1).stderr
    )
    assert "signatures" in pyd("push", "--disable-content-trust=false", "x", env=store, code=125).stderr


def test_a_dropped_blob(
    registry: Registry, layouts: dict[str, Path], pyd: Pyd, store: dict[str, str], tmp_path: Path
) -> None:
    """Where the registry has the layer the push needs no bytes; elsewhere it says what is missing."""
    reference = registry.push(layouts["busybox"], "dropped")
    pyd("pull", "-q", reference, env=store)
    layer = json.loads(raw(reference))["layers"][0]["digest"].removeprefix("sha256:")
    os.unlink(Path(store["PYD_DATA_ROOT"]) / "content/sha256" / layer)
    other = renamed(pyd, reference, "dropped-too", store)
    assert "Mounted from dropped" in pyd("push", other, env=store).stdout
    second = Registry(tmp_path / "second")
    try:
        pyd("tag", reference, f"{second.host}/dropped", env=store)
        result = pyd("push", f"{second.host}/dropped", env=store, code=1)
        assert f"sha256:{layer}" in result.stderr and "is not here" in result.stderr
    finally:
        second.stop()


def test_an_index_goes_where_all_of_it_is_here(registry: Registry, pyd: Pyd, store: dict[str, str]) -> None:
    with serving() as fake:
        entries = []
        for architecture in ("amd64", "arm64"):
            image = FakeImage.of({"hello": architecture.encode() * 100}, architecture=architecture)
            entries.append(
                {
                    "mediaType": MANIFEST,
                    "digest": fake.add("several", image, tag=""),
                    "size": len(image.manifest_bytes),
                    "platform": {"os": "linux", "architecture": architecture},
                }
            )
        for tag, some in (("one", entries[:1]), ("two", entries)):
            index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": some}
            fake.add_manifest("several", json.dumps(index).encode(), tag, INDEX)
        results = {}
        for tag in ("one", "two"):
            pyd("pull", "-q", "--platform", "linux/amd64", f"{fake.host}/several:{tag}", env=store)
            pyd("tag", f"{fake.host}/several:{tag}", f"{registry.host}/several:{tag}", env=store)
            results[tag] = pyd("push", f"{registry.host}/several:{tag}", env=store).lines
            pyd("rmi", "-f", f"{fake.host}/several:{tag}", f"{registry.host}/several:{tag}", env=store)
    assert json.loads(raw(f"{registry.host}/several:one"))["manifests"] == entries[:1]
    assert digest_of(raw(f"{registry.host}/several:two")) == entries[0]["digest"]
    assert "only the available single-platform image was pushed" in results["two"][-1]
    assert not any("Info" in line for line in results["one"])
    refused = pyd(
        "push", "--platform", "linux/arm64", f"{registry.host}/several:one", env=store, code=1
    ).stderr
    assert "does not exist locally" in refused


def test_a_dropped_blob_that_pyd_packed_is_packed_again(
    busybox: str, registry: Registry, world: World, pyd: Pyd, store: dict[str, str]
) -> None:
    pyd("run", "--name", "packed", "--network", "none", busybox, "sh", "-c", "echo x > /new")
    name = f"{registry.host}/committed:1"
    pyd("commit", "packed", name)
    layer = json.loads(pyd("image", "inspect", "--raw", name).out)["layers"][-1]["digest"]
    os.unlink(world.data_root / "content/sha256" / layer.removeprefix("sha256:"))
    pyd("push", name)
    assert json.loads(raw(name))["layers"][-1]["digest"] == layer
    pyd("pull", "-q", name, env=store)
    pyd("rmi", "-f", name)


def test_interrupted_pushes_end_at_once_and_the_next_one_sends_the_rest(
    registry: Registry, layouts: dict[str, Path], pyd: Pyd, store: dict[str, str]
) -> None:
    """Ctrl-C and kill -9 while the registry does not read: 130, nothing left behind, the store as it was."""
    reference = registry.push(layouts["python"], "interrupted")
    pyd("pull", "-q", reference, env=store, timeout=120)
    stalled, reading = threading.Event(), threading.Event()

    def stall(handler: UploadHandler) -> bool:
        if handler.command == "PATCH" and not reading.is_set():
            handler.take(100_000)
            stalled.set()
            reading.wait(30)
            handler.cut()
            return True
        return False

    with taking() as fake:
        fake.faults.append(stall)  # type: ignore[arg-type]
        name = f"{fake.host}/interrupted:latest"
        pyd("tag", reference, name, env=store)
        for number in (signal.SIGINT, signal.SIGKILL):
            process = pyd.popen("push", name, env=os.environ | store)
            assert stalled.wait(60)
            begin = time.monotonic()
            process.send_signal(number)
            _, errors = process.communicate(timeout=20)
            assert time.monotonic() - begin < 10
            assert process.returncode == (130 if number == signal.SIGINT else -9), errors
            assert "Traceback" not in errors
            stalled.clear()
        reading.set()
        out = pyd("push", name, env=store, timeout=120).lines
        assert out[-1].startswith("latest: digest: sha256:")
        assert digest_of(fake.manifests["interrupted", "latest"][0]) == digest(reference)
    assert os.listdir(Path(store["PYD_DATA_ROOT"]) / "ingest") == []


def test_bars_on_a_terminal(
    registry: Registry,
    layouts: dict[str, Path],
    pyd: Pyd,
    store: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reference = registry.push(layouts["busybox"], "bars")
    for name, value in store.items():
        monkeypatch.setenv(name, value)
    pyd("pull", "-q", reference)
    other = renamed(pyd, reference, "bars-too:v1", store)
    terminal = pyd.terminal("push", other)
    terminal.expect("The push refers to repository", 60)
    terminal.expect("Mounted from bars", 60)
    terminal.expect("v1: digest: sha256:", 60)
    assert terminal.close() == 0
