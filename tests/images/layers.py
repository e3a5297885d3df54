"""Directories to layer tars, layer tars to an OCI image layout."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.images.recipes import Config

MEDIA_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
MEDIA_CONFIG = "application/vnd.oci.image.config.v1+json"
MEDIA_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CREATED = "2024-01-01T00:00:00Z"


@dataclass(frozen=True)
class Layer:
    path: Path
    digest: str
    size: int
    diff_id: str


class _Hashing(io.RawIOBase):
    """Passes bytes on and hashes them; tarfile and gzip write to it."""

    def __init__(self, out: io.BufferedIOBase | gzip.GzipFile) -> None:
        self._out = out
        self.hash = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        block = bytes(data)  # type: ignore[call-overload]
        self.hash.update(block)
        self.size += len(block)
        self._out.write(block)
        return len(block)


class LayerWriter:
    """Writes one gzip layer, hashing it before and after compression."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._outer = _Hashing(self._file)
        # level 3: the suite pays for compression, nobody for storage; mtime=0 keeps the digest stable
        self._gzip = gzip.GzipFile("", "wb", 3, self._outer, mtime=0)
        self._inner = _Hashing(self._gzip)
        self.tar = tarfile.open(fileobj=self._inner, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115 closed by finish

    def finish(self) -> Layer:
        self.tar.close()
        self._gzip.close()
        self._file.close()
        return Layer(
            self._path,
            f"sha256:{self._outer.hash.hexdigest()}",
            self._outer.size,
            f"sha256:{self._inner.hash.hexdigest()}",
        )

    def text(self, name: str, mode: int, content: str) -> None:
        member = tarfile.TarInfo(name)
        data = content.encode()
        member.mode, member.size = mode, len(data)
        self.tar.addfile(member, io.BytesIO(data))

    def directory(self, name: str, mode: int = 0o755) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.mode = tarfile.DIRTYPE, mode
        self.tar.addfile(member)

    def symlink(self, name: str, target: str) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.mode = tarfile.SYMTYPE, target, 0o777
        self.tar.addfile(member)

    def tree(self, root: Path) -> None:
        """Adds all that is below `root`, overlay's whiteouts as those of the image specification."""
        for directory, names, files in os.walk(root):
            names.sort()
            here = Path(directory)
            for name in sorted([*names, *files]):
                self._add(here / name, str((here / name).relative_to(root)))

    def _add(self, path: Path, name: str) -> None:
        status = path.lstat()
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            self.text(f"{Path(name).parent}/.wh.{Path(name).name}", 0, "")
            return
        if stat.S_ISSOCK(status.st_mode):
            return
        member = self.tar.gettarinfo(str(path), name)
        member.uname = member.gname = ""
        if member.isreg():
            with path.open("rb") as source:
                self.tar.addfile(member, source)
        else:
            self.tar.addfile(member)
        if member.isdir() and _opaque(path):
            self.text(f"{name}/.wh..wh..opq", 0, "")


def _opaque(path: Path) -> bool:
    try:
        return os.getxattr(path, "trusted.overlay.opaque") == b"y"
    except OSError:
        return False


def write_layout(target: Path, name: str, layers: Iterable[Layer], config: Config) -> None:
    """Writes an OCI image layout with one image, tagged `name`. Layer files are moved into it."""
    blobs = target / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layers = list(layers)
    for layer in layers:
        destination = blobs / layer.digest.removeprefix("sha256:")
        if layer.path != destination and not destination.exists():
            os.link(layer.path, destination)
    image = {
        "created": CREATED,
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [
            {"created": CREATED, "created_by": f"pyd tests: layer {number}"}
            for number, _ in enumerate(layers)
        ],
    }
    described = [{"mediaType": MEDIA_LAYER, "digest": layer.digest, "size": layer.size} for layer in layers]
    manifest = {
        "schemaVersion": 2,
        "mediaType": MEDIA_MANIFEST,
        "config": _blob(blobs, image, MEDIA_CONFIG),
        "layers": described,
    }
    index = {
        "schemaVersion": 2,
        "manifests": [
            _blob(blobs, manifest, MEDIA_MANIFEST)
            | {"annotations": {"org.opencontainers.image.ref.name": name}}
        ],
    }
    (target / "index.json").write_text(json.dumps(index))
    (target / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')


def _blob(blobs: Path, value: object, media_type: str) -> dict[str, object]:
    data = json.dumps(value, sort_keys=True).encode()
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}
