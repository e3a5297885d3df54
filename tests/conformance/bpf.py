"""Classic BPF as the kernel runs a seccomp filter (linux/filter.h, seccomp(2)), for these tests alone."""

from __future__ import annotations

import struct
from collections.abc import Sequence

X86_64, I386, AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7
"""AUDIT_ARCH_* of linux/audit.h."""
X32 = 0x40000000
"""In the number of a call of the x32 ABI, whose architecture is that of x86-64."""

ALLOW, LOG, KILL_PROCESS, KILL_THREAD = 0x7FFF0000, 0x7FFC0000, 0x80000000, 0
ERRNO, TRAP, TRACE, NOTIFY = 0x00050000, 0x00030000, 0x7FF00000, 0x7FC00000

Instruction = tuple[int, int, int, int]
"""struct sock_filter: code, jt, jf, k."""


def decode(raw: bytes) -> list[Instruction]:
    return list(struct.iter_unpack("<HBBI", raw))


def run(program: Sequence[Instruction], arch: int, number: int, args: Sequence[int] = ()) -> int:
    """The filter's answer (SECCOMP_RET_*, with its data) to one system call."""
    words = [number, arch, 0, 0]
    for arg in (*args, *[0] * (6 - len(args))):
        words += [arg & 0xFFFFFFFF, arg >> 32 & 0xFFFFFFFF]
    accumulator = at = index = 0
    memory = [0] * 16
    while True:
        code, if_true, if_false, k = program[at]
        at += 1
        match code:
            case 0x20:  # ld [k]
                accumulator = words[k // 4]
            case 0x54:  # and #k
                accumulator &= k
            case 0x05:  # ja
                at += k
            case 0x15:  # jeq
                at += if_true if accumulator == k else if_false
            case 0x25:  # jgt
                at += if_true if accumulator > k else if_false
            case 0x35:  # jge
                at += if_true if accumulator >= k else if_false
            case 0x45:  # jset
                at += if_true if accumulator & k else if_false
            case 0x06:  # ret #k
                return k
            case 0x02:  # st M[k]
                memory[k] = accumulator
            case 0x60:  # ld M[k]
                accumulator = memory[k]
            case 0x07:  # tax
                index = accumulator
            case 0x87:  # txa
                accumulator = index
            case _:
                raise ValueError(f"instruction {code:#x} at {at - 1}")


def name(answer: int) -> str:
    """For people: "allow", "errno 1", "kill"."""
    action = answer & 0xFFFF0000
    names = {ALLOW: "allow", LOG: "log", KILL_THREAD: "kill", KILL_PROCESS: "kill", TRAP: "trap"}
    if action == ERRNO:
        return f"errno {answer & 0xFFFF}"
    return names.get(action, f"{answer:#x}")
