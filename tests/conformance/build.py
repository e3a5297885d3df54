"""Builds the validation programs of the OCI runtime-tools (Apache-2.0) into the cache of the tests.

They come through the Go module proxy, pinned by go.mod and go.sum beside this file; nothing of them is copied
into the project. Needs go 1.19 or newer (Debian's golang-go).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from tests.images.builder import cache_root

HERE = Path(__file__).parent
MODULE = "github.com/opencontainers/runtime-tools"
PACKAGES = (f"{MODULE}/validation/...", f"{MODULE}/cmd/runtimetest")


class NotBuilt(Exception):
    """The programs cannot be built here; the message says what is missing."""


def programs() -> Path:
    """The directory with the programs, `runtimetest` and the root file system that they unpack, as they
    expect it in their working directory. Built at first use (about half a minute).
    """
    pins = (HERE / "go.mod").read_bytes() + (HERE / "go.sum").read_bytes()
    directory = cache_root() / f"runtime-tools-{hashlib.sha256(pins).hexdigest()[:16]}"
    if not directory.is_dir():
        _build(directory)
    return directory


def names(directory: Path) -> list[str]:
    """The validation programs in it, sorted."""
    return sorted(path.name for path in directory.iterdir() if path.name not in NOT_PROGRAMS)


NOT_PROGRAMS = {"runtimetest", "rootfs-amd64.tar.gz", "rootfs-386.tar.gz"}


def _build(directory: Path) -> None:
    if shutil.which("go") is None:
        raise NotBuilt("go is not installed: apt-get install golang-go")
    work = directory.with_name(f"{directory.name}.{os.getpid()}")
    work.mkdir(parents=True)
    try:
        # a copy: go writes into the directory of its go.mod
        module = work / "module"
        module.mkdir()
        for name in ("go.mod", "go.sum"):
            shutil.copy(HERE / name, module)
        made = work / "programs"
        # static: runtimetest runs inside of the container
        environ = os.environ | {"GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"}
        _go(module, environ, "build", "-trimpath", "-ldflags", "-s -w", "-o", f"{made}/", *PACKAGES)
        source = Path(_go(module, environ, "list", "-m", "-f", "{{.Dir}}", MODULE).strip())
        for tarball in source.glob("rootfs-*.tar.gz"):
            shutil.copy(tarball, made)
        made.rename(directory)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _go(module: Path, environ: dict[str, str], *args: str) -> str:
    done = subprocess.run(["go", *args], cwd=module, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotBuilt(f"go {args[0]}: {done.stderr.strip()}")
    return done.stdout


def version() -> str:
    """The pinned version of the runtime-tools."""
    return next(line for line in (HERE / "go.mod").read_text().splitlines() if MODULE in line).split()[-1]
