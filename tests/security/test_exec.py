"""A container that lies in wait for commands that are started in it.

With $PYD_TEST_FULL=1: 10,000 execs for the first test and 1,000 for the others, as long as they take.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import pyd as package
from pyd import Engine
from tests.security.hunting import FULL, copy_libraries, grant, hunted, with_script
from tests.support.command import Pyd
from tests.support.oci import RUNTIME, Runtime

ROUNDS = 1000 if FULL else 100
FEW = 30
pytestmark = pytest.mark.timeout(7200 if FULL else 120)
EVERYTHING = (
    "CAP_SYS_PTRACE",
    "CAP_SYS_ADMIN",
    "CAP_DAC_OVERRIDE",
    "CAP_CHECKPOINT_RESTORE",
    "CAP_SYS_CHROOT",
)


def programs() -> dict[str, str]:
    """sha256 of everything that a container might want to replace."""
    directory = Path(str(package.__file__)).parent
    files = [Path(sys.executable).resolve(), Path(RUNTIME), *directory.glob("_native*.so")]
    assert len(files) >= 3
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_runtime_is_not_to_be_had(runtime: Runtime) -> None:
    """CVE-2016-9962: no descriptor, executable, memory or environment of the entering process."""
    found, met = hunted(runtime, 10_000 if FULL else 300)
    assert met > 10, "the hunter must have met some of them, or this shows nothing"
    assert found == set()


def test_control_of_the_hunt(weakened: Callable[..., Runtime]) -> None:
    found, _ = hunted(weakened("stays-dumpable"), FEW)
    assert {"mem", "environ", "cwd /"} <= found, found


def test_nothing_of_the_host_even_for_a_debugger(runtime: Runtime) -> None:
    """CVE-2016-9962: with CAP_SYS_PTRACE the entering process can be looked at; it then has nothing of the
    host's any more: neither root, nor working directory, nor files.
    """
    found, met = hunted(runtime, ROUNDS, edit=grant("CAP_SYS_PTRACE"))
    assert met > 0 and "mem" in found, "it must have looked"
    kinds = ("fd pipe", "fd socket", "fd /dev/null", "fd anon_inode")
    assert {what for what in found if what.startswith(("root", "writable"))} == set()
    assert {what for what in found if what.startswith("fd ") and not what.startswith(kinds)} == set()
    assert {what for what in found if what.startswith("cwd")} <= {"cwd /"}


def test_control_of_the_debugger(weakened: Callable[..., Runtime]) -> None:
    found, _ = hunted(weakened("exec-shows-the-host"), FEW, edit=grant("CAP_SYS_PTRACE"))
    assert "root" in found, found


@pytest.mark.parametrize("capabilities", [(), EVERYTHING], ids=["default", "more capabilities"])
def test_the_runtime_cannot_be_overwritten(runtime: Runtime, capabilities: tuple[str, ...]) -> None:
    """CVE-2019-5736: `#!/proc/self/exe` runs the runtime itself in the container, where it can be opened."""
    before = programs()
    found, _ = hunted(runtime, ROUNDS, command=("/evil",), edit=grant(*capabilities))
    assert {what for what in found if what.startswith("writable")} == set()
    assert programs() == before


def test_control_of_the_overwriting(weakened: Callable[..., Runtime], weakened_binary: Path) -> None:
    """The hunter opens it for writing, and does not write: it is a program of this tree."""

    def furnish(root: Path) -> None:
        with_script(root)
        copy_libraries(root, weakened_binary)

    found, _ = hunted(weakened("runtime-unsealed"), FEW, command=("/evil",), furnish=furnish)
    assert "writable pyd-runtime-weakened" in found, found


def test_entrypoint_is_the_runtime(runtime: Runtime, busybox: str, pyd: Pyd, tmp_path: Path) -> None:
    """CVE-2019-5736: the first process as well; the engine's program is the same after it."""
    before = programs()
    # It says how it is used: the sign that it was the runtime.
    done = runtime.run("self", ["/proc/self/exe"], code=None)
    assert "pyd-runtime" in done.stdout + done.stderr, done
    script = tmp_path / "evil"
    script.write_text("#!/proc/self/exe\n")
    script.chmod(0o755)
    options = ("run", "--rm", "--network", "none", "-v", f"{script}:/evil", "--entrypoint")
    for entrypoint in ("/evil", "/proc/self/exe"):
        done = pyd(*options, entrypoint, busybox, code=None)
        assert "pyd-runtime" in done.stdout + done.stderr, done
    assert programs() == before


@pytest.mark.parametrize(
    "options",
    [{}, {"pid": "host"}, {"pid": "host", "privileged": True}],
    ids=["default", "pid", "privileged"],
)
def test_engine_is_not_overwritten(busybox: str, pyd: Pyd, payload: Path, options: dict[str, object]) -> None:
    """CVE-2019-5736: execs by the engine's monitor, and the monitor itself where the container can see it.

    A privileged container in the host's pid namespace is root of the host by `/proc/1/root`; what it cannot
    have even so is the runtime through a process of the runtime.
    """
    before = programs()
    flags = [f"--{name}={value}".replace("True", "true") for name, value in options.items()]
    mount = ("-v", f"{payload}:/payload:ro")
    container = pyd("run", "-d", "--network", "none", *flags, *mount, busybox, "/payload", "hunt", "600").out
    containers = Engine().containers
    for _ in range(ROUNDS):
        containers.exec(container, ["true"])
    containers.exec(container, ["touch", "/tmp/stop"])
    pyd("wait", container)
    out = pyd("logs", container).lines
    assert out[0] == "ready" and out[-1].startswith("saw "), out
    assert [line for line in out if line.startswith("writable")] == []
    if not options.get("privileged"):
        assert out[1:-1] == []
    assert programs() == before
