"""The filters that are loaded in real containers are nowhere looser than Docker's default profile.

What pyd loads is read back from the kernel and emulated; what it is measured by is moby's profile, compiled
by libseccomp (oracle.py). Each decision is compared: allowed here and refused there fails the test, refused
here and allowed there must be in a reviewed table.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance import bpf, loaded
from tests.conformance.compare import ALL, DOCKER, KERNEL, compare
from tests.conformance.oracle import PROFILE, Oracle
from tests.support.command import Pyd

OPTIONS: dict[str, tuple[list[str], set[str]]] = {
    "default": ([], DOCKER),
    "sys_admin": (["--cap-add", "SYS_ADMIN"], DOCKER | {"CAP_SYS_ADMIN"}),
    "none": (["--cap-drop", "ALL"], set()),
    "no_new_privileges": (["--security-opt", "no-new-privileges"], DOCKER),
    "all": (["--cap-add", "ALL"], ALL),
}
STRICTER: dict[tuple[str, int], str] = {}
"""Where pyd refuses what Docker allows, and why. Empty: pyd's profile is Docker's, decision by decision."""

NEWEST = 466
"""The highest number that the profile names (removexattrat). Of higher ones, and of x32's own block, pyd says
"no such call", as Docker's runc does, where libseccomp alone says "not permitted": the C library then tries
an older call.
"""


def assert_only_new_calls(calls: set[tuple[str, int]]) -> None:
    for abi in ("x86-64", "i386"):
        assert {number for where, number in calls if where == abi} == set(range(NEWEST + 1, 480))
    assert all(number > NEWEST for _, number in calls)


Filters = Callable[..., list[list[bpf.Instruction]]]


@pytest.fixture
def filters_of(pyd: Pyd, busybox: str, name: str) -> Filters:
    """The filters that the first process of a container with these options has."""

    def start(*options: str) -> list[list[bpf.Instruction]]:
        pyd("run", "-d", "--name", name, "--network", "none", *options, busybox, "sleep", "60")
        pid = int(pyd("inspect", "-f", "{{.State.Pid}}", name).stdout)
        found = loaded.filters(pid)
        pyd("rm", "-f", name)
        return found

    return start


@pytest.mark.parametrize("options", OPTIONS)
def test_no_decision_is_looser_than_dockers(filters_of: Filters, options: str) -> None:
    flags, capabilities = OPTIONS[options]
    filters = filters_of(*flags)
    assert len(filters) == 1, "the emulated filter must be the only one"
    found = compare(filters[0], Oracle(capabilities, KERNEL))
    assert found.looser == {}
    assert found.stricter == set(STRICTER)
    assert_only_new_calls(found.otherwise)
    assert found.count > 10_000


def test_the_kernel_has_no_filter_only_when_that_is_asked_for(filters_of: Filters) -> None:
    assert filters_of("--privileged") == []
    assert filters_of("--security-opt", "seccomp=unconfined") == []
    assert len(filters_of("--privileged", "--security-opt", f"seccomp={PROFILE}")) == 1


def test_dockers_own_profile_is_compiled_to_the_same_decisions(filters_of: Filters) -> None:
    (program,) = filters_of("--security-opt", f"seccomp={PROFILE}")
    found = compare(program, Oracle(DOCKER, KERNEL))
    assert (found.looser, found.stricter) == ({}, set())
    assert_only_new_calls(found.otherwise)


@pytest.mark.parametrize(
    ("rule", "calls"),
    [
        ({"names": ["unshare"]}, {("x86-64", 272), ("x32", 272), ("i386", 310)}),
        ({"names": ["vm86"]}, {("i386", 166)}),
        ({"names": ["security"]}, {("x86-64", 185)}),
        (
            {"names": ["socket"], "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 38}]},
            {("x86-64", 41), ("x32", 41), ("i386", 359)},
        ),
        (
            {"names": ["personality"], "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 1 << 18}]},
            {("x86-64", 135), ("x32", 135), ("i386", 136)},
        ),
        (
            {"names": ["clone"], "args": [{"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 1 << 29}]},
            {("x86-64", 56), ("x32", 56), ("i386", 120)},
        ),
    ],
)
def test_a_profile_loosened_by_one_rule_is_noticed(
    filters_of: Filters, tmp_path: Path, rule: dict[str, object], calls: set[tuple[str, int]]
) -> None:
    """The control of the tests above, for each ABI by itself."""
    profile = json.loads(PROFILE.read_text())
    profile["syscalls"].append({"action": "SCMP_ACT_ALLOW", **rule})
    (tmp_path / "loose.json").write_text(json.dumps(profile))
    (program,) = filters_of("--security-opt", f"seccomp={tmp_path / 'loose.json'}")
    assert compare(program, Oracle(DOCKER, KERNEL)).calls() == calls


def test_a_stricter_filter_is_noticed() -> None:
    profile = json.loads(PROFILE.read_text())
    profile["syscalls"][0]["names"].remove("getcwd")
    found = compare(Oracle(DOCKER, KERNEL, profile).program, Oracle(DOCKER, KERNEL))
    # with those for which this libseccomp has no name: `program` is without what `decide` adds
    assert found.stricter >= {("x86-64", 79), ("x32", 79), ("i386", 183)}


def test_other_architectures_are_killed(filters_of: Filters) -> None:
    (program,) = filters_of()
    assert {bpf.name(bpf.run(program, arch, 0)) for arch in (bpf.AARCH64, 0, 0x80000016)} == {"kill"}
