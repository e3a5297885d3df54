"""/etc/hosts, /etc/hostname and /etc/resolv.conf of a container."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyd import errors
from pyd.network.hosts import hostname_file, hosts_file, parse_extra_host
from pyd.network.resolv import ResolvConf, read_host, resolv_conf


def test_hosts_as_docker_writes_them() -> None:
    text = hosts_file(
        "web", "172.30.0.5", ["db:10.0.0.9", "host.docker.internal:host-gateway"], gateway="172.30.0.1"
    )
    lines = text.splitlines()
    assert lines[0] == "127.0.0.1\tlocalhost"
    assert lines[-3:] == [
        "10.0.0.9\tdb",
        "172.30.0.1\thost.docker.internal",
        "172.30.0.5\tweb",
    ]
    assert text.endswith("\n")
    assert hostname_file("web") == "web\n"


def test_full_names_come_with_their_first_label() -> None:
    assert hosts_file("web.example.com", "10.0.0.2").endswith("10.0.0.2\tweb.example.com web\n")
    text = hosts_file("web", "10.0.0.2", domainname="example.com")
    assert text.endswith("10.0.0.2\tweb.example.com web\n")


def test_no_address_no_line() -> None:
    assert "web" not in hosts_file("web", None)


def test_the_hosts_own_file_is_kept() -> None:
    assert hosts_file("h", None, ["a:1.2.3.4"], base="1.1.1.1 x") == "1.1.1.1 x\n1.2.3.4\ta\n"


def test_host_gateway_needs_a_gateway() -> None:
    with pytest.raises(errors.InvalidArgument, match="host-gateway"):
        hosts_file("web", None, ["host.docker.internal:host-gateway"])


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("a:1.2.3.4", ("a", "1.2.3.4")),
        ("a=1.2.3.4", ("a", "1.2.3.4")),
        ("a:::1", ("a", "::1")),
        ("a:[::1]", ("a", "::1")),
        ("a=::1", ("a", "::1")),
        ("h:host-gateway", ("h", "host-gateway")),
    ],
)
def test_extra_hosts(spec: str, expected: tuple[str, str]) -> None:
    assert parse_extra_host(spec) == expected


@pytest.mark.parametrize("spec", ["", "a", ":1.2.3.4", "a:", "a:b", "a:1.2.3", "a\n1.1.1.1 b:1.2.3.4"])
def test_wrong_extra_hosts(spec: str) -> None:
    with pytest.raises(errors.InvalidArgument, match="add-host"):
        parse_extra_host(spec)


@given(st.text(max_size=40))
def test_an_extra_host_never_writes_a_second_line(spec: str) -> None:
    try:
        text = hosts_file("h", None, [spec], gateway="10.0.0.1")
    except errors.InvalidArgument:
        return
    # as the readers of the file split it: at newlines only
    assert len(text.split("\n")) == len(hosts_file("h", None).split("\n")) + 1


HOST = """\
# a comment
search corp.example lan
nameserver 127.0.0.1
nameserver 10.0.0.53 # inner
nameserver fe80::1%eth0
options edns0
options ndots:2 ; two
"""


def test_loopback_and_ipv6_servers_are_left_out() -> None:
    expected = "nameserver 10.0.0.53\nsearch corp.example lan\noptions edns0 ndots:2\n"
    assert resolv_conf(HOST) == expected


def test_public_servers_only_if_none_is_left() -> None:
    text = resolv_conf("nameserver 127.0.0.53\nsearch lan\n")
    assert text == "nameserver 8.8.8.8\nnameserver 8.8.4.4\nsearch lan\n"
    assert resolv_conf("").startswith("nameserver 8.8.8.8\n")


def test_flags_replace_what_the_host_says() -> None:
    text = resolv_conf(HOST, dns=["127.0.0.1", "2001:db8::1"], search=["a", "b"], options=["rotate"])
    assert text == "nameserver 127.0.0.1\nnameserver 2001:db8::1\nsearch a b\noptions rotate\n"
    assert "search" not in resolv_conf(HOST, search=["."])


def test_the_host_network_has_the_hosts_file() -> None:
    assert resolv_conf(HOST, host_network=True) == HOST
    assert "127.0.0.1" in resolv_conf(HOST, host_network=True, search=["x"])


def test_wrong_flags() -> None:
    with pytest.raises(errors.InvalidArgument, match="x is not an ip address"):
        resolv_conf("", dns=["x"])
    with pytest.raises(errors.InvalidArgument):
        resolv_conf("", search=["a\nnameserver 6.6.6.6"])


def test_the_last_search_or_domain_counts() -> None:
    assert ResolvConf.parse("search a b\ndomain c\n").search == ("c",)


def test_the_stub_of_systemd_is_looked_behind(tmp_path: Path) -> None:
    stub, real = tmp_path / "resolv.conf", tmp_path / "real"
    stub.write_text("nameserver 127.0.0.53\n")
    real.write_text("nameserver 10.1.1.1\n")
    assert read_host(str(stub), str(real)) == "nameserver 10.1.1.1\n"
    assert read_host(str(stub), str(tmp_path / "none")) == "nameserver 127.0.0.53\n"
    assert read_host(str(tmp_path / "none"), str(real)) == ""
    stub.write_text("nameserver 127.0.0.53\nnameserver 10.0.0.1\n")
    assert "10.0.0.1" in read_host(str(stub), str(real))


addresses = st.lists(st.ip_addresses().map(str), min_size=1, max_size=3)


@given(addresses)
def test_what_is_written_is_read(dns: list[str]) -> None:
    assert ResolvConf.parse(resolv_conf("", dns=dns)).nameservers == tuple(dns)
