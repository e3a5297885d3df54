"""Builds the validation programs of the OCI runtime-tools (Apache-2.0). Needs go 1.19 or newer."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support import go
from tests.support.go import NotBuilt

HERE = Path(__file__).parent
MODULE = "github.com/opencontainers/runtime-tools"
PACKAGES = (f"{MODULE}/validation/...", f"{MODULE}/cmd/runtimetest")
NOT_PROGRAMS = {"runtimetest", "rootfs-amd64.tar.gz", "rootfs-386.tar.gz"}


def programs() -> Path:
    """The directory with the programs, `runtimetest` and the root file system that they unpack, as they
    expect it in their working directory. Built at first use (about half a minute). Raises NotBuilt.
    """
    return go.programs("runtime-tools", HERE, PACKAGES, add=_add_roots)


def names(directory: Path) -> list[str]:
    """The validation programs in it, sorted."""
    return sorted(path.name for path in directory.iterdir() if path.name not in NOT_PROGRAMS)


def _add_roots(run_go: go.Go, made: Path) -> None:
    source = Path(run_go("list", "-m", "-f", "{{.Dir}}", MODULE).strip())
    for tarball in source.glob("rootfs-*.tar.gz"):
        shutil.copy(tarball, made)


def version() -> str:
    """The pinned version of the runtime-tools."""
    return go.version(HERE, MODULE)


__all__ = ["NOT_PROGRAMS", "NotBuilt", "names", "programs", "version"]
