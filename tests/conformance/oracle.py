"""Docker's default profile as libseccomp compiles it: what pyd's filters are measured by.

The profile is moby's file, the conditions of its rules are decided here (moby's documentation: all of
`includes` must hold, none of `excludes`), the compiler is libseccomp. Nothing of pyd is used.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tests.conformance import bpf

PROFILE = Path(__file__).parent / "moby" / "default.json"
ACTIONS = {"SCMP_ACT_ALLOW": bpf.ALLOW, "SCMP_ACT_ERRNO": bpf.ERRNO}
OPERATORS = {
    word: number for number, word in enumerate(("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"), start=1)
}

NEWER = dict(
    enumerate(
        """cachestat fchmodat2 map_shadow_stack futex_wake futex_wait futex_requeue statmount listmount
        lsm_get_self_attr lsm_set_self_attr lsm_list_modules mseal setxattrat getxattrat listxattrat
        removexattrat open_tree_attr""".split(),
        start=451,
    )
)
"""System calls for which an older libseccomp has no name: number (the same on every architecture) to name."""

NEWER_ON_X86_64 = {335: "uretprobe"}

Rule = dict[str, Any]


class Argument(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = (
        ("index", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


class Oracle:
    """The profile for one set of capabilities, on x86-64 with x86 and x32 as Docker asks for them."""

    def __init__(self, capabilities: Collection[str], kernel: tuple[int, int], profile: Any = None) -> None:
        self.profile = profile or json.loads(PROFILE.read_text())
        self.rules = [rule for rule in self.profile["syscalls"] if _applies(rule, capabilities, kernel)]
        self.default = bpf.ERRNO | int(self.profile["defaultErrnoRet"])
        self.unknown: set[str] = set()
        self.program = self._compile()

    def decide(self, arch: int, number: int, args: tuple[int, ...] = ()) -> int:
        """The profile's answer (SECCOMP_RET_*) to one system call."""
        newer = NEWER.get(number & ~bpf.X32)
        if arch == bpf.X86_64:
            newer = NEWER_ON_X86_64.get(number, newer)
        if newer not in self.unknown:
            return bpf.run(self.program, arch, number, args)
        mine = [rule for rule in self.rules if newer in rule["names"]]
        assert all(not rule.get("args") for rule in mine), f"{newer} has conditions: teach this class"
        return _action(mine[0]) if mine else self.default

    def conditional(self) -> set[str]:
        """Names of the calls whose arguments matter."""
        return {name for rule in self.rules if rule.get("args") for name in rule["names"]}

    def _compile(self) -> list[bpf.Instruction]:
        library = _library()
        context = library.seccomp_init(self.default)
        try:
            # as a tree: a linear filter would take the emulator twenty times as long
            _check(library.seccomp_attr_set(context, 8, 2), "SCMP_FLTATR_CTL_OPTIMIZE")
            for name in (b"x86", b"x32"):
                _check(library.seccomp_arch_add(context, library.seccomp_arch_resolve_name(name)), "arch_add")
            for rule in self.rules:
                for name in rule["names"]:
                    self._add(library, context, name, rule)
            memory = os.memfd_create("filter")
            try:
                _check(library.seccomp_export_bpf(context, memory), "export_bpf")
                os.lseek(memory, 0, os.SEEK_SET)
                return bpf.decode(os.read(memory, 1 << 20))
            finally:
                os.close(memory)
        finally:
            library.seccomp_release(context)

    def _add(self, library: ctypes.CDLL, context: int, name: str, rule: Rule) -> None:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number == -1:  # __NR_SCMP_ERROR
            self.unknown.add(name)
            return
        args = [
            Argument(
                arg["index"],
                OPERATORS[arg["op"].removeprefix("SCMP_CMP_")],
                arg["value"],
                arg.get("valueTwo", 0),
            )
            for arg in rule.get("args") or ()
        ]
        array = (Argument * len(args))(*args)
        done = library.seccomp_rule_add_array(context, _action(rule), number, len(args), array)
        if done != -errno.EEXIST:
            _check(done, f"rule_add {name}")


def _action(rule: Rule) -> int:
    data = rule.get("errnoRet", 1) if rule["action"] == "SCMP_ACT_ERRNO" else 0
    return ACTIONS[rule["action"]] | int(data)


def _applies(rule: Rule, capabilities: Collection[str], kernel: tuple[int, int]) -> bool:
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    least = includes.get("minKernel")
    return (
        (not includes.get("arches") or "amd64" in includes["arches"])
        and set(includes.get("caps") or ()) <= set(capabilities)
        and (not least or kernel >= tuple(int(part) for part in least.split(".")))
        and "amd64" not in (excludes.get("arches") or ())
        and not set(excludes.get("caps") or ()) & set(capabilities)
    )


def _library() -> ctypes.CDLL:
    library = ctypes.CDLL("libseccomp.so.2")
    pointer, word = ctypes.c_void_p, ctypes.c_uint32
    library.seccomp_init.restype = pointer
    library.seccomp_init.argtypes = [word]
    library.seccomp_release.argtypes = [pointer]
    library.seccomp_attr_set.argtypes = [pointer, ctypes.c_int, word]
    library.seccomp_arch_resolve_name.restype = word
    library.seccomp_arch_resolve_name.argtypes = [ctypes.c_char_p]
    library.seccomp_arch_add.argtypes = [pointer, word]
    library.seccomp_syscall_resolve_name.argtypes = [ctypes.c_char_p]
    library.seccomp_rule_add_array.argtypes = [pointer, word, ctypes.c_int, ctypes.c_uint, pointer]
    library.seccomp_export_bpf.argtypes = [pointer, ctypes.c_int]
    return library


def _check(answer: int, what: str) -> None:
    if answer < 0:
        raise OSError(-answer, f"libseccomp {what}: {os.strerror(-answer)}")
