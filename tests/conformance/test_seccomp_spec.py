"""`linux.seccomp` of a config.json through the binary: what it loads is read back from the kernel, and what
it refuses names the field.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from tests.conformance import bpf, loaded
from tests.conformance.oracle import OPERATORS
from tests.conformance.quiet import quietly
from tests.support.oci import Runtime

SLEEP = ["/payload", "sleep", "60"]
MASK = (1 << 64) - 1
HOLDS = {
    "NE": lambda arg, a, b: arg != a,
    "LT": lambda arg, a, b: arg < a,
    "LE": lambda arg, a, b: arg <= a,
    "EQ": lambda arg, a, b: arg == a,
    "GE": lambda arg, a, b: arg >= a,
    "GT": lambda arg, a, b: arg > a,
    "MASKED_EQ": lambda arg, a, b: arg & a == b,
}
FLAGS = ("TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV")


def start(runtime: Runtime, name: str, seccomp: dict[str, Any], **process: Any) -> list[bpf.Instruction]:
    """Starts a container with this filter and gives what the kernel has of it."""

    def edit(spec: dict[str, Any]) -> None:
        spec["linux"]["seccomp"] = seccomp
        spec["process"].update(process)

    quietly(runtime, "run", "--detach", "--bundle", runtime.bundle(name, SLEEP, edit), name)
    (program,) = loaded.filters(runtime.state(name)["pid"])
    return program


def refuse(runtime: Runtime, name: str, seccomp: dict[str, Any]) -> str:
    """The one sentence with which `run` refuses this filter."""

    def edit(spec: dict[str, Any]) -> None:
        spec["linux"]["seccomp"] = seccomp

    done = runtime("run", "--bundle", runtime.bundle(name, SLEEP, edit), name, code=1)
    assert not (runtime.directory / "state" / name).exists()
    return done.stderr.strip()


def rule(number: int, *args: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "names": ["getpriority"],
        "action": "SCMP_ACT_ERRNO",
        "errnoRet": number,
        "args": list(args),
        **more,
    }


GETPRIORITY = {bpf.X86_64: 140, bpf.I386: 96}


def test_every_operator_on_every_argument(runtime: Runtime) -> None:
    values = [0, 7, 0xFFFFFFFF, 0x1_0000_0000, 0x1_0000_0007, MASK]
    # Rules of one call are alternatives, so each operator is asked by a filter of its own.
    for index, operator in enumerate(OPERATORS):
        argument, value = index % 6, 0x1_0000_0007
        second = 0x1_0000_0000 if operator == "MASKED_EQ" else 0
        condition = {"index": argument, "op": f"SCMP_CMP_{operator}", "value": value, "valueTwo": second}
        program = start(
            runtime,
            operator.lower(),
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
                "syscalls": [rule(95, condition)],
            },
        )
        for given, noise in itertools.product(values, (0, MASK)):
            for arch, width in ((bpf.X86_64, MASK), (bpf.I386, 0xFFFFFFFF)):
                args = [noise & width] * 6
                args[argument] = given & width
                holds = HOLDS[operator](given & width, value & width, second & width)
                wanted = bpf.ERRNO | 95 if holds else bpf.ALLOW
                assert bpf.run(program, arch, GETPRIORITY[arch], args) == wanted, (operator, arch, hex(given))
        runtime("delete", "--force", operator.lower())


def test_several_conditions_must_all_hold_unless_they_are_on_one_argument(runtime: Runtime) -> None:
    first, other = ({"index": 0, "op": "SCMP_CMP_EQ", "value": value} for value in (1, 2))
    second = {"index": 1, "op": "SCMP_CMP_EQ", "value": 3}
    both = start(runtime, "and", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule(95, first, second)]})
    either = start(runtime, "or", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule(95, first, other)]})
    asked = [(1, 3), (1, 4), (2, 3), (5, 5)]
    assert [bpf.run(both, bpf.X86_64, 140, args) != bpf.ALLOW for args in asked] == [
        True,
        False,
        False,
        False,
    ]
    assert [bpf.run(either, bpf.X86_64, 140, args) != bpf.ALLOW for args in asked] == [
        True,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("new_privileges", [True, False])
def test_flags_actions_and_numbers(runtime: Runtime, new_privileges: bool) -> None:
    program = start(
        runtime,
        "flags",
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "flags": [f"SECCOMP_FILTER_FLAG_{name}" for name in FLAGS],
            "architectures": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_S390X"],  # not of this machine: passed over
            "syscalls": [
                rule(4095),
                rule(0) | {"names": ["getpgid"]},
                {"names": ["getsid"], "action": "SCMP_ACT_ERRNO"},
                {"names": ["acct"], "action": "SCMP_ACT_LOG"},
                {"names": ["swapon"], "action": "SCMP_ACT_TRAP"},
                {"names": ["swapoff"], "action": "SCMP_ACT_TRACE", "errnoRet": 7},
                {"names": ["reboot"], "action": "SCMP_ACT_KILL"},
                {"names": ["iopl"], "action": "SCMP_ACT_KILL_PROCESS"},
                {"names": ["ioperm"], "action": "SCMP_ACT_KILL_THREAD"},
                {"names": ["no_such_call", "acct"], "action": "SCMP_ACT_LOG"},
            ],
        },
        noNewPrivileges=not new_privileges,
    )
    wanted = {
        140: bpf.ERRNO | 4095,
        121: bpf.ERRNO,
        124: bpf.ERRNO | 1,
        163: bpf.LOG,
        167: bpf.TRAP,
        168: bpf.TRACE | 7,
        169: bpf.KILL_THREAD,
        172: bpf.KILL_PROCESS,
        173: bpf.KILL_THREAD,
        39: bpf.ALLOW,
    }
    assert {number: bpf.run(program, bpf.X86_64, number) for number in wanted} == wanted


def test_an_exec_has_the_filter_of_the_container(runtime: Runtime) -> None:
    first = start(runtime, "exec", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule(95)]})
    pid_file = runtime.directory / "pid"
    quietly(runtime, "exec", "--detach", "--pid-file", pid_file, "exec", *SLEEP)
    assert loaded.filters(int(pid_file.read_text())) == [first]


def test_a_profile_need_not_allow_what_the_runtime_itself_does(runtime: Runtime) -> None:
    """Only what comes with the change of user, and execve: a profile knows programs, not runtimes."""
    names = """read write close openat newfstatat mmap munmap mprotect brk rt_sigaction rt_sigprocmask
    sigaltstack rt_sigreturn execve arch_prctl set_tid_address set_robust_list rseq prlimit64 getrandom futex
    exit_group poll clock_nanosleep nanosleep fcntl faccessat setgroups setresgid setresuid capset umask prctl
    uname readlink sched_getaffinity""".split()
    allowed = {"names": names, "action": "SCMP_ACT_ALLOW"}
    start(runtime, "small", {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [allowed]})


def test_a_huge_profile_works_or_says_why_not(runtime: Runtime) -> None:
    same = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule(95)] * 10_000}
    assert bpf.run(start(runtime, "same", same), bpf.X86_64, 140) == bpf.ERRNO | 95
    unknown = [{"names": [f"call_{n}"], "action": "SCMP_ACT_ALLOW"} for n in range(10_000)]
    start(runtime, "unknown", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": unknown})
    conditions = [rule(95, {"index": 0, "op": "SCMP_CMP_EQ", "value": n << 32 | n}) for n in range(10_000)]
    said = refuse(runtime, "many", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": conditions})
    assert "BPF instructions, the kernel takes 4096" in said and "join rules" in said


@pytest.mark.parametrize(
    ("seccomp", "words"),
    [
        ({"defaultAction": "SCMP_ACT_SING"}, ["linux.seccomp.defaultAction", "SCMP_ACT_SING"]),
        ({}, ["linux.seccomp", "defaultAction"]),
        ({"flags": ["SECCOMP_FILTER_FLAG_FLY"]}, ["linux.seccomp.flags[0]", "SECCOMP_FILTER_FLAG_FLY"]),
        ({"architectures": ["SCMP_ARCH_VAX"]}, ["linux.seccomp.architectures[0]", "SCMP_ARCH_VAX"]),
        ({"defaultErrnoRet": 5}, ["linux.seccomp.defaultErrnoRet", "no error number"]),
        ({"defaultErrnoRet": -1}, ["linux.seccomp.defaultErrnoRet", "-1"]),
        ({"listenerMetadata": "x"}, ["linux.seccomp.listenerMetadata", "listenerPath"]),
        ({"syscalls": [rule(70000)]}, ["linux.seccomp.syscalls[0]", "70000"]),
        (
            {"syscalls": [rule(1), rule(1, action="SCMP_ACT_KILL")]},
            ["linux.seccomp.syscalls[1]", "error number"],
        ),
        ({"syscalls": [rule(1, names=[])]}, ["linux.seccomp.syscalls[0]", "names"]),
        ({"syscalls": [rule(1, action="NO")]}, ["linux.seccomp.syscalls[0].action", "NO"]),
        (
            {"syscalls": [rule(1, {"index": 6, "op": "SCMP_CMP_EQ", "value": 0})]},
            ["linux.seccomp.syscalls[0].args[0].index", "6"],
        ),
        (
            {"syscalls": [rule(1, {"index": 0, "op": "SCMP_CMP_ISH", "value": 0})]},
            ["linux.seccomp.syscalls[0].args[0].op", "SCMP_CMP_ISH"],
        ),
        (
            {"syscalls": [{"names": ["acct"], "action": "SCMP_ACT_NOTIFY"}]},
            ["SCMP_ACT_NOTIFY", "linux.seccomp.listenerPath"],
        ),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else "",
)
def test_what_is_wrong_is_named(runtime: Runtime, seccomp: dict[str, Any], words: list[str]) -> None:
    whole = {"defaultAction": "SCMP_ACT_ALLOW", **seccomp} if seccomp else {}
    said = refuse(runtime, "wrong", whole)
    assert all(word in said for word in words), said
    assert len(said.splitlines()) == 1, said
