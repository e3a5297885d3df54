"""Builds on the busybox image, in the session's own store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pyd import Engine
from tests.support.builds import Builder


@pytest.fixture
def engine(busybox: str) -> Iterator[Engine]:
    with Engine() as engine:
        yield engine


@pytest.fixture
def builder(engine: Engine, busybox: str, tmp_path: Path) -> Builder:
    context = tmp_path / "context"
    context.mkdir()
    return Builder(engine, context, busybox)
