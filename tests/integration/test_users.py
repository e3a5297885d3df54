# ruff: noqa: RUF001 the digits of other scripts are the point here
"""Who the process is. Numbers that do not fit, numbers that are names, and hostile passwd files never give
root.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.images.builder import busybox_tree
from tests.support.command import Pyd

PASSWD = """root:x:0:0:root:/root:/bin/sh
app:x:1000:1000:app:/home/app:/bin/sh
1:x:0:0:a number as a name:/root:/bin/sh
2147483648:x:0:0:another:/root:/bin/sh
broken:x:notanumber:0::/:
huge:x:4294967296:4294967296::/:
minus:x:-1:-1::/:
short:x
:x:0:0:empty name::
"""
GROUP = """root:x:0:
app:x:1000:
wheel:x:10:app
big:x:4294967296:app
1000:x:0:app
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root directory whose passwd and group try to turn numbers into root."""
    root = tmp_path_factory.mktemp("hostile") / "root"
    root.mkdir()
    busybox_tree(root)
    (root / "etc/passwd").write_text(PASSWD)
    (root / "etc/group").write_text(GROUP)
    return root


def identity(pyd: Pyd, root: Path, user: str) -> tuple[int, str, str]:
    result = pyd(
        *("run", "--rm", "--network", "none", "-u", user, "--rootfs", root, "/bin/sh", "-c"),
        "grep -E '^(Uid|Gid)' /proc/self/status | awk '{print $2, $3, $4, $5}'",
        code=None,
    )
    uid, gid = [*result.lines, "", ""][:2]
    return result.code, uid, gid


@pytest.mark.parametrize(
    ("user", "uid", "gid"),
    [
        ("", 0, 0),
        ("root", 0, 0),
        ("0", 0, 0),
        ("0:0", 0, 0),
        ("app", 1000, 1000),
        ("1000", 1000, 1000),
        ("1000:0", 1000, 0),
        ("app:wheel", 1000, 10),
        ("app:77", 1000, 77),
        ("4242", 4242, 0),
        ("4242:4243", 4242, 4243),
        ("2147483647", 2147483647, 0),
        # what a name in passwd says of a number is not asked for: CVE-2016-3697
        ("1", 1, 0),
        ("1:1", 1, 1),
    ],
)
def test_identity(hostile: Path, pyd: Pyd, user: str, uid: int, gid: int) -> None:
    code, uids, gids = identity(pyd, hostile, user)
    assert code == 0
    assert set(uids.split()) == {str(uid)}, "real, effective, saved and file system id"
    assert set(gids.split()) == {str(gid)}


@pytest.mark.parametrize(
    "user",
    [
        *(
            "4294967296",
            "4294967295",
            "2147483648",
            "-1",
            "+0",
            "0x0",
            "00000000000000000000000",
            "18446744073709551616",
        ),
        *(
            "1e0",
            "0.0",
            " 0",
            "0 ",
            "٠",
            "٣",
            "０",
            "nosuch",
            "broken",
            "huge",
            "minus",
            "short",
            "root\n",
            "app:",
        ),
        *(
            "app:nosuch",
            "app:4294967296",
            "app:-1",
            ":0",
            ":",
            "0:0:0",
            "app:big",
            "root:x",
            "../etc",
        ),
        *("4294967296:4294967296", "-1:-1", "1000:2147483648"),
    ],
    ids=repr,
)
def test_never_root_by_accident(hostile: Path, pyd: Pyd, user: str) -> None:
    """Docker's answer or an error, never uid 0: CVE-2026-30892, CVE-2024-40635, CVE-2026-46680."""
    code, uids, gids = identity(pyd, hostile, user)
    if code == 0 and user not in {"app:", ":0", ":"}:
        assert "0" not in uids.split(), f"{user!r} became {uids}"
        if ":" in user:
            assert "0" not in gids.split(), f"{user!r} became group {gids}"
    elif code == 0:
        # Docker takes an empty half for the default
        assert uids.split()[0] in {"1000", "0"}
    else:
        assert code in (125, 126, 1)


@pytest.mark.parametrize("user", ["4294967296", "-1", "2147483648", "0x0"])
def test_exec_neither(hostile: Path, pyd: Pyd, name: str, user: str) -> None:
    pyd("run", "-d", "--network", "none", "--name", name, "--rootfs", hostile, "/bin/sleep", "1000")
    result = pyd("exec", "-u", user, name, "id", "-u", code=None)
    assert result.code != 0 or result.out != "0"


def test_supplementary_groups(hostile: Path, pyd: Pyd) -> None:
    """Those of the name, not of the number; --group-add on top; the caller's never: CVE-2022-36109."""
    run = ("run", "--rm", "--network", "none", "--rootfs", hostile)
    groups = {
        user: set(pyd(*run[:-2], "-u", user, *run[-2:], "/bin/id", "-G").out.split())
        for user in ("app", "1000", "root")
    }
    assert {"1000", "10"} <= groups["app"]
    assert groups["root"] == {"0"}
    added = pyd(*run[:-2], "-u", "app", "--group-add", "55", *run[-2:], "/bin/id", "-G").out.split()
    assert "55" in added


def test_home_follows_the_user(hostile: Path, pyd: Pyd) -> None:
    run = ("run", "--rm", "--network", "none", "--rootfs", hostile)
    assert pyd(*run[:-2], "-u", "app", *run[-2:], "/bin/sh", "-c", "echo $HOME").out == "/home/app"
    assert pyd(*run[:-2], "-u", "4242", *run[-2:], "/bin/sh", "-c", "echo $HOME").out == "/"


def test_passwd_through_a_symlink_is_the_containers(pyd: Pyd, tmp_path: Path) -> None:
    """/etc/passwd may be a link: it is resolved in the container's root, not in the host's."""
    root = tmp_path / "root"
    root.mkdir()
    busybox_tree(root)
    (root / "etc/passwd").unlink()
    (root / "data").mkdir()
    (root / "data/passwd").write_text("app:x:1234:1234::/:\n")
    (root / "etc/passwd").symlink_to("/data/passwd")
    out = pyd("run", "--rm", "--network", "none", "-u", "app", "--rootfs", root, "/bin/id", "-u").out
    assert out == "1234"
