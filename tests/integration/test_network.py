"""none, host, bridge, container:x and published ports. The suite's own network namespace is the host here."""

from __future__ import annotations

import os
import socket
import urllib.request
from pathlib import Path

import pytest

from tests.support.command import Pyd, wait_until
from tests.support.registry import free_port


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode())


def talk(host: str, port: int, family: socket.AddressFamily = socket.AF_INET) -> str:
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(5)
        connection.connect((host, port))
        connection.sendall(b"hello\n")
        return connection.recv(1000).decode()


@pytest.fixture
def web(busybox: str, pyd: Pyd, name: str) -> str:
    """The arguments that run a small web server."""
    return f"{busybox} httpd -f -p 80 -h /etc"


def test_none_has_only_loopback(busybox: str, pyd: Pyd) -> None:
    out = pyd("run", "--rm", "--network", "none", busybox, "ip", "-o", "addr").stdout
    assert "127.0.0.1/8" in out and "eth0" not in out


def test_host_is_the_hosts(busybox: str, pyd: Pyd) -> None:
    inside = pyd("run", "--rm", "--network", "host", busybox, "readlink", "/proc/self/ns/net").out
    assert inside == str(Path("/proc/self/ns/net").readlink())


def test_bridge_has_address_route_and_names(busybox: str, pyd: Pyd, name: str) -> None:
    pyd(
        "run",
        "-d",
        "--name",
        name,
        "--add-host",
        "other:10.1.2.3",
        "--dns",
        "192.0.2.53",
        busybox,
        "sleep",
        "1000",
    )
    network = pyd.inspect(name)["NetworkSettings"]
    address, gateway = network["IPAddress"], network["Gateway"]
    out = pyd(
        "exec", name, "sh", "-c", "ip -o -4 addr show eth0; ip route; cat /etc/hosts /etc/resolv.conf"
    ).stdout
    assert f"inet {address}/" in out
    assert f"default via {gateway}" in out
    assert "10.1.2.3\tother" in out
    assert f"{address}\t{pyd.inspect(name)['Config']['Hostname']}" in out
    assert "nameserver 192.0.2.53" in out
    assert pyd("exec", name, "ping", "-c", "1", "-w", "5", gateway).code == 0


def test_containers_reach_each_other(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "-d", "--name", name, busybox, "httpd", "-f", "-p", "80", "-h", "/etc")
    address = pyd.inspect(name)["NetworkSettings"]["IPAddress"]
    out = pyd("run", "--rm", busybox, "wget", "-q", "-O", "-", f"http://{address}/group").stdout
    assert "www-data" in out


def test_container_network_is_shared(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "-d", "--name", name, busybox, "httpd", "-f", "-p", "80", "-h", "/etc")
    command = ("run", "--rm", "--network", f"container:{name}", busybox)
    assert "www-data" in pyd(*command, "wget", "-q", "-O", "-", "http://127.0.0.1/group").stdout


def test_published_port(busybox: str, pyd: Pyd, name: str) -> None:
    port = free_port()
    pyd("run", "-d", "--name", name, "-p", f"{port}:80", busybox, "httpd", "-f", "-p", "80", "-h", "/etc")
    wait_until(lambda: _answers(f"http://127.0.0.1:{port}/group"), 5)
    address = pyd.inspect(name)["NetworkSettings"]["Gateway"]
    assert "www-data" in fetch(f"http://127.0.0.1:{port}/group")
    assert "www-data" in fetch(f"http://{address}:{port}/group"), "by the host's address on the bridge"
    assert "www-data" in fetch(f"http://[::1]:{port}/group"), "by IPv6 loopback"
    assert pyd("port", name).lines[0] == f"80/tcp -> 0.0.0.0:{port}"
    assert pyd("port", name, "80").lines[0] == f"0.0.0.0:{port}"
    assert f"0.0.0.0:{port}->80/tcp" in pyd("ps").stdout


def _answers(url: str) -> bool:
    try:
        return bool(fetch(url))
    except OSError:
        return False


