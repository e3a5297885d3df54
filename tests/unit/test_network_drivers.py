"""The choice by --network, what each driver refuses and what it gives."""

from __future__ import annotations

import json

import pytest

from pyd import errors
from pyd.network import ports
from pyd.network.driver import driver_for
from pyd.network.endpoint import NetworkOptions, Site
from pyd.network.ipam import Subnet
from pyd.record import replace

SITE = Site(bridge="pyd0", subnet=Subnet.parse("172.30.0.0/16"), used=frozenset({"172.30.0.2"}))


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("", "bridge"),
        ("default", "bridge"),
        ("bridge", "bridge"),
        ("none", "none"),
        ("host", "host"),
        ("container:web", "container"),
    ],
)
def test_modes(mode: str, name: str) -> None:
    assert driver_for(mode).name == name


def test_an_unknown_network() -> None:
    with pytest.raises(errors.NetworkNotFound, match=r"^network mine not found$"):
        driver_for("mine")


def test_bridge_gives_the_document_of_the_shim() -> None:
    options = NetworkOptions(ports=tuple(ports.parse("127.0.0.1:8080:80")))
    endpoint = driver_for("bridge").connect(options, SITE)
    assert endpoint.namespace is None
    assert json.loads(json.dumps(endpoint.document)) == {
        "bridge": {"name": "pyd0", "gateway": "172.30.0.1", "prefix": 16},
        "address": "172.30.0.3",
        "mac": "02:42:ac:1e:00:03",
        "mtu": 1500,
        "ports": [{"proto": "tcp", "host_ip": "127.0.0.1", "host_port": 8080, "container_port": 80}],
    }
    assert (endpoint.address, endpoint.prefix, endpoint.gateway) == ("172.30.0.3", 16, "172.30.0.1")


def test_bridge_keeps_the_address_that_the_store_gave() -> None:
    endpoint = driver_for("bridge").connect(NetworkOptions(), replace(SITE, address="172.30.7.7"))
    assert endpoint.address == "172.30.7.7"
    assert endpoint.mac == "02:42:ac:1e:07:07"


def test_bridge_takes_a_mac_and_refuses_an_address() -> None:
    driver = driver_for("bridge")
    driver.check(NetworkOptions(mac="02:00:00:00:00:0A"))
    endpoint = driver.connect(NetworkOptions(mac="02:00:00:00:00:0A"), SITE)
    assert endpoint.mac == "02:00:00:00:00:0a"
    for mac in ("x", "02:00:00:00:00", "0200:00:00:00:00", "01:00:00:00:00:01", "+2:00:00:00:00:01"):
        with pytest.raises(errors.InvalidArgument, match="is not a valid mac address"):
            driver.check(NetworkOptions(mac=mac))
    with pytest.raises(errors.InvalidArgument, match="user defined networks only"):
        driver.check(NetworkOptions(ip="172.30.0.9"))


def test_none_has_nothing() -> None:
    endpoint = driver_for("none").connect(NetworkOptions(ports=(ports.PortMapping(80),)), SITE)
    assert (endpoint.namespace, endpoint.document, endpoint.address) == (None, None, None)


def test_host_discards_ports_with_a_warning() -> None:
    driver = driver_for("host")
    endpoint = driver.connect(NetworkOptions(ports=(ports.PortMapping(80),)), SITE)
    assert endpoint.host_network
    assert endpoint.document is None
    assert endpoint.warnings == ("Published ports are discarded when using host network mode",)
    assert driver.connect(NetworkOptions(), SITE).warnings == ()


def test_container_joins_a_running_one() -> None:
    driver = driver_for("container:web")
    options = NetworkOptions(mode="container:web")
    endpoint = driver.connect(options, replace(SITE, peer_id="ab" * 32, peer_pid=77))
    assert endpoint.namespace == "/proc/77/ns/net"
    assert endpoint.share_with == "ab" * 32
    with pytest.raises(errors.Conflict, match="cannot join network of a non running container: abab"):
        driver.connect(options, replace(SITE, peer_id="ab" * 32))


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (NetworkOptions(hostname="h"), "hostname and the network mode"),
        (NetworkOptions(dns=("1.1.1.1",)), "dns and the network mode"),
        (NetworkOptions(extra_hosts=("a:1.1.1.1",)), "custom host-to-IP mapping and the network mode"),
        (NetworkOptions(mac="02:00:00:00:00:01"), "mac-address and the network mode"),
        (
            NetworkOptions(ports=(ports.PortMapping(80),)),
            "port publishing and the container type network mode",
        ),
        (NetworkOptions(exposed=("80",)), "port exposing and the container type network mode"),
    ],
)
def test_container_refuses_what_belongs_to_the_other(options: NetworkOptions, what: str) -> None:
    driver = driver_for("container:web")
    driver.check(NetworkOptions(mode="container:web"))
    with pytest.raises(errors.InvalidArgument, match=f"^conflicting options: {what}$"):
        driver.check(replace(options, mode="container:web"))


def test_container_needs_a_name() -> None:
    with pytest.raises(errors.InvalidArgument, match="invalid container format"):
        driver_for("container:").check(NetworkOptions(mode="container:"))
