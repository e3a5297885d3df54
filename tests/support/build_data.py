"""Cases of BuildKit's own tests, which are not part of this project.

They are looked for in $PYD_BUILD_DATA, or in a directory beside the project: copies of what moby/buildkit has
in frontend/dockerfile/parser (buildkit-parser) and in frontend/dockerfile/shell (buildkit-shell).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_BESIDE = Path(__file__).parents[2].parent / "shared" / "data"


def directory(name: str) -> Path | None:
    path = Path(os.environ.get("PYD_BUILD_DATA") or _BESIDE) / name
    return path if path.is_dir() else None


def needed(name: str) -> Path:
    path = directory(name)
    if path is None:
        pytest.skip(f"no {name} in $PYD_BUILD_DATA")
    return path


def dockerfiles() -> list[bytes]:
    """Those that BuildKit parses; none without the data."""
    path = directory("buildkit-parser")
    return [file.read_bytes() for file in sorted(path.glob("testfiles/*/Dockerfile"))] if path else []
