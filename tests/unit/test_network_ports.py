"""-p, --expose and the choice of host ports."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyd import errors
from pyd.network.ports import (
    PortMapping,
    assign,
    can_bind,
    parse,
    parse_all,
    parse_expose,
    publish_all,
)

ANY = "0.0.0.0"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("80", [PortMapping(80)]),
        ("80/udp", [PortMapping(80, "udp")]),
        ("80/UDP", [PortMapping(80, "udp")]),
        ("8080:80", [PortMapping(80, host_port=8080, host_last=8080)]),
        ("127.0.0.1:8080:80", [PortMapping(80, "tcp", "127.0.0.1", 8080, 8080)]),
        ("127.0.0.1::80", [PortMapping(80, "tcp", "127.0.0.1")]),
        ("[::1]:8080:80", [PortMapping(80, "tcp", "::1", 8080, 8080)]),
        ("[2001:db8::1]::53/udp", [PortMapping(53, "udp", "2001:db8::1")]),
        ("::1:8080:80", [PortMapping(80, "tcp", "::1", 8080, 8080)]),
        ("8000-8010:80", [PortMapping(80, "tcp", ANY, 8000, 8010)]),
        (
            "8000-8001:80-81/udp",
            [PortMapping(80, "udp", ANY, 8000, 8000), PortMapping(81, "udp", ANY, 8001, 8001)],
        ),
        ("80-81", [PortMapping(80), PortMapping(81)]),
        ("published=8080,target=80,protocol=udp", [PortMapping(80, "udp", ANY, 8080, 8080)]),
    ],
)
def test_what_docker_takes(spec: str, expected: list[PortMapping]) -> None:
    assert parse(spec) == expected


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "no port specified: <empty>"),
        ("8080:", "no port specified: 8080:<empty>"),
        ("8080:/tcp", "no port specified: 8080:/tcp<empty>"),
        ("x:80", "invalid hostPort: x"),
        ("8080:x", "invalid containerPort: x"),
        ("70000", "invalid containerPort: 70000"),
        ("0", "invalid containerPort: 0"),
        ("-1", "invalid containerPort: -1"),
        ("٨٠", "invalid containerPort: ٨٠"),
        ("+80", "invalid containerPort: +80"),
        ("90-80", "invalid containerPort: 90-80"),
        ("9-8:80", "invalid hostPort: 9-8"),
        (
            "8000-8010:80-81",
            "invalid ranges specified for container and host Ports: 80-81 and 8000-8010",
        ),
        ("80/icmp", "invalid proto: icmp"),
        ("localhost:8080:80", "invalid IP address: localhost"),
        ("256.0.0.1:8080:80", "invalid IP address: 256.0.0.1"),
        ("[127.0.0.1]:8080:80", "invalid IP address: 127.0.0.1"),
        ("[::1:8080:80", "invalid IP address: [::1"),
        ("1.2.3.4\x00:1:1", "invalid IP address: 1.2.3.4\\x00"),
        ("target=80,x", "invalid publish opts format (should be name=value but got 'x')"),
    ],
)
def test_what_docker_refuses_in_its_words(spec: str, message: str) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        parse(spec)
    assert str(caught.value) == message


def test_sctp_is_known_and_not_supported() -> None:
    with pytest.raises(errors.NotSupported):
        parse("80/sctp")


@given(st.text(alphabet="0123456789.:-/[]tcpud=x ", max_size=30))
def test_any_text_is_parsed_or_refused(spec: str) -> None:
    try:
        mappings = parse(spec)
    except (errors.InvalidArgument, errors.NotSupported):
        return
    assert all(0 < m.container_port < 65536 and 0 <= m.host_port <= m.host_last < 65536 for m in mappings)


ports = st.integers(1, 65535)


@given(ports, ports, st.sampled_from(["tcp", "udp"]), st.ip_addresses())
def test_what_is_written_is_read(host: int, container: int, proto: str, address: object) -> None:
    text = f"[{address}]" if ":" in str(address) else str(address)
    assert parse(f"{text}:{host}:{container}/{proto}") == [
        PortMapping(container, proto, str(address), host, host)
    ]


def test_repeated_values_are_one() -> None:
    assert parse_all(["80:80", "80:80/tcp", "81:81"]) == [*parse("80:80"), *parse("81:81")]


def test_expose() -> None:
    assert parse_expose("80") == ["80/tcp"]
    assert parse_expose("53-54/udp") == ["53/udp", "54/udp"]
    for spec in ("8080:80", "x", "0", ""):
        with pytest.raises(errors.InvalidArgument, match=r"invalid (port|range) format for --expose"):
            parse_expose(spec)


def test_publish_all_leaves_out_what_is_published() -> None:
    exposed = ["80/tcp", "443/tcp", "53/udp", "80/tcp"]
    assert publish_all(exposed, parse("8443:443")) == [PortMapping(80), PortMapping(53, "udp")]


def everything(_proto: str, _ip: str, _port: int) -> bool:
    return True


def test_a_named_port_is_kept_and_not_given_to_another() -> None:
    mappings = [PortMapping(81, host_port=8000, host_last=8010), *parse("8000:80")]
    assigned = assign(mappings, taken=[("tcp", 8001)], probe=everything)
    assert [m.host_port for m in assigned] == [8002, 8000]
    assert all(m.host_port == m.host_last for m in assigned)


def test_tcp_and_udp_are_apart() -> None:
    assigned = assign([PortMapping(53), PortMapping(53, "udp")], probe=everything)
    assert [m.host_port for m in assigned] == [32768, 32768]


def test_an_exhausted_range_is_an_error() -> None:
    with pytest.raises(errors.PydError, match="all ports are allocated"):
        assign(parse("8000-8001:80"), taken=[("tcp", 8000), ("tcp", 8001)], probe=everything)


def test_a_port_in_use_is_passed_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not can_bind("tcp", "127.0.0.1", port)
        wanted = PortMapping(80, "tcp", "127.0.0.1", port, min(port + 50, 65535))
        [chosen] = assign([wanted])
        assert port < chosen.host_port <= port + 50


@given(st.lists(st.tuples(ports, st.sampled_from(["tcp", "udp"])), max_size=20))
def test_no_two_mappings_get_one_port(wanted: list[tuple[int, str]]) -> None:
    assigned = assign([PortMapping(port, proto) for port, proto in wanted], probe=everything)
    assert len({(m.proto, m.host_port) for m in assigned}) == len(wanted)
