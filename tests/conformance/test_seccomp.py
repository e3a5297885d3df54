"""The filters that are loaded in real containers are nowhere looser than Docker's default profile.

What pyd loads is read back from the kernel and emulated; what it is measured by is moby's profile, compiled
by libseccomp (oracle.py). Each decision is compared: allowed here and refused there fails the test, refused
here and allowed there must be in a reviewed table.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conformance import bpf, loaded
from tests.conformance.oracle import PROFILE, Oracle
from tests.support.command import Pyd

DOCKER = {
    f"CAP_{name}"
    for name in """CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP
        NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE""".split()
}
ALL = {
    capability
    for rule in json.loads(PROFILE.read_text())["syscalls"]
    for side in ("includes", "excludes")
    for capability in (rule.get(side) or {}).get("caps") or ()
} | DOCKER
OPTIONS: dict[str, tuple[list[str], set[str]]] = {
    "default": ([], DOCKER),
    "sys_admin": (["--cap-add", "SYS_ADMIN"], DOCKER | {"CAP_SYS_ADMIN"}),
    "none": (["--cap-drop", "ALL"], set()),
    "no_new_privileges": (["--security-opt", "no-new-privileges"], DOCKER),
    "all": (["--cap-add", "ALL"], ALL),
}
KERNEL_MAJOR, KERNEL_MINOR = os.uname().release.split("-")[0].split(".")[:2]
KERNEL = int(KERNEL_MAJOR), int(KERNEL_MINOR)

ACTION = 0xFFFF0000

STRICTER: dict[tuple[str, int], str] = {}
"""Where pyd refuses what Docker allows, and why. Empty: pyd's profile is Docker's, decision by decision."""

NEWEST = 466
"""The highest number that the profile names (removexattrat). Of higher ones, and of x32's own block, pyd says
"no such call", as Docker's runc does, where libseccomp alone says "not permitted": the C library then tries
an older call.
"""

ABIS = ((bpf.X86_64, 0, 480), (bpf.X86_64, bpf.X32, 548), (bpf.I386, 0, 480))
"""(architecture, bit in the number, numbers): x32 has a block of its own from 512 on."""
LOOKED_AT = {
    # Calls with conditions, and some whose arguments would be worth a condition: number on x86-64, on i386.
    "socket": (41, 359),
    "clone": (56, 120),
    "clone3": (435, 435),
    "personality": (135, 136),
    "ioctl": (16, 54),
    "prctl": (157, 172),
    "socketcall": (None, 102),
    "ipc": (None, 117),
    "unshare": (272, 310),
}


def lattice() -> list[int]:
    """Values around everything that the profile compares with, and flags one by one."""
    values = set(range(50)) | {1 << bit for bit in range(64)}
    for base in (8, 0x20000, 0x20008, 0x7E020000, 0xFFFFFFFF):
        values |= {base - 1, base, base + 1, base | 1 << 32, base | 1 << 63, base & 0xFFFFFFFF}
    values |= {1 << bit | 0x3D0F00 for bit in range(64)}
    return sorted(values)


LATTICE = lattice()


def questions() -> Iterable[tuple[int, int, tuple[int, ...]]]:
    """(architecture, number, arguments) of every decision that is compared."""
    for arch, bit, count in ABIS:
        for number in range(count):
            for first in (0, 1, 0xFFFFFFFF, (1 << 64) - 1 if arch == bpf.X86_64 else 0xFFFFFFFF):
                yield arch, number | bit, (first, 9, 9, 9, 9, 9)
        for native, emulated in LOOKED_AT.values():
            number_here = emulated if arch == bpf.I386 else native
            if number_here is None:
                continue
            for place in range(3):
                for value in LATTICE:
                    # the kernel gives 32-bit programs' arguments with nothing in the high half
                    args = [0] * 6
                    args[place] = value & 0xFFFFFFFF if arch == bpf.I386 else value
                    yield arch, number_here | bit, tuple(args)


Decision = tuple[str, int, tuple[int, ...]]
"""ABI, number, arguments."""


@dataclass
class Comparison:
    looser: dict[Decision, str] = field(default_factory=dict)
    """What the filter allows and Docker's profile does not, or answers in another way that is no refusal."""
    stricter: set[tuple[str, int]] = field(default_factory=set)
    """Calls that the filter refuses with some arguments and Docker's profile allows."""
    otherwise: set[tuple[str, int]] = field(default_factory=set)
    """Calls that both refuse, the filter with "no such call" (ENOSYS) and Docker's profile with another
    error.
    """
    count: int = 0

    def calls(self) -> set[tuple[str, int]]:
        return {(abi, number) for abi, number, _ in self.looser}


def compare(program: list[bpf.Instruction], oracle: Oracle) -> Comparison:
    result = Comparison()
    for arch, number, args in questions():
        mine, theirs = bpf.run(program, arch, number, args), oracle.decide(arch, number, args)
        result.count += 1
        if mine == theirs:
            continue
        abi = "i386" if arch == bpf.I386 else "x32" if number & bpf.X32 else "x86-64"
        call = abi, number & ~bpf.X32
        if mine & ACTION == bpf.ERRNO and theirs == bpf.ALLOW:
            result.stricter.add(call)
        elif mine == bpf.ERRNO | errno.ENOSYS and theirs & ACTION == bpf.ERRNO:
            result.otherwise.add(call)
        else:
            result.looser[(*call, args)] = f"{bpf.name(mine)}, Docker {bpf.name(theirs)}"
    return result


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
