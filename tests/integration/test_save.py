"""save and load: archives of several images, in every compression, as files, streams and directories."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Pyd
from tests.support.registry import Registry, skopeo


@pytest.fixture
def store(tmp_path: Path) -> dict[str, str]:
    """An environment with a store of its own."""
    return {"PYD_DATA_ROOT": str(tmp_path / "data"), "PYD_RUN_ROOT": str(tmp_path / "run")}


@pytest.fixture
def other(tmp_path: Path) -> dict[str, str]:
    """And a second one."""
    return {"PYD_DATA_ROOT": str(tmp_path / "data2"), "PYD_RUN_ROOT": str(tmp_path / "run2")}


@pytest.fixture
def filled(layouts: dict[str, Path], pyd: Pyd, store: dict[str, str]) -> dict[str, str]:
    """The store with busybox, loaded from a layout with gzip layers."""
    pyd("load", "-q", "-i", layouts["busybox"], env=store)
    pyd("tag", image_id(layouts["busybox"]), "busybox", env=store)
    return store


def manifest_of(layout: Path) -> Any:
    digest = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    return json.loads((layout / "blobs/sha256" / digest.partition(":")[2]).read_text())


def image_id(layout: Path) -> str:
    return str(manifest_of(layout)["config"]["digest"])


def read(archive: Path, name: str) -> Any:
    with tarfile.open(archive) as tar:
        opened = tar.extractfile(name)
        assert opened
        return json.loads(opened.read())


def test_several_images_and_tags_share_layers(
    filled: dict[str, str], other: dict[str, str], layouts: dict[str, Path], pyd: Pyd, tmp_path: Path
) -> None:
    make(pyd, filled)
    pyd("tag", "made:1", "made:v2", env=filled)
    first, second = tmp_path / "first.tar", tmp_path / "second.tar"
    pyd("save", "-o", first, "made", "busybox:latest", env=filled)
    with second.open("wb") as file:
        subprocess.run(
            [*pyd.base, "image", "save", "made", "busybox:latest"],
            stdout=file,
            env=os.environ | filled,
            check=True,
            timeout=60,
        )
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_mode & 0o777 == 0o600
    with tarfile.open(first) as tar:
        names = tar.getnames()
    assert len(names) == len(set(names))
    entries = read(first, "manifest.json")
    assert [entry["RepoTags"] for entry in entries] == [["made:1", "made:v2"], ["busybox:latest"]]
    assert all(layer in names for entry in entries for layer in entry["Layers"])
    assert entries[0]["Layers"][:1] == entries[1]["Layers"]
    # layers as they came, so that the digests are those of the layout
    index = read(first, "index.json")
    given = json.loads((layouts["busybox"] / "index.json").read_text())["manifests"][0]["digest"]
    assert [entry["digest"] for entry in index["manifests"]][2] == given
    lines = pyd("load", "-i", first, env=other).lines
    assert lines == [f"Loaded image: {name}" for name in ("made:1", "made:v2", "busybox:latest")]
    for name in ("made:v2", "busybox"):
        shown = [pyd("image", "inspect", "-f", "{{.Id}}", name, env=env).out for env in (filled, other)]
        assert shown[0] == shown[1]
    third = tmp_path / "third.tar"
    pyd("save", "-o", third, "made", "busybox:latest", env=other)
    assert third.read_bytes() == first.read_bytes()
    # by id there is no name to keep, and loading it says so
    pyd("save", "-o", third, image_id(layouts["busybox"])[7:19], env=other)
    assert read(third, "manifest.json")[0]["RepoTags"] is None
    assert pyd("load", "-i", third, env=filled).out == f"Loaded image ID: {image_id(layouts['busybox'])}"


def make(pyd: Pyd, store: dict[str, str]) -> None:
    """made:1, a layer over busybox."""
    pyd("run", "--name", "made", "--network", "none", "busybox", "sh", "-c", "echo x >/x", env=store)
    pyd("commit", "made", "made:1", env=store)
    pyd("rm", "made", env=store)


@pytest.mark.parametrize("tool", ["zstd", "xz", "bzip2", "directory"])
def test_load_of_compressed_streams_and_directories(
    filled: dict[str, str], other: dict[str, str], pyd: Pyd, tmp_path: Path, tool: str
) -> None:
    archive = tmp_path / "image.tar"
    pyd("save", "-o", archive, "busybox", env=filled)
    if tool == "directory":
        source = tmp_path / "unpacked"
        with tarfile.open(archive) as tar:
            tar.extractall(source, filter="data")
        assert pyd("load", "-i", source, env=other).out == "Loaded image: busybox:latest"
        # a layout alone, and one that a link leads out of
        (source / "manifest.json").unlink()
        pyd("rmi", "busybox", env=other)
        assert pyd("image", "load", "-i", source, env=other).out == "Loaded image: busybox:latest"
        pyd("rmi", "busybox", env=other)
        shutil.move(source / "blobs", tmp_path / "elsewhere")
        (source / "blobs").symlink_to(tmp_path / "elsewhere")
        assert "has no file" in pyd("load", "-i", source, code=1, env=other).stderr
        return
    packed = subprocess.run([tool, "-q", "-1", "-c", archive], stdout=subprocess.PIPE, check=True).stdout
    process = subprocess.run(
        [*pyd.base, "load"],
        input=packed,
        capture_output=True,
        env=os.environ | other,
        check=False,
        timeout=60,
    )
    assert process.stdout == b"Loaded image: busybox:latest\n", process.stderr
    cut = subprocess.run(
        [*pyd.base, "load"],
        input=packed[: len(packed) // 2],
        capture_output=True,
        env=os.environ | other,
        check=False,
        timeout=60,
    )
    assert cut.returncode == 1 and b"truncated" in cut.stderr, cut.stderr


def test_import_of_zstd(filled: dict[str, str], rootfs: Path, pyd: Pyd, tmp_path: Path) -> None:
    tar = subprocess.run(["tar", "-C", rootfs, "-c", "."], stdout=subprocess.PIPE, check=True).stdout
    packed = subprocess.run(["zstd", "-q", "-c"], input=tar, stdout=subprocess.PIPE, check=True).stdout
    (tmp_path / "root.tar.zst").write_bytes(packed)
    image = pyd("import", tmp_path / "root.tar.zst", env=filled).out
    assert pyd("run", "--rm", "--network", "none", image, "echo", "here", env=filled).out == "here"


def test_zstd_layers_are_written_plain_for_docker(
    layouts: dict[str, Path], store: dict[str, str], other: dict[str, str], pyd: Pyd, tmp_path: Path
) -> None:
    layout = tmp_path / "zstd"
    skopeo(
        *("copy", "--dest-compress-format", "zstd", "--dest-compress"),
        *(f"oci:{layouts['busybox']}:latest", f"oci:{layout}:z:1"),
    )
    layer = manifest_of(layout)["layers"][0]
    assert layer["mediaType"].endswith("+zstd")
    pyd("load", "-q", "-i", layout, env=store)
    name = image_id(layout)
    pyd("save", "--format", "oci", "-o", tmp_path / "oci.tar", name, env=store)
    pyd("save", "-o", tmp_path / "docker.tar", name, env=store)
    with tarfile.open(tmp_path / "oci.tar") as tar:
        assert f"blobs/sha256/{layer['digest'][7:]}" in tar.getnames()
        assert "manifest.json" not in tar.getnames()
    entry = read(tmp_path / "docker.tar", "manifest.json")[0]
    diff_ids = read(tmp_path / "docker.tar", entry["Config"])["rootfs"]["diff_ids"]
    assert entry["Layers"] == [f"blobs/sha256/{diff_id[7:]}" for diff_id in diff_ids]
    for archive in ("oci.tar", "docker.tar"):
        assert name in pyd("load", "-i", tmp_path / archive, env=other).out
        pyd("rmi", name, env=other)


def test_dropped_blobs_are_made_again_or_named(
    filled: dict[str, str], layouts: dict[str, Path], pyd: Pyd, tmp_path: Path
) -> None:
    make(pyd, filled)
    pyd("save", "-o", tmp_path / "before.tar", "made:1", env=filled)
    blobs = Path(filled["PYD_DATA_ROOT"]) / "content/sha256"
    entry = read(tmp_path / "before.tar", "manifest.json")[0]
    (blobs / entry["Layers"][1].rpartition("/")[2]).unlink()
    pyd("save", "-o", tmp_path / "after.tar", "made:1", env=filled)
    after = read(tmp_path / "after.tar", "manifest.json")[0]
    assert after["Config"] == entry["Config"] and after["Layers"][0] == entry["Layers"][0]
    # the layer of somebody else's tar cannot be made again, and nothing is passed off as it
    (blobs / entry["Layers"][0].rpartition("/")[2]).unlink()
    message = pyd("save", "-o", tmp_path / "gone.tar", "made:1", code=1, env=filled).stderr
    assert "is not here any more" in message and "pull it again" in message
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("gone")]


def test_dropped_blobs_come_from_their_registry(
    registry: Registry, layouts: dict[str, Path], pyd: Pyd, store: dict[str, str], tmp_path: Path
) -> None:
    reference = registry.push(layouts["busybox"], "dropped")
    (tmp_path / "config.json").write_text('{"keep-compressed-layers": false}')
    pyd("pull", "-q", reference, env=store | {"PYD_CONFIG": str(tmp_path / "config.json")})
    layer = manifest_of(layouts["busybox"])["layers"][0]["digest"][7:]
    blob = Path(store["PYD_DATA_ROOT"]) / "content/sha256" / layer
    assert not blob.exists()
    pyd("save", "-o", tmp_path / "x.tar", reference, env=store)
    with tarfile.open(tmp_path / "x.tar") as tar:
        assert f"blobs/sha256/{layer}" in tar.getnames()


def test_bars_on_a_terminal(filled: dict[str, str], pyd: Pyd, tmp_path: Path) -> None:
    roots = ("--data-root", filled["PYD_DATA_ROOT"], "--run-root", filled["PYD_RUN_ROOT"])
    terminal = pyd.terminal(*roots, "save", "-o", tmp_path / "x.tar", "busybox")
    terminal.expect("Saving:")
    assert terminal.close() == 0
    pyd("rmi", "busybox", env=filled)
    terminal = pyd.terminal(*roots, "load", "-i", tmp_path / "x.tar")
    terminal.expect("Loading:")
    terminal.expect("Loaded image: busybox:latest")
    assert terminal.close() == 0


def test_a_damaged_blob_is_no_backup(filled: dict[str, str], pyd: Pyd, tmp_path: Path) -> None:
    blobs = (Path(filled["PYD_DATA_ROOT"]) / "content/sha256").iterdir()
    largest = max(blobs, key=lambda path: path.stat().st_size)
    largest.chmod(0o600)
    with largest.open("r+b") as file:
        file.seek(1000)
        file.write(b"rot")
    message = pyd("save", "-o", tmp_path / "x.tar", "busybox", code=1, env=filled).stderr
    assert "does not match its name any more" in message and not (tmp_path / "x.tar").exists()


def test_platforms_and_refusals(filled: dict[str, str], pyd: Pyd, tmp_path: Path) -> None:
    archive = tmp_path / "x.tar"
    terminal = pyd.terminal("--data-root", filled["PYD_DATA_ROOT"], "save", "busybox")
    terminal.expect("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    assert terminal.close() == 1
    assert "No such image: nobody:latest" in pyd("save", "-o", archive, "nobody", code=1, env=filled).stderr
    wrong = pyd("save", "--platform", "linux/s390x", "-o", archive, "busybox", code=1, env=filled).stderr
    assert "does not match the specified platform" in wrong and not archive.exists()
    missing = pyd("save", "-o", tmp_path / "no/x.tar", "busybox", code=1, env=filled).stderr
    assert f'invalid output path: directory "{tmp_path}/no" does not exist' in missing
    pyd("save", "-o", archive, "busybox", env=filled)
    wrong = pyd("load", "--platform", "linux/s390x", "-i", archive, code=1, env=filled).stderr
    assert "requested platform (linux/s390x) not found" in wrong
    pyd("load", "-q", "--platform", f"linux/{machine()}", "-i", archive, env=filled)


def machine() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
