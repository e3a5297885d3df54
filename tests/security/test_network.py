"""A neighbour on the wire and what it may reach; its own network namespace plays the other machine."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Pyd, find_program, wait_until
from tests.support.registry import free_port

HERE, THERE = "10.213.77.1", "10.213.77.2"
PROBE = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[3])) as connection:
        connection.sendall(b"hello")
        # To the end: who leaves early resets the connection, and the payload gives up.
        print("answered" if connection.makefile("rb").read() else "closed")
except OSError as error:
    print(type(error).__name__)
"""


class Neighbour:
    """Another host on a wire of its own to this one, with every route and setting an attacker may choose."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo; exec sleep 600"], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None and self.process.stdout.readline() == "\n"
        self.prefix = ["nsenter", f"--net=/proc/{self.process.pid}/ns/net"]
        ip("link", "add", "neighbour", "type", "veth", "peer", "name", "wire", "netns", str(self.process.pid))
        ip("addr", "add", f"{HERE}/30", "dev", "neighbour")
        ip("link", "set", "neighbour", "up")
        for words in (
            ("addr", "add", f"{THERE}/30", "dev", "wire"),
            ("link", "set", "wire", "up"),
            # 127.0.0.1 is there, not here: martians are sent by who wants to send them.
            ("route", "add", "127.0.0.1", "via", HERE, "dev", "wire"),
            ("route", "add", "172.16.0.0/12", "via", HERE, "dev", "wire"),
        ):
            if words[2] == "127.0.0.1":
                self("sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet")
            self(ip_program(), *words)

    def __call__(self, *words: str) -> str:
        done = subprocess.run([*self.prefix, *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def reaches(self, host: str, port: int, seconds: float = 0.7) -> bool:
        return self("/usr/bin/python3", "-I", "-c", PROBE, host, str(port), str(seconds)) == "answered"

    def leave(self) -> None:
        self.process.kill()
        self.process.communicate()
        wait_until(lambda: "neighbour" not in [name for _, name in socket.if_nameindex()])


def ip_program() -> str:
    program = find_program("ip")
    assert program is not None, "iproute2 is not installed (sh tests/setup.sh)"
    return program


def ip(*words: str) -> bool:
    subprocess.run([ip_program(), *words], check=True)
    return True


@pytest.fixture
def neighbour(world: object) -> Iterator[Neighbour]:
    there = Neighbour()
    yield there
    there.leave()


def serve(pyd: Pyd, payload: Path, image: str, publish: str) -> str:
    """A container that answers on port 80, and its address."""
    mount = f"{payload}:/payload:ro"
    container = pyd("run", "-d", "-p", publish, "-v", mount, image, "/payload", "listen", "80").out
    wait_until(lambda: "listening" in pyd("logs", container).stdout)
    return str(pyd.inspect(container)["NetworkSettings"]["IPAddress"])


def test_loopback_ports_are_this_hosts(neighbour: Neighbour, payload: Path, busybox: str, pyd: Pyd) -> None:
    """CVE-2025-54388, CVE-2025-54410, CVE-2020-8558: what is published on 127.0.0.1 is for this host: not by
    its address on the wire, not as a martian to 127.0.0.1, not at the container's own address; also after the
    firewall was flushed and the next container has made the rules anew.
    """
    port, other = free_port(), free_port()
    address = serve(pyd, payload, busybox, f"127.0.0.1:{port}:80")
    ways = [(HERE, port), ("127.0.0.1", port), (address, 80)]
    assert [way for way in ways if neighbour.reaches(*way)] == []
    # The controls: this host reaches it, and the neighbour what was published to all.
    assert talks("127.0.0.1", port)
    second = serve(pyd, payload, busybox, f"{other}:80")
    assert neighbour.reaches(HERE, other, 5) and not neighbour.reaches(second, 80)
    nft = find_program("nft")
    assert nft is not None, "nftables is not installed (sh tests/setup.sh)"
    subprocess.run([nft, "flush", "ruleset"], check=True)
    # Without any rules the container's own address is open: the probe that found nothing above finds it.
    assert neighbour.reaches(address, 80, 5)
    pyd("run", "--rm", busybox, "true")
    assert [way for way in ways if neighbour.reaches(*way)] == []


def talks(host: str, port: int) -> bool:
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", PROBE, host, str(port), "5"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip() == "answered"


def test_no_ipv6_on_an_ipv4_network(busybox: str, pyd: Pyd) -> None:
    """CVE-2024-32473: neither the container nor the bridge has an IPv6 address, not even a link-local one."""
    script = "cat /proc/net/if_inet6; cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6"
    out = pyd("run", "--rm", busybox, "sh", "-c", script).lines
    assert out[-1] == "1" and [line for line in out[:-1] if not line.endswith(" lo")] == []
    here = Path("/proc/net/if_inet6").read_text().split()
    assert "pyd0" not in here


def test_control_of_ipv6(neighbour: Neighbour) -> None:
    """A link that nobody has told has an address: the check sees it."""
    wait_until(lambda: "neighbour" in Path("/proc/net/if_inet6").read_text().split())
