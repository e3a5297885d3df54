"""Who a process becomes: two hundred ways to ask, in hostile files, by every door.

Expected is what Docker 20.10.24 answered once for the same image (docker-users.json: uid, gid, groups;
null for an error), or an error where pyd is stricter. With $PYD_TEST_FULL=1 every form goes through every
door.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pyd import Engine
from pyd.errors import PydError
from pyd.runtime.users import lookup
from tests.images.builder import busybox_tree
from tests.security.hunting import FULL
from tests.security.users import ASKS_FOR_ROOT, GROUP, GROUPS, PASSWD, SPECS
from tests.support.command import Pyd
from tests.support.oci import Runtime

pytestmark = pytest.mark.timeout(7200 if FULL else 120)
Answer = tuple[int, int, list[int]] | None

DOCKER: dict[str, list[Any] | None] = json.loads((Path(__file__).parent / "docker-users.json").read_text())
DOORS = (
    SPECS
    if FULL
    else ("4294967296", "2147483648", "-1", "+7", "0x10", "٣", "1", "1000", "twin", "broken", "dev")
)
DIFFERENT = {
    "victim": "Docker refuses all of a user who is in a group without a valid id; pyd leaves that group out",
    "app:7": "Docker gives gid 7 and, by a group that has 7 as its name, group 0",
}
IDENTITY = "while read a b c d; do case $a in Uid:|Gid:) echo $b $c $d;; Groups:) echo $b $c $d;; esac; done"


def answer_of_pyd(spec: str) -> Answer:
    try:
        user = lookup(spec, PASSWD, GROUP)
    except PydError:
        return None
    return user.uid, user.gid, sorted(set(user.groups))


def answer_of_docker(spec: str) -> Answer:
    said = DOCKER[spec]
    return None if said is None else (said[0], said[1], said[2])


def wrongs(answers: Callable[[str], Answer]) -> list[str]:
    """The forms by which somebody becomes root who did not ask for it, or another user than Docker's."""
    found = []
    for spec in SPECS:
        answer, docker = answers(spec), answer_of_docker(spec)
        if answer is None:
            continue
        by_accident = answer[0] == 0 and spec.partition(":")[0] not in ASKS_FOR_ROOT
        if by_accident or (answer != docker and spec not in DIFFERENT):
            found.append(spec)
    return found


def test_two_hundred_forms() -> None:
    """CVE-2024-40635, CVE-2026-46680, CVE-2016-3697: Docker's answer or an error, root only by its name."""
    assert len(SPECS) >= 200 and set(SPECS) | set(GROUPS) == set(DOCKER)
    assert wrongs(answer_of_pyd) == []
    agreed = [spec for spec in SPECS if answer_of_pyd(spec) == answer_of_docker(spec)]
    assert len(agreed) > 200, "refusing everything is no answer"


def test_control_of_the_forms() -> None:
    """Debian's Docker trips it: 2^32 is root there, and so is an entry whose uid is no number."""
    tripped = wrongs(answer_of_docker)
    assert {"4294967296", "4294967296:0", "broken", "huge"} <= set(tripped)


def other_groups(answers: Callable[[str], Answer]) -> list[str]:
    return [spec for spec in GROUPS if answers(spec) != answer_of_docker(spec)]


def test_groups_are_dockers() -> None:
    """CVE-2022-36109, CVE-2023-25173, CVE-2022-2989: all groups of the user, the primary one among them."""
    assert len(GROUPS) == 20 and None not in map(answer_of_docker, GROUPS)
    assert other_groups(answer_of_pyd) == []


def test_control_of_the_groups() -> None:
    """Without the primary group, as engines had it until 2022 and pyd at first."""

    def without(spec: str) -> Answer:
        answer = answer_of_pyd(spec)
        return answer and (answer[0], answer[1], [group for group in answer[2] if group != answer[1]])

    assert len(other_groups(without)) > 10


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hostile") / "root"
    root.mkdir()
    busybox_tree(root)
    (root / "etc/passwd").write_bytes(PASSWD.encode())
    (root / "etc/group").write_bytes(GROUP.encode())
    return root