def test_published_port_from_another_container(busybox: str, pyd: Pyd, name: str) -> None:
    """Hairpin: by the host's address, from a container on the same bridge, and from the publisher itself."""
    port = free_port()
    pyd("run", "-d", "--name", name, "-p", f"{port}:80", busybox, "httpd", "-f", "-p", "80", "-h", "/etc")
    gateway = pyd.inspect(name)["NetworkSettings"]["Gateway"]
    url = f"http://{gateway}:{port}/group"
    assert "www-data" in pyd("run", "--rm", busybox, "timeout", "5", "wget", "-q", "-O", "-", url).stdout
    assert "www-data" in pyd("exec", name, "timeout", "5", "wget", "-q", "-O", "-", url).stdout


def test_port_on_one_address_only(busybox: str, pyd: Pyd, name: str) -> None:
    port = free_port()
    pyd(
        "run",
        "-d",
        "--name",
        name,
        "-p",
        f"127.0.0.1:{port}:80",
        busybox,
        "httpd",
        "-f",
        "-p",
        "80",
        "-h",
        "/etc",
    )
    wait_until(lambda: _answers(f"http://127.0.0.1:{port}/group"), 5)
    gateway = pyd.inspect(name)["NetworkSettings"]["Gateway"]
    assert not _answers(f"http://{gateway}:{port}/group")


def test_port_already_taken(busybox: str, pyd: Pyd, name: str) -> None:
    port = free_port()
    pyd("run", "-d", "--name", name, "-p", f"{port}:80", busybox, "sleep", "1000")
    result = pyd("run", "-d", "-p", f"{port}:80", busybox, "sleep", "1000", code=125)
    assert "port is already allocated" in result.stderr
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        used = taken.getsockname()[1]
        result = pyd("run", "-d", "-p", f"{used}:80", busybox, "sleep", "1000", code=125)
        assert "already" in result.stderr


def test_port_chosen_by_the_engine(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "-d", "--name", name, "-p", "80", busybox, "httpd", "-f", "-p", "80", "-h", "/etc")
    port = int(pyd("port", name, "80/tcp").lines[0].rpartition(":")[2])
    wait_until(lambda: _answers(f"http://127.0.0.1:{port}/group"), 5)


def test_port_range(busybox: str, pyd: Pyd, name: str) -> None:
    first = 21000 + os.getpid() % 1000
    pyd("run", "-d", "--name", name, "-p", f"{first}-{first + 2}:80-82", busybox, "sleep", "1000")
    shown = pyd("port", name).lines
    assert {f"{80 + n}/tcp -> 0.0.0.0:{first + n}" for n in range(3)} <= set(shown)


def test_udp(payload: Path, busybox: str, pyd: Pyd, name: str) -> None:
    port = free_port()
    mount = f"{payload}:/payload:ro"
    pyd("run", "-d", "--name", name, "-p", f"{port}:7/udp", "-v", mount, busybox, "/payload", "echo-udp", "7")

    def echoed() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.settimeout(0.5)
            try:
                probe.sendto(b"ping", ("127.0.0.1", port))
                return probe.recv(100) == b"ping"
            except OSError:
                return False

    wait_until(echoed, 8)


def test_port_is_free_again(busybox: str, pyd: Pyd) -> None:
    port = free_port()
    for _ in range(3):
        pyd("run", "--rm", "-p", f"{port}:80", busybox, "true")
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", port))


def test_addresses_are_given_out_again(busybox: str, pyd: Pyd) -> None:
    """A subnet is not used up by containers that are gone."""
    addresses = set()
    for _ in range(6):
        addresses.add(
            pyd("run", "--rm", busybox, "sh", "-c", "ip -o -4 addr show eth0 | awk '{print $4}'").out
        )
    assert all(addresses)


def test_many_at_once_have_addresses_of_their_own(busybox: str, pyd: Pyd) -> None:
    names = [pyd("run", "-d", busybox, "sleep", "1000").out for _ in range(6)]
    found = {pyd.inspect(container)["NetworkSettings"]["IPAddress"] for container in names}
    assert len(found) == 6


def test_unknown_network(busybox: str, pyd: Pyd) -> None:
    assert "nosuch" in pyd("run", "--rm", "--network", "nosuch", busybox, "true", code=125).stderr


@pytest.mark.parametrize(
    "value", ["80:80:80:80", "99999:80", "80:0", "x:80", "80:80/xyz", "1-3:1-2", "300.1.1.1:80:80"]
)
def test_senseless_ports(busybox: str, pyd: Pyd, value: str) -> None:
    assert "invalid" in pyd("run", "--rm", "-p", value, busybox, "true", code=125).stderr.lower()
