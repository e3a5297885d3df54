"""Builds the conformance suite of the OCI distribution spec, and crane and oras, into the cache of the tests.

All Apache-2.0. They come through the Go module proxy, pinned by go.mod and go.sum beside this file; nothing
of them is copied into the project. Needs a go that is as new as go.mod says.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.images.builder import cache_root

HERE = Path(__file__).parent
SUITE = "github.com/opencontainers/distribution-spec/conformance"
PACKAGES = (
    SUITE,
    "github.com/google/go-containerregistry/cmd/crane",
    "oras.land/oras/cmd/oras",
)


class NotBuilt(Exception):
    """The programs cannot be built here; the message says what is missing."""


def programs(prefix: Sequence[str] = ()) -> Path:
    """The directory with `conformance`, `crane` and `oras`. Built at first use, in about two minutes.
    `prefix` is put before go: it needs a network.
    """
    pins = (HERE / "go.mod").read_bytes() + (HERE / "go.sum").read_bytes()
    directory = cache_root() / f"distribution-{hashlib.sha256(pins).hexdigest()[:16]}"
    if not directory.is_dir():
        _build(directory, list(prefix))
    return directory


def _build(directory: Path, prefix: list[str]) -> None:
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
        environ = os.environ | {"GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"}
        words = ["go", "build", "-trimpath", "-ldflags", "-s -w", "-o", f"{made}/", *PACKAGES]
        done = subprocess.run(
            [*prefix, *words], cwd=module, env=environ, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise NotBuilt(f"go build: {done.stderr.strip()[-2000:]}")
        made.rename(directory)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def version() -> str:
    """The pinned version of the suite."""
    return next(line for line in (HERE / "go.mod").read_text().splitlines() if SUITE in line).split()[1]
