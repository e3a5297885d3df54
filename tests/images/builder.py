"""Recipes to OCI layouts, kept in the user's cache; the key is the recipe, so a changed recipe is built anew.

python -m tests.images.builder [NAME...]     build now and print where
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.images import debian
from tests.images.layers import Layer, LayerWriter, write_layout
from tests.images.recipes import MARKERS, RECIPES, Recipe
from tests.images.toolchains import TOOLCHAINS

FORMAT = 1  # of what this module writes; raise it when the layouts change and the recipes do not


def cache_root() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "pyd-tests"


def layouts(names: Sequence[str], prefix: Sequence[str] = ()) -> dict[str, Path]:
    """OCI layouts of the named images, building what is missing, two at a time. `prefix`: see
    `debian.bootstrap`.
    """
    recipes = [(RECIPES | TOOLCHAINS)[name] for name in names]
    if all(_place(recipe).exists() for recipe in recipes):
        return {recipe.name: _place(recipe) for recipe in recipes}  # another may be making others for minutes
    with _locked(), ThreadPoolExecutor(2) as pool:
        wanting_base = [r for r in recipes if r.packages and not _place(r).exists()]
        base = _base(list(prefix)) if wanting_base else None
        return dict(
            zip(names, pool.map(lambda recipe: _layout(recipe, base, list(prefix)), recipes), strict=True)
        )


def _key(*parts: object) -> str:
    suite, _ = debian.suite_and_sources()
    return hashlib.sha256(repr((FORMAT, suite, MARKERS, *parts)).encode()).hexdigest()[:16]


def _place(recipe: Recipe) -> Path:
    return cache_root() / f"{recipe.name}-{_key(recipe)}"


@contextmanager
def _locked() -> Iterator[None]:
    cache_root().mkdir(parents=True, exist_ok=True, mode=0o700)
    with (cache_root() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _base(prefix: list[str]) -> tuple[Path, Layer]:
    """The shared base: its rootfs (the lower directory of each application) and its layer, compressed
    once.
    """
    rootfs = cache_root() / f"base-{_key()}"
    if not rootfs.exists():
        debian.bootstrap(rootfs, prefix)
    writer = LayerWriter(cache_root() / f"base-{_key()}.tar.gz")
    writer.tree(rootfs)
    return rootfs, writer.finish()


def _layout(recipe: Recipe, base: tuple[Path, Layer] | None, prefix: list[str]) -> Path:
    place = _place(recipe)
    if place.exists():
        return place
    scratch = Path(tempfile.mkdtemp(prefix=f"{recipe.name}-", suffix=".partial", dir=cache_root()))
    try:
        if recipe.packages:
            assert base is not None
            layers = [base[1], _packages(recipe, base[0], scratch, prefix), _last(recipe, scratch)]
        else:
            layers = [_busybox(scratch)]
        write_layout(scratch / "layout", "latest", layers, recipe.config)
        (scratch / "layout").rename(place)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return place


def _packages(recipe: Recipe, rootfs: Path, scratch: Path, prefix: list[str]) -> Layer:
    upper = debian.install(rootfs, recipe.packages, scratch / "overlay", prefix)
    writer = LayerWriter(scratch / "packages.tar.gz")
    writer.tree(upper)
    return writer.finish()


def _last(recipe: Recipe, scratch: Path) -> Layer:
    """The layer of the recipe's own files, which also deletes and hides what the base had."""
    writer = LayerWriter(scratch / "last.tar.gz")
    for name, (mode, text) in recipe.files.items():
        writer.text(name, mode, text)
    for name, target in recipe.links.items():
        writer.symlink(name, target)
    writer.text("usr/share/pyd-tests/.wh.hidden", 0, "")
    writer.directory("usr/share/pyd-tests/opaque")
    writer.text("usr/share/pyd-tests/opaque/.wh..wh..opq", 0, "")
    writer.text("usr/share/pyd-tests/opaque/new", 0o644, "from the last layer\n")
    return writer.finish()


def busybox_tree(root: Path) -> None:
    """A rootfs of the host's static busybox, with its applets as symbolic links."""
    source = Path(shutil.which("busybox") or "/bin/busybox")
    for directory in ("bin", "etc", "root", "tmp", "dev", "proc", "sys", "home", "var/www"):
        (root / directory).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    (root / "root").chmod(0o700)
    shutil.copy(source, root / "bin" / "busybox")
    (root / "bin" / "busybox").chmod(0o755)
    applets = subprocess.run([str(source), "--list"], capture_output=True, text=True, check=True).stdout
    for applet in applets.split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/:/bin/false\n"
        "www-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n"
    )
    (root / "etc/group").write_text(
        "root:x:0:\ndaemon:x:1:\nadm:x:4:www-data\naudio:x:29:www-data\nwww-data:x:33:\nnogroup:x:65534:\n"
    )


def _busybox(scratch: Path) -> Layer:
    busybox_tree(scratch / "rootfs")
    writer = LayerWriter(scratch / "busybox.tar.gz")
    writer.tree(scratch / "rootfs")
    return writer.finish()


if __name__ == "__main__":
    for name, path in layouts(sys.argv[1:] or list(RECIPES)).items():
        print(name, path)
