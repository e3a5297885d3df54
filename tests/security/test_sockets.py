"""The monitor's socket: for the owner alone, under no abstract name, and deaf to what is no request."""

from __future__ import annotations

import json
import os
import random
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.security.hunting import FULL
from tests.support.command import Pyd
from tests.support.world import World

ROUNDS = 20_000 if FULL else 300
pytestmark = pytest.mark.timeout(7200 if FULL else 120)


def abstract() -> list[str]:
    """Abstract sockets of this network namespace, which whoever is in it may connect to."""
    names = [line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    return [name for name in names if name.startswith("@")]


def test_no_abstract_sockets(busybox: str, pyd: Pyd) -> None:
    """CVE-2020-15257: there is none while containers run, start, stop and are attached to."""
    assert abstract() == []
    container = pyd("run", "-d", "--network", "host", busybox, "sleep", "1000").out
    pyd("exec", container, "true")
    assert abstract() == []
    out = pyd("exec", container, "cat", "/proc/net/unix").lines[1:]
    assert [line for line in out if line.split()[-1].startswith("@")] == []


def test_control_of_abstract_sockets(world: World) -> None:
    with socket.socket(socket.AF_UNIX) as own:
        own.bind("\0pyd-test-canary")
        assert abstract() == ["@pyd-test-canary"]


def test_sockets_are_the_owners(world: World, busybox: str, pyd: Pyd) -> None:
    """S12: neither the control socket nor what leads to it is open to an ordinary user of the host."""
    container = pyd("run", "-d", "--network", "none", busybox, "sleep", "1000").out
    path = world.run_root / "containers" / container / "shim.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    assert connects(path) == "PermissionError"


def test_control_of_the_owners() -> None:
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as open_to_all:
        Path(directory).chmod(0o755)
        path = Path(directory) / "shim.sock"
        open_to_all.bind(str(path))
        open_to_all.listen()
        path.chmod(0o666)
        assert connects(path) == "connected"


def connects(path: Path) -> str:
    script = (
        "import socket, sys\n"
        "try:\n  socket.socket(socket.AF_UNIX).connect(sys.argv[1])\n  print('connected')\n"
        "except OSError as error: print(type(error).__name__)"
    )
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        # The path itself may be longer than the 107 bytes that an address has.
        link = Path(directory) / "d"
        link.symlink_to(path.parent)
        words = [*nobody, "/usr/bin/python3", "-c", script, f"{link}/{path.name}"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


@contextmanager
def connection(path: Path) -> Iterator[socket.socket]:
    """As the engine connects: by the directory's descriptor, since the path may be longer than 107 bytes."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(f"/proc/self/fd/{directory}/{path.name}")
            yield client
    finally:
        os.close(directory)


def mutants(seed: int) -> Iterator[bytes]:
    """Requests and frames that nearly are some, and bytes that are none."""
    rng = random.Random(seed)
    process: dict[str, Any] = {"args": ["true"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": []}
    known: list[dict[str, Any]] = [
        {"op": "state"},
        {"op": "attach", "stdin": True, "stdout": True, "stderr": True},
        {"op": "exec", "exec_id": "a" * 64, "process": process, "stdin": True, "detach": False},
        {"op": "kill", "signal": 0},
        {"op": "resize", "height": 24, "width": 80},
        {"op": "update", "resources": {}},
        {"op": "exec_wait", "exec_id": "b" * 64},
    ]
    while True:
        line = bytearray(json.dumps(rng.choice(known)).encode())
        match rng.randrange(8):
            case 0:
                for _ in range(rng.randrange(1, 8)):
                    line[rng.randrange(len(line))] = rng.randrange(256)
                yield bytes(line) + b"\n"
            case 1:
                yield bytes(line[: rng.randrange(len(line))])
            case 2:
                yield rng.randbytes(rng.randrange(1, 5000))
            case 3:
                yield b'{"op":"' + b"x" * rng.choice((70_000, 1 << 20, (1 << 20) + 1)) + b'"}\n'
            case 4:
                yield b"[" * rng.choice((200, 100_000)) + b"\n"
            case 5:
                deep = {**process, "env": ["A=" + "x" * 70_000], "args": ["true"] * rng.choice((1, 5000))}
                yield json.dumps({**known[2], "process": deep}).encode()[: rng.randrange(1, 75_000)] + b"\n"
            case 6:
                stream, length = rng.randrange(256), rng.choice((0, 1, 4096, 4097, 1 << 24, 2**32 - 1))
                frame = struct.pack(">B3xI", stream, length) + rng.randbytes(rng.randrange(100))
                yield json.dumps(known[1]).encode() + b"\n" + frame
            case 7:
                numbers = (-1, 65, 2**31, 2**63, 2**64, 1e308, -0.5)
                yield json.dumps({"op": "kill", "signal": rng.choice(numbers)}).encode() + b"\n"


def test_fuzzed_requests(world: World, busybox: str, pyd: Pyd) -> None:
    """CVE-2021-43784 and its kind: no length or shape of a message ends the monitor or confuses the next one.

    With $PYD_TEST_FULL=1: 20,000 messages instead of 300.
    """
    container = pyd("run", "-d", "-i", "--network", "none", busybox, "sleep", "1000").out
    path = world.run_root / "containers" / container / "shim.sock"
    before = open_descriptors(pyd, container)
    source = mutants(3)
    for number in range(ROUNDS):
        message = next(source)
        with connection(path) as client:
            try:
                client.sendall(message)
                client.shutdown(socket.SHUT_WR)
                client.settimeout(0.05)
                client.recv(4096)
            except OSError:
                pass  # it may hang up, or wait for the rest
        if number % 50 == 0:
            assert state(path)["status"] == "running", f"after {message[:200]!r}"
    assert state(path)["status"] == "running"
    assert pyd("exec", container, "echo", "still here").out == "still here"
    assert open_descriptors(pyd, container) <= before + 8


def state(path: Path) -> dict[str, object]:
    with connection(path) as client:
        client.sendall(b'{"op":"state"}\n')
        answer: dict[str, object] = json.loads(client.makefile("rb").readline())
    return answer


def open_descriptors(pyd: Pyd, container: str) -> int:
    status = Path(f"/proc/{pyd.pid(container)}/status").read_text()
    monitor = next(line.split()[1] for line in status.splitlines() if line.startswith("PPid"))
    return len(os.listdir(f"/proc/{monitor}/fd"))
