"""A container's /dev that is the attacker's: a link, a volume, links in place of null and of terminals."""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.oci import Runtime
from tests.support.swap import swapping

Spec = dict[str, Any]
ROUNDS = int(os.environ.get("PYD_TEST_RACES", "100"))
SECRET = "/proc/sys/kernel/core_pattern"  # what a link in the place of null or of a terminal leads to


def no_dev(spec: Spec) -> None:
    """Without mounts at /dev: its nodes are made in the image's directory."""
    spec["mounts"] = [mount for mount in spec["mounts"] if not mount["destination"].startswith("/dev")]


def bind(source: Path, destination: str) -> dict[str, Any]:
    return {"destination": destination, "type": "bind", "source": str(source), "options": ["rbind"]}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    return tmp_path / "outside"


def nodes_outside(runtime: Runtime, outside: Path, target: str) -> list[str]:
    furnish = lambda root: (root / "dev").symlink_to(target)  # noqa: E731
    runtime.run("a", ["/payload", "cwd"], no_dev, None, furnish)
    return sorted(path.name for path in outside.iterdir())


@pytest.mark.parametrize("up", ["/", "../" * 30])
def test_dev_is_a_link(runtime: Runtime, outside: Path, up: str) -> None:
    """CVE-2026-41579 (runc), CVE-2026-47766 (crun): device nodes and links were made on the host."""
    assert nodes_outside(runtime, outside, f"{up}{str(outside)[1:]}") == []


def test_control_of_dev_is_a_link(weakened: Callable[..., Runtime], outside: Path) -> None:
    assert "null" in nodes_outside(weakened("devices-by-name"), outside, str(outside))


@pytest.mark.parametrize("name", ["runc", "crun"])
def test_peers_make_nodes_on_the_host(peer: Callable[[str], Runtime], outside: Path, name: str) -> None:
    assert nodes_outside(peer(name), outside, str(outside)) != []


def test_dev_is_a_link_inside(runtime: Runtime) -> None:
    """Refused by name, where it would be harmless too: what is masked and what is not depends on it."""
    furnish = lambda root: (root / "dev").symlink_to("other")  # noqa: E731
    done = runtime.run("a", ["/payload", "cwd"], no_dev, None, furnish)
    assert done.code != 0 and "/dev is a symbolic link" in done.stderr
    assert not (runtime.directory / "a/rootfs/other").exists()


def hostile_dev(tmp_path: Path) -> Path:
    """A volume for /dev in which null leads to a file of procfs."""
    dev = tmp_path / "dev"
    (dev / "pts").mkdir(parents=True)
    (dev / "null").symlink_to(SECRET)
    return dev


def masked_by(runtime: Runtime, dev: Path, rounds: int = 1) -> set[str]:
    """What the container reads from a masked file."""

    def edit(spec: Spec) -> None:
        no_dev(spec)
        spec["mounts"].append(bind(dev, "/dev"))
        spec["linux"]["maskedPaths"] = ["/proc/keys"]

    bundle = runtime.bundle("a", ["/payload", "cat", "/proc/keys"], edit)
    expected = Path(SECRET).read_text()
    seen = set()
    for _ in range(rounds):
        seen.add(runtime("run", "--bundle", bundle, "a", code=None).stdout)
        if expected in seen:
            break
    return seen


def test_null_is_a_link(runtime: Runtime, tmp_path: Path) -> None:
    """CVE-2025-31133: the "mask" is another file of procfs, and writable."""
    before = Path(SECRET).read_text()
    assert masked_by(runtime, hostile_dev(tmp_path)) == {""}
    assert Path(SECRET).read_text() == before


@pytest.mark.parametrize("name", ["weakened", "runc"])
def test_control_of_null_is_a_link(
    weakened: Callable[..., Runtime], peer: Callable[[str], Runtime], tmp_path: Path, name: str
) -> None:
    attacked = weakened("null-of-the-container") if name == "weakened" else peer(name)
    assert Path(SECRET).read_text() in masked_by(attacked, hostile_dev(tmp_path))


def exchanged_null(tmp_path: Path) -> tuple[Path, Path, Path]:
    """/dev as a volume in which a real null and a link are exchanged."""
    dev = hostile_dev(tmp_path)
    os.mknod(dev / "other", 0o020666, os.makedev(1, 3))
    return dev, dev / "null", dev / "other"


@pytest.mark.timeout(3600)
def test_null_is_exchanged(runtime: Runtime, tmp_path: Path) -> None:
    """The same with a null that passes every check but the last. `PYD_TEST_RACES=10000` for that many."""
    dev, null, other = exchanged_null(tmp_path)
    with swapping(null, other):
        assert masked_by(runtime, dev, ROUNDS) == {""}


def test_control_of_null_is_exchanged(weakened: Callable[..., Runtime], tmp_path: Path) -> None:
    dev, null, other = exchanged_null(tmp_path)
    with swapping(null, other):
        assert Path(SECRET).read_text() in masked_by(weakened("null-of-the-container"), dev, 200)


def console(runtime: Runtime, tmp_path: Path) -> str:
    """The filesystem of /dev/console in a container whose /dev/pts is a volume of links."""
    pts = tmp_path / "pts"
    pts.mkdir()
    for number in range(100):
        (pts / str(number)).symlink_to(SECRET)

    def edit(spec: Spec) -> None:
        spec["process"]["terminal"] = True
        spec["mounts"] = [mount for mount in spec["mounts"] if mount["destination"] != "/dev/pts"]
        spec["mounts"].append(bind(pts, "/dev/pts"))

    path = str(tmp_path / "console.sock")
    bundle = runtime.bundle("a", ["/payload", "mounts"], edit)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        runtime("create", "--console-socket", path, "--bundle", bundle, "a")
        connection, _ = listener.accept()
        with connection:
            _, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4))
    (master,) = array.array("i", ancillary[0][2])
    runtime("start", "a")
    seen = b""
    with suppress(OSError):  # EIO: the last slave was closed
        while block := os.read(master, 65536):
            seen += block
    os.close(master)
    lines = [line for line in seen.decode().splitlines() if line.split()[4:5] == ["/dev/console"]]
    return lines[0].split(" - ")[1].split()[0] if lines else "none"


def test_console_is_a_link(runtime: Runtime, tmp_path: Path) -> None:
    """CVE-2025-52565: /dev/console is a file of procfs that was to be masked or read-only."""
    assert console(runtime, tmp_path) == "devpts"


def test_control_of_console_is_a_link(weakened: Callable[..., Runtime], tmp_path: Path) -> None:
    assert console(weakened("console-by-name"), tmp_path) == "proc"
