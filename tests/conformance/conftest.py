"""Fixtures of the conformance tests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.oci import Runtime
from tests.support.world import World


@pytest.fixture
def runtime(world: World, payload: Path) -> Iterator[Runtime]:
    with tempfile.TemporaryDirectory(prefix="pyd-test-conformance-") as directory:
        made = Runtime(Path(directory), world.cgroup_parent, payload)
        yield made
        made.finish(world)
