"""How archives are read and images compared: each kind of difference is seen, and nothing else is one."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.dockerfiles.allowed import Allowance
from tests.dockerfiles.archive import Image, Reader
from tests.dockerfiles.case import load
from tests.dockerfiles.compare import differences, split

Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, **values: Any) -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mode = kind, len(content), values.pop("mode", 0o644)
    for key, value in values.items():
        setattr(info, key, value)
    return info, content


def tar(members: Sequence[Member]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as out:
        for info, content in members:
            out.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def image(path: Path, *layers: Sequence[Member], packed: bool = False, **config: Any) -> Image:
    """Written as `docker save` does, and read."""
    blobs = [tar(layer) for layer in layers]
    diff_ids = [f"sha256:{hashlib.sha256(blob).hexdigest()}" for blob in blobs]
    if packed:
        blobs = [gzip.compress(blob) for blob in blobs]
    manifest = [{"Config": "c.json", "Layers": [f"{number}.tar" for number, _ in enumerate(blobs)]}]
    files = [member(f"{number}.tar", blob) for number, blob in enumerate(blobs)]
    document = {"config": config, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    files.append(member("c.json", json.dumps(document).encode()))
    files.append(member("manifest.json", json.dumps(manifest).encode()))
    path.write_bytes(tar(files))
    return Reader().read(path)


BASE = [
    member("d/", kind=tarfile.DIRTYPE, mode=0o755),
    member("d/f", b"text"),
    member("./d/g", b"more"),
    member("l", kind=tarfile.SYMTYPE, linkname="d/f"),
    member("p", kind=tarfile.FIFOTYPE),
    member("h", kind=tarfile.LNKTYPE, linkname="d/f"),
]


@pytest.mark.parametrize(
    ("changed", "path", "what"),
    [
        (member("d/f", b"other"), "d/f", "content"),
        (member("d/f", b"text", mode=0o4644), "d/f", "mode"),
        (member("d/f", b"text", gid=7), "d/f", "owner"),
        (member("d/f", kind=tarfile.FIFOTYPE), "d/f", "kind"),
        (member("l", kind=tarfile.SYMTYPE, linkname="elsewhere"), "l", "link"),
        (member("d", kind=tarfile.DIRTYPE, mode=0o700), "d", "mode"),
        (member("d/f", b"text", pax_headers={"SCHILY.xattr.user.a": "b"}), "d/f", "xattrs"),
        (member("new", b""), "new", "missing"),
        (member("d/.wh.g"), "d/g", "extra"),
    ],
)
def test_each_kind_of_difference_is_seen(tmp_path: Path, changed: Member, path: str, what: str) -> None:
    plain, other = image(tmp_path / "a", BASE), image(tmp_path / "b", BASE, [changed])
    (found,) = differences(plain, other)
    assert (found.path, found.what) == (path, what)
    assert split([found], [Allowance(path, "a reason", what)]) == ([], [found])
    assert split([found], [Allowance(path, "a reason", "device")]) == ([found], [])


def test_times_compression_and_the_number_of_layers_are_no_difference(tmp_path: Path) -> None:
    plain = image(tmp_path / "a", BASE, Cmd=["sh"], Env=None)
    later = [member("d/f", b"text", mtime=5), member("h", kind=tarfile.LNKTYPE, linkname="d/f")]
    other = image(tmp_path / "b", BASE, later, packed=True, Cmd=["sh"], Env=[], Hostname="x")
    assert differences(plain, other) == []
    assert (plain.layers, other.layers) == (1, 2)


def test_settings_are_compared(tmp_path: Path) -> None:
    plain = image(tmp_path / "a", BASE, User="1", Labels={"a": "b"})
    other = image(tmp_path / "b", BASE, User="2", Labels={"a": "b"})
    assert [found.path for found in differences(plain, other)] == ["config User"]


def test_whiteouts(tmp_path: Path) -> None:
    """An opaque directory hides what was below, not what its own layer has; a file replaces a tree."""
    layer = [member("d/.wh..wh..opq"), member("d/n", b"new"), member("t", b"")]
    tree = [*BASE, member("t/", kind=tarfile.DIRTYPE), member("t/x", b"")]
    assert sorted(image(tmp_path / "a", tree, layer).files) == ["d", "d/n", "h", "l", "p", "t"]


def test_a_layer_that_is_not_its_diff_id_is_refused(tmp_path: Path) -> None:
    image(tmp_path / "a", BASE)
    data = (tmp_path / "a").read_bytes().replace(b"more", b"MORE", 1)
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(AssertionError, match="is not sha256:"):
        Reader().read(tmp_path / "a")


def test_older_engines_get_no_syntax_line() -> None:
    case = load("copy-shapes")
    assert case.dockerfile_text("docker") == case.dockerfile_text("pyd")
    case = load("python-flask")
    assert case.dockerfile_text("pyd").startswith("# syntax=docker/dockerfile:1\nARG REGISTRY")
    assert case.dockerfile_text("docker").startswith("ARG REGISTRY")
