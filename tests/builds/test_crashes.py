"""A build that is killed at any instant leaves no process, no mount, no half layer; the next one goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.builds import Builder
from tests.support.command import Pyd, wait_until
from tests.support.world import World

DOCKERFILE = """FROM {base}
COPY many /many
RUN --mount=type=cache,target=/c echo 1 >/c/x; echo one >/one
RUN sleep 0.05; cp -r /many /again
RUN rm -r /many; echo two >/two
"""


@pytest.fixture
def context(builder: Builder) -> Path:
    for number in range(200):
        builder.write(f"many/{number}", str(number))
    builder.write("Dockerfile", DOCKERFILE.format(base=builder.image))
    return builder.directory


def start(pyd: Pyd, context: Path, *options: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*pyd.base, "build", "-q", *options, str(context)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )


def left_over(world: World) -> list[str]:
    found = [str(path) for path in (world.data_root / "containers").iterdir()]
    return found + [str(path) for path in (world.run_root / "containers").iterdir()]


@pytest.mark.parametrize("seed", range(int(os.environ.get("PYD_TEST_KILLS", "6"))))
def test_killed_and_built_again(seed: int, pyd: Pyd, context: Path, world: World, builder: Builder) -> None:
    whole = builder.build((context / "Dockerfile").read_text(), no_cache=True)
    pick = random.Random(seed)
    process = start(pyd, context, "--no-cache")
    time.sleep(pick.uniform(0.1, 0.8))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    # what ran for it ends with it
    wait_until(lambda: not world.cgroups(), 5, f"cgroups left: {world.cgroups()}")
    done = pyd("build", "-q", str(context))
    assert done.out == whole.id
    wait_until(lambda: not left_over(world), 5, "containers left")
    names = os.listdir(world.data_root / "snapshots")
    assert not [name for name in names if name.startswith("build-")]
    assert pyd("system", "check", timeout=120).code == 0


def test_interrupted_by_the_user(pyd: Pyd, builder: Builder, world: World) -> None:
    builder.write("Dockerfile", f"FROM {builder.image}\nRUN echo kept >/kept\nRUN sleep 60\n")
    process = start(pyd, builder.directory)
    wait_until(lambda: bool(world.cgroups()), 10, "nothing runs")
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130
    wait_until(lambda: not world.cgroups(), 5, f"cgroups left: {world.cgroups()}")
    again = builder.build("FROM busybox\nRUN echo kept >/kept\n")
    assert again.told.done == []
