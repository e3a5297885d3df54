"""Fixtures of all tests. What needs the kernel runs as root, in a world of its own (support/world.py)."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.images import builder
from tests.images.recipes import RECIPES
from tests.leaks import Snapshot
from tests.support.command import Pyd, wait_until
from tests.support.registry import Registry
from tests.support.world import World

WORLD = pytest.StashKey[World]()
BEFORE = pytest.StashKey[Snapshot]()
LEAKS = pytest.StashKey[list[str]]()
COMPILING = ("test_rust.py", "test_wheel.py")  # for minutes
NEEDS_ROOT = ("integration", "packaging", "security")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Before anything is imported or started: a thread that exists would stay in the host's network
    namespace.
    """
    # A script's background job ignores Ctrl-C, and what is ignored is inherited by all that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # with `pytest -n` each worker has a world of its own, and this process runs no tests
    gives_out = session.config.pluginmanager.hasplugin("dsession")
    if os.geteuid() == 0 and not session.config.option.collectonly and not gives_out:
        session.stash[WORLD] = World()
        session.stash[BEFORE] = Snapshot.take(session.stash[WORLD])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # at the end all workers but one would wait for them
    items.sort(key=lambda item: item.path.name not in COMPILING)
    if os.geteuid() == 0:
        return
    skip = pytest.mark.skip(
        reason="needs root: containers are made with the kernel's own calls (run: sudo pytest)"
    )
    for item in items:
        if set(item.path.parts) & set(NEEDS_ROOT):
            item.add_marker(skip)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """The last test of every run: nothing is left of what the others did."""
    leaks = session.config.stash.setdefault(LEAKS, [])
    if WORLD in session.stash:
        world = session.stash[WORLD]
        leaks += _settled_leaks(world, session.stash[BEFORE])
        world.leave()
    answer = getattr(session.config, "workeroutput", None)
    if answer is not None:
        answer["leaks"] = leaks
    if leaks:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """What a worker of `pytest -n` has left behind fails the whole run."""
    leaks = getattr(node, "workeroutput", {}).get("leaks", [])
    node.config.stash.setdefault(LEAKS, []).extend(leaks)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """`pytest -n`: a file's tests share a worker, since they share fixtures, and files keep their order."""
    from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            scope = str(super()._split_scope(nodeid))
            # cargo lets only one of them work: two workers would wait for each other
            return "compiling" if scope.endswith(COMPILING) else scope

    config.option.loadscopereorder = False
    return Scheduling(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    leaks = config.stash.get(LEAKS, [])
    if leaks:
        terminalreporter.section("left behind by this run", red=True)
        for leak in leaks:
            terminalreporter.line(leak)


def _settled_leaks(world: World, before: Snapshot, timeout: float = 5) -> list[str]:
    """What is still there after `timeout` seconds: a shim ends a moment after its container was reported as
    ended.
    """
    leaks: list[str] = []

    def nothing() -> bool:
        leaks[:] = Snapshot.take(world).leaked_since(before)
        return not leaks

    try:
        wait_until(nothing, timeout)
    except AssertionError:
        pass
    return leaks


@pytest.fixture(scope="session")
def world(request: pytest.FixtureRequest) -> World:
    if WORLD not in request.session.stash:
        pytest.skip("needs root")
    return request.session.stash[WORLD]


@pytest.fixture(scope="session")
def registry(world: World) -> Iterator[Registry]:
    """An empty registry on loopback; `images` fills it."""
    served = Registry(world.directory / "registry")
    yield served
    served.stop()


@pytest.fixture(scope="session")
def layouts(world: World) -> dict[str, Path]:
    """OCI layouts of all test images (built once, then from the cache)."""
    return builder.layouts(list(RECIPES), world.host_prefix)


@pytest.fixture(scope="session")
def images(world: World, registry: Registry) -> Callable[[str], str]:
    """`images("nginx")` pushes, pulls and tags the image at its first use, and gives the short name to run
    it by.
    """
    ready: set[str] = set()

    def provide(name: str) -> str:
        if name not in ready:
            layout = builder.layouts([name], world.host_prefix)[name]
            # one image as Docker's own manifest format, the others as OCI: a registry holds both
            reference = registry.push(
                layout, name, compression=RECIPES[name].compression, v2s2=name == "nginx"
            )
            pyd = Pyd()
            pyd("pull", "-q", reference, timeout=120)
            pyd("tag", reference, name)
            ready.add(name)
        return name

    return provide


@pytest.fixture
def pyd(world: World) -> Iterator[Pyd]:
    """The pyd command. Containers that a test leaves are removed after it; what stays even so fails that
    test.
    """
    command = Pyd()
    yield command
    command.close()
    remove_containers(world)
    wait_until(lambda: not world.cgroups(), 5, f"cgroups left: {world.cgroups()}")


def remove_containers(world: World) -> None:
    directory = world.data_root / "containers"
    left = [path.name for path in directory.iterdir()] if directory.is_dir() else []
    if left:
        Pyd()("rm", "-f", "-v", *left, code=None)


@pytest.fixture
def busybox(images: Callable[[str], str], pyd: Pyd) -> str:
    """The image that most tests need; `pyd` comes along so that what they start is cleaned up."""
    return images("busybox")


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A container name of the test's own."""
    stem = request.node.name.translate(str.maketrans("[]/:,= ", "-------"))
    return "".join(c for c in stem if c.isalnum() or c in "-_")[:60].strip("-") or "t"


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A busybox root directory for `--rootfs`, without any image."""
    root = tmp_path_factory.mktemp("rootfs") / "busybox"
    root.mkdir()
    builder.busybox_tree(root)
    return root


@pytest.fixture(scope="session")
def payload() -> Path:
    """The static test program of tests/payload; $PYD_TEST_PAYLOAD where there is no cargo (a virtual
    machine).
    """
    if os.environ.get("PYD_TEST_PAYLOAD"):
        return Path(os.environ["PYD_TEST_PAYLOAD"])
    top = Path(__file__).parent.parent
    target = top / "target" / "payload"
    subprocess.run(
        [
            *("cargo", "build", "--quiet", "--release", "--locked", "-p", "pyd-payload"),
            *("--target", f"{os.uname().machine}-unknown-linux-gnu", "--target-dir", str(target)),
        ],
        cwd=top,
        env=os.environ | {"RUSTFLAGS": "-C target-feature=+crt-static"},
        check=True,
    )
    return target / f"{os.uname().machine}-unknown-linux-gnu" / "release" / "pyd-payload"
