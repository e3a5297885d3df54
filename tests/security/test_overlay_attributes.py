"""Attributes of overlayfs in a layer: they would make the kernel show, hide or follow what the layer says."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

from tests.support.command import Pyd
from tests.support.world import World

ATTRIBUTES = {
    f"SCHILY.xattr.{namespace}.overlay.{name}": value
    for namespace in ("trusted", "user")
    for name, value in (("redirect", "/etc"), ("opaque", "y"), ("metacopy", ""), ("origin", "x"))
}
HARMLESS = {"SCHILY.xattr.user.kept": "yes"}


def layer(path: Path) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind in (("smuggled", tarfile.DIRTYPE), ("smuggled/file", tarfile.REGTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.mode = kind, 0o755
            member.pax_headers = ATTRIBUTES | HARMLESS
            tar.addfile(member, io.BytesIO())
    return path


def attributes(top: Path) -> set[str]:
    """Names of extended attributes of all that is called as in the layer."""
    found = [*top.rglob("smuggled*"), *top.rglob("smuggled/file")]
    return {name for path in found for name in os.listxattr(path, follow_symlinks=False)}


def test_attributes_of_overlayfs_are_dropped(world: World, pyd: Pyd, tmp_path: Path) -> None:
    """And nothing else is: the layer came through, with an attribute that has no meaning."""
    image = pyd("import", layer(tmp_path / "layer.tar")).out
    found = attributes(world.data_root)
    pyd("rmi", "-f", image)
    assert "user.kept" in found
    assert [name for name in found if ".overlay." in name] == []


def test_control_of_attributes(tmp_path: Path) -> None:
    """GNU tar, told to restore all attributes, does so."""
    tar = shutil.which("tar")
    assert tar is not None
    out = tmp_path / "out"
    out.mkdir()
    options = ["--xattrs", "--xattrs-include=*", "-C", str(out), "-xf", str(layer(tmp_path / "layer.tar"))]
    subprocess.run([tar, *options], check=True, capture_output=True)
    assert "trusted.overlay.redirect" in attributes(out)
