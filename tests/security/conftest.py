"""Runtimes that are attacked: pyd-runtime, the same with a protection switched off, and Debian's."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.oci import RUNTIME, Runtime, build_weakened, debian, weaken
from tests.support.world import World


@pytest.fixture(scope="session")
def weakened_binary(world: World) -> Path:
    return build_weakened()


@pytest.fixture
def weakened_program(weakened_binary: Path, tmp_path: Path) -> Callable[..., Path]:
    """`weakened_program("targets-by-name")` is a program without that protection; also for $PYD_RUNTIME."""
    return lambda *names: weaken(weakened_binary, tmp_path, *names)


@pytest.fixture
def runtimes(world: World, payload: Path) -> Iterator[Callable[..., Runtime]]:
    """`runtimes("program", "word")` is a runtime with its own directory, which is cleaned up after the
    test.
    """
    made: list[Runtime] = []
    with tempfile.TemporaryDirectory(prefix="pyd-test-oci-") as top:
        Path(top).chmod(0o755)  # the root of a user namespace must be able to walk to its rootfs

        def make(*program: str) -> Runtime:
            directory = Path(top) / str(len(made))
            directory.mkdir()
            made.append(Runtime(directory, world.cgroup_parent, payload, program))
            return made[-1]

        yield make
        for runtime in made:
            runtime.remove()
        # Debian's first: what they leave is not pyd's.
        for runtime in sorted(made, key=lambda runtime: runtime.program[0] == RUNTIME):
            runtime.finish(world)


@pytest.fixture
def runtime(runtimes: Callable[..., Runtime]) -> Runtime:
    """pyd-runtime as it is shipped."""
    return runtimes(RUNTIME)


@pytest.fixture
def weakened(
    runtimes: Callable[..., Runtime], weakened_program: Callable[..., Path]
) -> Callable[..., Runtime]:
    """`weakened("targets-by-name")` is pyd-runtime without that protection: the control of a test."""
    return lambda *names: runtimes(str(weakened_program(*names)))


@pytest.fixture
def peer(runtimes: Callable[..., Runtime]) -> Callable[[str], Runtime]:
    """`peer("runc")` and `peer("crun")` are Debian's, for attacks that are known to work on them."""
    return lambda name: runtimes(*debian(name))