def identity(status: str) -> Answer:
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    uids, gids = set(fields["Uid"].split()), set(fields["Gid"].split())
    assert len(uids) == len(gids) == 1, "real, effective, saved and of the file system"
    return int(uids.pop()), int(gids.pop()), sorted({int(group) for group in fields["Groups"].split()})


def expected(spec: str) -> Answer:
    answer = answer_of_pyd(spec)
    assert answer is None or answer[0] != 0 or spec in ASKS_FOR_ROOT
    return answer


STATUS = ("cat", "/proc/self/status")


@pytest.fixture(scope="module")
def image(world: object, hostile: Path) -> str:
    subprocess.run(["tar", "-C", hostile, "-cf", f"{hostile}.tar", "."], check=True)
    Pyd()("import", f"{hostile}.tar", "hostile:1")
    return "hostile:1"


def test_run_and_image_and_exec(pyd: Pyd, image: str, hostile: Path) -> None:
    """`run -u`, USER of the image and `exec -u` give what the table says: no door has rules of its own."""
    engine = Engine()
    running = pyd("run", "-d", "--network", "none", image, "sleep", "1000").out

    def first(image: str, user: str = "") -> bytes:
        return engine.run(image, STATUS, user=user, network="none", remove=True).stdout

    def second(user: str) -> bytes:
        return engine.containers.exec(running, STATUS, user=user).stdout

    for number, spec in enumerate(DOORS):
        want = expected(spec)
        doors: dict[str, Callable[[], bytes]] = {
            "run": partial(first, image, user=spec),
            "exec": partial(second, user=spec),
        }
        # an empty USER is no instruction
        if spec and spec.isprintable() and spec.strip() == spec:
            tag = f"hostile:user{number}"
            made = pyd("import", "-c", f"USER {spec}", f"{hostile}.tar", tag, code=None)
            assert made.code == 0 or want is None, made
            if made.code == 0:
                doors["image"] = partial(first, tag)
        for door, ask in doors.items():
            try:
                got = identity(ask().decode())
            except PydError:
                got = None
            assert got == want, f"{door} as {spec!r}"


def outcome(runtime: Runtime, spec: str) -> Answer:
    result = runtime("exec", "--user", spec, "c", "/payload", "ids", code=None)
    return identity(result.stdout) if result.code == 0 else None


def start(runtime: Runtime) -> None:
    bundle = runtime.bundle("c", ["/payload", "sleep", "600"])
    command = [*runtime.program, "run", "--detach", "--bundle", str(bundle), "c"]
    with open(os.devnull, "r+b") as null:
        subprocess.run(command, stdin=null, stdout=null, stderr=null, timeout=30, check=True)


NUMBERS = (
    *(spec for spec in SPECS if spec[:1].isnumeric()),
    "-1",
    "+0",
    "0x0",
    "",
    "root",
    ":0",
    "1:",
    "1:-1",
)


def becomes_root(runtime: Runtime, specs: Sequence[str]) -> list[str]:
    """The forms of `exec --user` that gave root without being a decimal zero."""
    found = []
    for spec in specs:
        answer = outcome(runtime, spec)
        zero = spec.partition(":")[0].strip("0") == "" and spec[:1] == "0"
        if answer is not None and answer[0] == 0 and not zero:
            found.append(spec)
    return found


def test_runtime_exec(runtime: Runtime) -> None:
    """CVE-2026-30892: `exec --user 1` was root in crun; 2^32 and "0x0" are no numbers here."""
    start(runtime)
    assert becomes_root(runtime, ["4294967296", "0x0", "-1", "+0"]) == []
    assert becomes_root(runtime, NUMBERS if FULL else NUMBERS[::3]) == []
    assert (outcome(runtime, "1") or ())[:2] == (1, 0)
    assert (outcome(runtime, "4294967294:7") or ())[:2] == (4294967294, 7)


def test_control_of_runtime_exec(weakened: Callable[..., Runtime]) -> None:
    runtime = weakened("ids-wrap")
    start(runtime)
    assert becomes_root(runtime, ["4294967296", "0x0"]) == ["4294967296", "0x0"]
