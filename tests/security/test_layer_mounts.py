"""A part of an image that a step of a build mounts, behind links that lead to the host.

CVE-2024-1753: the source of `RUN --mount=type=bind,from=IMAGE,source=/link` was resolved on the host, so a
link of the image gave the step the host's root, writable.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.oci import Runtime

SECRET = "a secret of the host"
# Link of the image, and the path in it that is mounted. {} is a directory of the host.
LINKS = {
    "absolute": ("{}", "link"),
    "absolute, below": ("{}", "link/secret"),
    "relative": ("../../../../../../../../../../../../../..{}", "link"),
    "root": ("/", "link{}"),
    "root, relative": ("../../../../../../../../../../../../../..", "link{}/secret"),
}


def read(runtime: Runtime, directory: Path, link: str, *, writable: bool) -> str:
    """What a container sees of the host's directory in a mount of a layer with that link."""
    canary = directory / "canary"
    canary.mkdir()
    (canary / "secret").write_text(SECRET)
    target, path = (text.format(canary) for text in LINKS[link])
    for name in ("layer", "upper", "work"):
        (directory / name).mkdir()
    (directory / "layer/link").symlink_to(target)
    source: dict[str, Any] = {"lower": [str(directory / "layer")], "subpath": path}
    if writable:
        source |= {"upper": str(directory / "upper"), "work": str(directory / "work")}

    def edit(spec: dict[str, Any]) -> None:
        mount = {"destination": "/m", "type": "dev.pyd.layers", "source": json.dumps(source)}
        spec["mounts"].append(mount)

    seen = "/m" if path.endswith("secret") else "/m/secret"
    result = runtime.run("a", ["/payload", "cat", seen], edit, None)
    assert (canary / "secret").read_text() == SECRET
    return result.stdout + result.stderr


@pytest.mark.parametrize("writable", [False, True])
@pytest.mark.parametrize("link", LINKS)
def test_part_of_an_image(runtime: Runtime, tmp_path: Path, link: str, writable: bool) -> None:
    shown = read(runtime, tmp_path, link, writable=writable)
    assert SECRET not in shown
    assert "cannot mount /m: subpath: open" in shown


@pytest.mark.parametrize("link", ["absolute", "absolute, below", "root"])
def test_control_of_a_part_of_an_image(weakened: Callable[..., Runtime], tmp_path: Path, link: str) -> None:
    assert SECRET in read(weakened("subpath-by-name"), tmp_path, link, writable=True)
