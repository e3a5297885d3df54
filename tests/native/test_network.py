"""The monitor gives its container a network and takes everything of it back."""

from __future__ import annotations

import socket
import subprocess
from typing import Any

import pytest

from tests.native.shim import Shim, ShimError, Shims, script
from tests.support.command import wait_until

BRIDGE = "pydshim0"


def network(**ports: Any) -> dict[str, Any]:
    bridge = {"name": BRIDGE, "gateway": "172.31.254.1", "prefix": 24}
    publish = [{"proto": "tcp", "host_ip": "127.0.0.1", "host_port": 28080, "container_port": 8080}]
    address = {"address": "172.31.254.5", "mac": "02:42:ac:1f:fe:05", "mtu": 1500}
    return {"network": {"bridge": bridge, **address, "ports": publish}}


@pytest.fixture(autouse=True)
def no_bridge_left() -> Any:
    yield
    subprocess.run(["ip", "link", "del", BRIDGE], check=False, stderr=subprocess.DEVNULL)


def serve(shims: Shims) -> Shim:
    return shims("nc", "-ll", "-p", "8080", "-e", "/bin/echo", "hello", shim_json=network())


def fetch(address: tuple[str, int]) -> bytes:
    with socket.create_connection(address, timeout=5) as connection:
        return connection.recv(100)


def answers(address: tuple[str, int]) -> bool:
    try:
        return fetch(address) == b"hello\n"
    except OSError:
        return False


def veths_go() -> None:
    """The kernel takes a namespace and its links away a moment after the last process."""

    def gone() -> bool:
        names = [name for _, name in socket.if_nameindex()]
        # pyd0 is the bridge of the tests of the whole command, which stays as Docker's docker0 does
        return not [name for name in names if name.startswith("pyd") and name not in (BRIDGE, "pyd0")]

    wait_until(gone, 5, "a veth stays")


def test_address_and_published_port(shims: Shims) -> None:
    shim = serve(shims)
    wait_until(lambda: answers(("172.31.254.5", 8080)), 5)
    assert fetch(("127.0.0.1", 28080)) == b"hello\n"
    assert shim.ask("state")["status"] == "running"
    shim.ask("kill", signal=9)
    assert shim.wait()["error"] == ""
    veths_go()
    with pytest.raises(ConnectionRefusedError):
        fetch(("127.0.0.1", 28080))


def test_taken_port_fails_the_start_and_leaves_nothing(shims: Shims) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 28080))
        taken.listen()
        with pytest.raises(ShimError, match="port is already allocated") as raised:
            serve(shims)
    assert raised.value.error["stage"] == "network"
    veths_go()


def test_start_that_fails_after_the_network_gives_it_back(shims: Shims) -> None:
    for _ in range(3):
        with pytest.raises(ShimError, match="not found"):
            shims("nothing", shim_json=network())
    veths_go()
    shim = shims(*script("ls /sys 2>/dev/null; cat /proc/net/route"), shim_json=network())
    assert shim.stream
    assert b"eth0" in shim.stream.finish()[0]
