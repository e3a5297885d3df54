"""The images that scenarios load and pull: deterministic files, made once and kept in the user's cache."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.images.builder import cache_root
from tests.images.layers import Layer, LayerWriter, write_layout
from tests.support.registry import Registry

from benches.programs import Unavailable, find

# case: layers, files in all, MB in all (at scale 1)
CASES = {
    "5 layers": (5, 31_000, 799),
    "1 layer": (1, 2_000, 1077),
    "40 layers": (40, 2_000, 39),
}


def _layer(path: Path, number: int, entries: int, size: int) -> Layer:
    """Files of text that compresses about two to one, as programs do; every 20 files are a directory."""
    source = random.Random(number)
    words = [source.randbytes(source.randint(3, 12)).hex() for _ in range(4096)]
    block = " ".join(source.choice(words) for _ in range(60_000))
    writer = LayerWriter(path)
    each = max(1, size // entries)
    for index in range(entries):
        directory = f"usr/share/bench/{number}/{index // 20}"
        if index % 20 == 0:
            writer.directory(directory)
        offset = source.randrange(len(block) // 2)
        text = block[offset : offset + min(each, len(block) // 2)]
        writer.text(f"{directory}/{index}", 0o644, (text * (each // len(text) + 1))[:each])
    return writer.finish()


def title(case: str, scale: float) -> str:
    """What the tables call it: `5 layers, 400 MB, 15500 files`."""
    count, entries, megabytes = CASES[case]
    return f"{case}, {megabytes * scale:.0f} MB, {max(count, int(entries * scale))} files"


def layout(case: str, scale: float) -> Path:
    """The OCI layout of an image."""
    count, entries, megabytes = CASES[case]
    place = cache_root() / f"bench-{count}-{entries}-{megabytes}-{scale:g}"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with TemporaryDirectory(dir=cache_root()) as scratch:
            layers = [
                _layer(
                    Path(scratch) / f"{number}.tar.gz",
                    number,
                    max(1, int(entries * scale) // count),
                    int(megabytes * 1_000_000 * scale) // count,
                )
                for number in range(count)
            ]
            write_layout(Path(scratch) / "layout", "latest", layers, {"Cmd": ["true"]})
            (Path(scratch) / "layout").rename(place)
    return place


def blobs(layout: Path) -> list[Path]:
    """The compressed layers of a layout's image, lowest first."""
    index = json.loads((layout / "index.json").read_text())
    manifest = json.loads(_blob(layout, index["manifests"][0]["digest"]).read_text())
    return [_blob(layout, layer["digest"]) for layer in manifest["layers"]]


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / "sha256" / digest.removeprefix("sha256:")


@contextmanager
def served(scale: float, directory: Path) -> Iterator[dict[str, str]]:
    """case -> reference; the registry lives in `directory` as long as the context."""
    try:
        find("docker-registry")
        find("skopeo")
    except Unavailable as error:
        raise Unavailable(f"{error}: sh tests/setup.sh") from None
    registry = Registry(directory / "registry")
    try:
        yield {
            case: registry.push(layout(case, scale), f"bench{number}") for number, case in enumerate(CASES)
        }
    finally:
        registry.stop()


def docker_archive(case: str, scale: float, place: Path) -> Path:
    """A layout's image as `docker save` writes it: plain layer tars, which every engine can load."""
    layers = []
    for number, blob in enumerate(blobs(layout(case, scale))):
        path = place.with_suffix(f".{number}")
        with gzip.open(blob) as source, path.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        layers.append(path)
    return _write_archive(place, layers, "bench:latest")


def busybox_archive(rootfs: Path, place: Path, name: str) -> Path:
    layer = place.with_suffix(".layer")
    with tarfile.open(layer, "w") as tar:
        tar.add(rootfs, ".")
    return _write_archive(place, [layer], name)


def _write_archive(place: Path, layers: Sequence[Path], name: str) -> Path:
    """The layer files are used up."""
    digests = []
    for layer in layers:
        with layer.open("rb") as source:
            digests.append(hashlib.file_digest(source, "sha256").hexdigest())
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    config = {
        "architecture": machine,
        "os": "linux",
        "config": {"Cmd": ["true"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
        # buildah refuses a base whose history does not name its layers
        "history": [{"created_by": f"bench: layer {number}"} for number, _ in enumerate(digests)],
    }
    manifest = {
        "Config": "config.json",
        "RepoTags": [name],
        "Layers": [f"{digest}/layer.tar" for digest in digests],
    }
    with tarfile.open(place, "w") as tar:
        for digest, layer in zip(digests, layers, strict=True):
            tar.add(layer, f"{digest}/layer.tar")
            layer.unlink()
        for path, content in (("config.json", config), ("manifest.json", [manifest])):
            data = json.dumps(content).encode()
            member = tarfile.TarInfo(path)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return place
