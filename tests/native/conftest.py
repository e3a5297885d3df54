"""A place for monitors: their directories, their cgroups, and the end of those that a test left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.native.shim import Shims, runtime
from tests.support.command import wait_until
from tests.support.world import World


@pytest.fixture(scope="session")
def monitors(world: World) -> Shims:
    if not Path(runtime()).exists():
        pytest.skip(f"{runtime()} is not built")
    return Shims(world.directory / "shims", world.cgroup_parent)


@pytest.fixture
def shims(monitors: Shims, world: World) -> Iterator[Shims]:
    yield monitors
    monitors.clean()
    for path in reversed(world.cgroups()):  # of a monitor that the test killed
        processes = path / "cgroup.procs"
        wait_until(lambda processes=processes: not processes.read_text(), 5)  # type: ignore[misc]
        path.rmdir()
