# ruff: noqa: RUF001 the digits of other scripts are the point here
"""USER: what it means, and that nothing becomes root by accident."""

from __future__ import annotations

import pytest

from pyd.errors import PydError
from pyd.runtime.users import lookup

PASSWD = """root:x:0:0:root:/root:/bin/sh
daemon:x:1:1::/usr/sbin:/bin/false
www:x:33:34:web:/var/www:/bin/false
1000:x:7:8:a name of digits:/seven:/bin/sh
evil:x:4294967296:4294967296::/:/bin/sh
empty:x:::::
negative:x:-1:-1::/:/bin/sh
hex:x:0x0:0x0::/:/bin/sh
# comment
broken
"""
GROUP = """root:x:0:
wheel:x:10:root,www
docker:x:999:www
odd:x::www
"""


@pytest.mark.parametrize(
    ("spec", "uid", "gid", "groups", "home"),
    [
        ("", 0, 0, (10,), "/root"),
        ("root", 0, 0, (10,), "/root"),
        ("0", 0, 0, (10,), "/root"),
        ("www", 33, 34, (10, 999), "/var/www"),
        ("33", 33, 34, (10, 999), "/var/www"),
        ("www:wheel", 33, 10, (), "/var/www"),
        ("www:5", 33, 5, (), "/var/www"),
        ("33:33", 33, 33, (), "/var/www"),
        ("4242", 4242, 0, (), "/"),
        ("4242:docker", 4242, 999, (), "/"),
        ("2147483647", 2147483647, 0, (), "/"),
        ("1000", 1000, 0, (), "/"),  # not the user whose name is "1000"
        ("007", 7, 8, (), "/seven"),
        (":wheel", 0, 10, (), "/root"),
    ],
)
def test_resolves_as_docker(spec: str, uid: int, gid: int, groups: tuple[int, ...], home: str) -> None:
    user = lookup(spec, PASSWD, GROUP)
    assert (user.uid, user.gid, user.home) == (uid, gid, home)
    # the primary group is one of them: CVE-2022-36109
    assert user.groups == tuple(dict.fromkeys((gid, *groups)))


@pytest.mark.parametrize(
    "spec",
    [
        "4294967296",
        "2147483648",
        "-1",
        "18446744073709551616",
        "0x0",
        "+0",
        "٣",
        "٠",
        "1e0",
        "0.0",
        " 0",
        "0 ",
        "nosuch",
        "evil",
        "empty",
        "negative",
        "hex",
        "root:nosuch",
        "root:4294967296",
        "root:-1",
        "www:odd",
        "root:+0",
        ":",
        "broken",
        "ro ot",
        "a\0b",
        "--",
        "²",
        "0" * 11,
    ],
)
def test_refused_and_never_root(spec: str) -> None:
    with pytest.raises(PydError):
        lookup(spec, PASSWD, GROUP)


def test_without_files() -> None:
    assert lookup("", None, None).uid == 0
    assert lookup("5:6", None, None).gid == 6
    with pytest.raises(PydError, match="no matching entries in passwd file"):
        lookup("www", None, None)


def test_additional_groups() -> None:
    assert lookup("www", PASSWD, GROUP, ("55", "wheel")).groups == (34, 10, 999, 55)
    assert lookup("www:5", PASSWD, GROUP, ("docker",)).groups == (5, 999)
    with pytest.raises(PydError, match="no matching entries in group file"):
        lookup("www", PASSWD, GROUP, ("nosuch",))
