"""Subnets and addresses."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyd import errors
from pyd.network.ipam import (
    DEFAULT_POOL,
    Subnet,
    allocate,
    candidates,
    choose_subnet,
    default_subnet,
    mac_address,
)

networks = st.builds(
    lambda address, prefix: ipaddress.IPv4Interface((address, prefix)),
    st.ip_addresses(v=4),
    st.integers(0, 32),
)


@given(networks)
def test_a_subnet_is_what_ipaddress_says(interface: ipaddress.IPv4Interface) -> None:
    subnet = Subnet.parse(str(interface))
    assert str(subnet) == str(interface.network)
    assert subnet.size == interface.network.num_addresses


@given(networks, networks)
def test_overlap_is_what_ipaddress_says(one: ipaddress.IPv4Interface, two: ipaddress.IPv4Interface) -> None:
    overlaps = Subnet.parse(str(one)).overlaps(Subnet.parse(str(two)))
    assert overlaps == one.network.overlaps(two.network)


@pytest.mark.parametrize(
    "text", ["", "172.30.0.0/33", "172.30.0.0/", "172.30.0/16", "::/16", "x/8", "1.2.3.4/-1", "1.2.3.4\0/8"]
)
def test_what_is_no_subnet(text: str) -> None:
    with pytest.raises(errors.InvalidArgument, match="invalid CIDR address"):
        Subnet.parse(text)


def test_the_gateway_is_first_or_given() -> None:
    assert Subnet.parse("172.30.0.0/16").gateway == "172.30.0.1"
    assert Subnet.parse("172.30.0.254/24").gateway == "172.30.0.254"


def test_the_lowest_free_address_is_given() -> None:
    assert allocate("172.30.0.0/16", set()) == "172.30.0.2"
    assert allocate("172.30.0.0/16", {"172.30.0.2", "172.30.0.3"}) == "172.30.0.4"
    assert allocate("172.30.0.2/16", set()) == "172.30.0.1"


def test_a_full_subnet_is_an_error() -> None:
    used: set[str] = set()
    for _ in range(5):
        used.add(allocate("10.0.0.0/29", used))
    assert used == {f"10.0.0.{n}" for n in range(2, 7)}
    with pytest.raises(errors.Conflict, match="no available IPv4 addresses"):
        allocate("10.0.0.0/29", used)


@given(st.integers(24, 30), st.sets(st.integers(0, 255)))
def test_an_address_is_never_special_nor_taken(prefix: int, taken: set[int]) -> None:
    subnet = Subnet.parse(f"10.1.2.0/{prefix}")
    used = {f"10.1.2.{n}" for n in taken}
    try:
        address = allocate(subnet, used)
    except errors.Conflict:
        assert set(candidates(subnet)) <= used
        return
    network = ipaddress.IPv4Network(str(subnet))
    assert address not in used
    assert ipaddress.IPv4Address(address) in network
    special = {str(network[0]), str(network[-1]), subnet.gateway}
    assert address not in special


def test_the_default_subnet_avoids_the_hosts_routes() -> None:
    assert str(choose_subnet([])) == "172.30.0.0/16"
    assert str(choose_subnet(["0.0.0.0/0", "172.17.0.0/16"])) == "172.30.0.0/16"
    assert str(choose_subnet(["172.30.5.0/24"])) == "172.31.0.0/16"
    assert str(choose_subnet(["172.16.0.0/12"])) == "192.168.240.0/20"
    with pytest.raises(errors.Conflict, match="non-overlapping IPv4 address pool"):
        choose_subnet(DEFAULT_POOL)


def test_an_existing_bridge_keeps_its_subnet() -> None:
    assert str(default_subnet("172.31.0.1/16", None, ["172.31.0.0/16"])) == "172.31.0.0/16"
    assert default_subnet("172.31.0.9/16", None, []).gateway == "172.31.0.9"
    assert str(default_subnet(None, "10.5.0.0/24", ["10.5.0.0/24"])) == "10.5.0.0/24"
    with pytest.raises(errors.InvalidArgument, match="between /8 and /30"):
        default_subnet(None, "10.5.0.0/31", [])


def test_the_mac_follows_from_the_address() -> None:
    assert mac_address("172.30.0.5") == "02:42:ac:1e:00:05"
