"""A loaded filter beside Docker's current default profile, decision by decision.

`python -m tests.conformance.compare PID [CAP_NAME...]` does it for the first process of any engine's
container; the names are the capabilities that the container has beyond Docker's 14 (or ALL, or NONE).
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.conformance import bpf, loaded
from tests.conformance.oracle import PROFILE, Oracle

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
KERNEL_MAJOR, KERNEL_MINOR = os.uname().release.split("-")[0].split(".")[:2]
KERNEL = int(KERNEL_MAJOR), int(KERNEL_MINOR)

ACTION = 0xFFFF0000

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


def main() -> int:
    pid, *names = sys.argv[1:]
    given = {"ALL": ALL, "NONE": set[str]()}.get(" ".join(names), DOCKER | set(names))
    filters = loaded.filters(int(pid))
    lengths = ", ".join(str(len(program)) for program in filters)
    print(f"{len(filters)} filters; instructions: {lengths or 'none'}")
    for program in filters:
        found = compare(program, Oracle(given, KERNEL))
        print(f"{found.count} decisions compared with Docker's current default profile")
        for title, calls in (
            ("looser", found.calls()),
            ("stricter", found.stricter),
            ("refused with ENOSYS instead", found.otherwise),
        ):
            print(f"{title}: {', '.join(f'{abi} {number}' for abi, number in sorted(calls)) or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
