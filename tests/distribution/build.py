"""Builds the conformance suite of the OCI distribution spec, and crane and oras (all Apache-2.0)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.support import go
from tests.support.go import NotBuilt

HERE = Path(__file__).parent
SUITE = "github.com/opencontainers/distribution-spec/conformance"
PACKAGES = (
    SUITE,
    "github.com/google/go-containerregistry/cmd/crane",
    "oras.land/oras/cmd/oras",
)


def programs(prefix: Sequence[str] = ()) -> Path:
    """The directory with `conformance`, `crane` and `oras`. Built at first use, in about two minutes.
    `prefix` is put before go: it needs a network. Raises NotBuilt.
    """
    return go.programs("distribution", HERE, PACKAGES, prefix=prefix)


def version() -> str:
    """The pinned version of the suite."""
    return go.version(HERE, SUITE)


__all__ = ["NotBuilt", "programs", "version"]
