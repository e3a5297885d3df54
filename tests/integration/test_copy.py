"""image copy: registries, layouts and archives, bit for bit, read by skopeo on the other side."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from pyd.engine.images import Images
from pyd.errors import PydError
from pyd.paths import Paths
from pyd.store import Store
from tests.fakes.registry import INDEX, FakeImage, FakeRegistry, digest_of, serving
from tests.support.command import Pyd
from tests.support.registry import Registry, skopeo


@pytest.fixture
def store(tmp_path: Path) -> dict[str, str]:
    return {"PYD_DATA_ROOT": str(tmp_path / "data"), "PYD_RUN_ROOT": str(tmp_path / "run")}


def raw(place: str) -> str:
    options = ["--tls-verify=false"] if place.startswith("docker://") else []
    return skopeo("inspect", "--raw", *options, place)


def two_platforms(fake: FakeRegistry, name: str) -> dict[str, Any]:
    """An index of two images in the fake registry."""
    entries = []
    for architecture in ("amd64", "arm64"):
        image = FakeImage.of({"hello": architecture.encode() * 1000}, architecture=architecture)
        digest = fake.add(name, image, tag="")
        entries.append(
            {
                "mediaType": image.manifest["mediaType"],
                "digest": digest,
                "size": len(image.manifest_bytes),
                "platform": {"os": "linux", "architecture": architecture},
            }
        )
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
    fake.add_manifest(name, json.dumps(index).encode(), "latest", INDEX)
    return index


def test_registry_to_registry(
    registry: Registry, layouts: dict[str, Path], pyd: Pyd, store: dict[str, str]
) -> None:
    reference = registry.push(layouts["busybox"], "copied-from")
    other = f"{registry.host}/copied-to:v1"
    lines = pyd("image", "copy", reference, other, env=store).lines
    assert raw(f"docker://{other}") == raw(f"docker://{reference}")
    assert sum("Mounted from copied-from" in line for line in lines) == 2
    assert lines[-1].startswith(f"{other}: digest: sha256:")
    assert "Already exists" in pyd("image", "copy", reference, other, env=store).stdout
    assert not list(Path(store["PYD_DATA_ROOT"]).rglob("content/sha256/*")), "a copy keeps nothing"


def test_all_platforms(registry: Registry, pyd: Pyd, store: dict[str, str]) -> None:
    with serving() as fake:
        index = two_platforms(fake, "multi")
        target = f"{registry.host}/multi:all"
        pyd("image", "copy", "--all", f"{fake.host}/multi", target, env=store)
        assert json.loads(raw(f"docker://{target}")) == index
        # each of its blobs was fetched once
        asked = [request.path for request in fake.asked("/blobs/")]
        assert len(asked) == len(set(asked)) == 4
        one = f"{registry.host}/multi:arm"
        pyd("image", "copy", "--platform", "linux/arm64", f"{fake.host}/multi", one, env=store)
        wanted = index["manifests"][1]["digest"]
        assert digest_of(raw(f"docker://{one}").encode()) == wanted
        missing = f"{registry.host}/multi:none"
        result = pyd(
            "image", "copy", "--platform", "linux/s390x", f"{fake.host}/multi", missing, env=store, code=1
        )
        assert "no matching manifest for linux/s390x" in result.stderr


@pytest.mark.parametrize("way", ["oci", "oci-archive", "docker-archive"])
def test_files_are_read_by_skopeo(
    registry: Registry, layouts: dict[str, Path], pyd: Pyd, store: dict[str, str], tmp_path: Path, way: str
) -> None:
    reference = registry.push(layouts["busybox"], f"to-{way}")
    name = "team/app:v1"
    place = f"{way}:{tmp_path / 'image'}:{name}"
    pyd("image", "copy", reference, place, env=store)
    if way == "docker-archive":
        config = json.loads(skopeo("inspect", "--config", place))
        assert config == json.loads(
            skopeo("inspect", "--config", "--tls-verify=false", f"docker://{reference}")
        )
    else:
        assert raw(place) == raw(f"docker://{reference}")
    # and back
    again = f"{registry.host}/back-{way}"
    pyd("image", "copy", place, again, env=store)
    assert (
        json.loads(raw(f"docker://{again}:latest"))["layers"][0]["digest"]
        == (json.loads(raw(f"docker://{reference}"))["layers"][0]["digest"])
    )
    if way != "docker-archive":
        assert raw(f"docker://{again}:latest") == raw(f"docker://{reference}")


def test_what_skopeo_writes_is_read(
    registry: Registry, layouts: dict[str, Path], pyd: Pyd, store: dict[str, str], tmp_path: Path
) -> None:
    archive = tmp_path / "docker.tar"
    skopeo("copy", f"oci:{layouts['busybox']}:latest", f"docker-archive:{archive}:old/name:v1")
    pyd("image", "copy", f"docker-archive:{archive}:old/name:v1", "store:mine:1", env=store)
    source = json.loads(skopeo("inspect", "--config", f"oci:{layouts['busybox']}:latest"))
    layers = pyd("image", "inspect", "mine:1", env=store).json()[0]["RootFS"]["Layers"]
    assert layers == source["rootfs"]["diff_ids"]
    result = pyd("image", "copy", f"docker-archive:{archive}:other:v1", "store:x", env=store, code=1)
    assert "has no image other:v1" in result.stderr
    # out of the store again, to a layout that has another image already
    layout = tmp_path / "layout"
    pyd("image", "copy", "store:mine:1", f"oci:{layout}:a", env=store)
    pyd("image", "copy", "store:mine:1", f"oci:{layout}:b", env=store)
    names = [
        entry["annotations"]["org.opencontainers.image.ref.name"]
        for entry in json.loads((layout / "index.json").read_text())["manifests"]
    ]
    assert names == ["a", "b"]
    assert json.loads(raw(f"oci:{layout}:b"))["layers"][0]["mediaType"].endswith("+gzip")
    result = pyd("image", "copy", f"oci:{layout}", f"oci:{tmp_path / 'x'}", env=store, code=1)
    assert "has 2 images: say which" in result.stderr


@pytest.mark.parametrize("harm", ["flipped", "shorter", "longer"])
@pytest.mark.parametrize("kind", ["registry", "oci", "oci-archive"])
def test_a_wrong_blob_arrives_nowhere(registry: Registry, tmp_path: Path, kind: str, harm: str) -> None:
    image = FakeImage.of({"hello": b"good"})
    layer = image.layers[0]
    with serving() as fake:
        fake.add("bad", image)
        fake.blobs[digest_of(layer)] = {
            "flipped": layer[:-1] + bytes([layer[-1] ^ 1]),
            "shorter": layer[:-1],
            "longer": layer + b"x",
        }[harm]
        target = {
            "registry": f"{registry.host}/bad-{harm}",
            "oci": f"oci:{tmp_path}/layout:x",
            "oci-archive": f"oci-archive:{tmp_path}/archive.tar",
        }[kind]
        images = Images(Store(Paths(str(tmp_path / "data"), str(tmp_path / "run"))))
        with pytest.raises(PydError):
            images.copy(f"{fake.host}/bad", target)
    if kind == "registry":
        with pytest.raises(AssertionError):
            raw(f"docker://{target}:latest")
    elif kind == "oci":
        assert not (tmp_path / "layout/index.json").exists()
        for blob in (tmp_path / "layout/blobs/sha256").iterdir():
            assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    else:
        assert not list(tmp_path.glob("archive*"))


def test_places_that_are_none(pyd: Pyd, store: dict[str, str], tmp_path: Path) -> None:
    for source, words in (
        ("oci:/nowhere:x", "no OCI image layout at /nowhere"),
        ("oci-archive:/nowhere", "no such file"),
        ("store:nobody", "No such image: nobody:latest"),
        ("Upper/case", "invalid reference format"),
        ("oci:", "names nothing"),
    ):
        result = pyd("image", "copy", source, f"oci:{tmp_path}/x", env=store, code=1)
        assert words in result.stderr, result


def test_copies_at_once_into_one_layout(
    registry: Registry, layouts: dict[str, Path], pyd: Pyd, store: dict[str, str], tmp_path: Path
) -> None:
    reference = registry.push(layouts["busybox"], "at-once")
    threads = [
        threading.Thread(
            target=pyd,
            args=("image", "copy", "-q", reference, f"oci:{tmp_path}/l:t{number}"),
            kwargs={"env": store},
        )
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = json.loads((tmp_path / "l/index.json").read_text())["manifests"]
    assert len(entries) == 4
