"""Disks that are full, full of files, or not to be written to."""

from __future__ import annotations

import os
import time

from tests.fakes.registry import FakeImage, Handler
from tests.hostile.registry.case import Scene, case, head

FULL = "no space left|space on the file system|bytes free|disk is full"


@case("disk: too small for anything", FULL)
def _(scene: Scene) -> None:
    scene.mount("size=64k")
    scene.on_heal.append(lambda: scene.remount("size=100m"))


@case("disk: too small for the layers", FULL)
def _(scene: Scene) -> None:
    scene.mount("size=1m")
    scene.on_heal.append(lambda: scene.remount("size=100m"))


def _fill(scene: Scene) -> None:
    """Somebody else takes the rest of the disk."""
    try:
        with open(scene.data / "other", "wb", buffering=0) as file:
            while file.write(bytes(1 << 20)) == 1 << 20:
                pass
    except OSError:
        pass


def _empty(scene: Scene) -> None:
    os.unlink(scene.data / "other")


@case("disk: filled by others in the middle of a blob", FULL, resumes=True, seconds=30)
def _(scene: Scene) -> None:
    scene.mount("size=80m")
    # Most of it is unpacked when the disk is full, and that is room again. It has more than 2 MiB as stored:
    # a smaller layer is not unpacked before all of it has come.
    scene.image = FakeImage.of({"hello": b"1"}, {"zeros": bytes(40 << 20), "big": os.urandom(3 << 20)})
    scene.serve()

    def half(handler: Handler) -> bool:
        data = scene.image.layers[1]
        head(handler, 200, ("Content-Length", len(data)))
        handler.wfile.write(data[:200_000])
        _wait_for(scene, 190_000, 40 << 20)
        _fill(scene)
        handler.wfile.write(data[200_000:])
        return True

    scene.fault(half, scene.big, times=1)
    scene.on_heal.append(lambda: _empty(scene))
    scene.keeps_image = True


def _wait_for(scene: Scene, fetched: int, unpacked: int) -> None:
    """Until so many bytes of the blob, and of its first file, are on the disk."""
    partial = scene.data / "ingest" / f"{scene.big[7:]}.partial"
    for _ in range(2000):
        files = [*scene.data.glob("snapshots/*/fs/zeros")]
        is_fetched = partial.exists() and partial.stat().st_size >= fetched
        if is_fetched and any(file.stat().st_blocks * 512 >= unpacked for file in files):
            return
        time.sleep(0.01)


@case("disk: no inodes left", FULL)
def _(scene: Scene) -> None:
    scene.mount("size=40m,nr_inodes=14")
    scene.on_heal.append(lambda: scene.remount("size=40m,nr_inodes=1000"))


@case("disk: inodes end in the middle of a layer", FULL)
def _(scene: Scene) -> None:
    from tests.hostile.registry.layers import _many, _tar
    from tests.hostile.tars.blocks import END

    scene.mount("size=40m,nr_inodes=200")
    _tar(scene, b"".join(_many(2000)) + END)
    scene.on_heal.append(lambda: scene.remount("size=40m,nr_inodes=1000"))


@case("disk: read-only", "read-only file system")
def _(scene: Scene) -> None:
    scene.mount("size=40m,ro")
    scene.on_heal.append(lambda: scene.remount("rw"))


@case("data-root: a file", "not a directory|file exists")
def _(scene: Scene) -> None:
    scene.data.write_text("x")
    scene.on_heal.append(scene.data.unlink)
