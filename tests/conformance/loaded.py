"""The seccomp filters that the kernel holds for a process (ptrace(2), PTRACE_SECCOMP_GET_FILTER). As root."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

from tests.conformance.bpf import Instruction, decode

_ATTACH, _DETACH, _GET_FILTER = 16, 17, 0x420C
_ENOENT, _EINVAL, _MAX_INSTRUCTIONS = 2, 22, 4096

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def filters(pid: int) -> list[list[Instruction]]:
    """All filters of the process's first thread, the one that was loaded last first."""
    found: list[list[Instruction]] = []
    with _stopped(pid):
        while True:
            # the whole of the longest: the kernel copies as much as the filter has
            raw = ctypes.create_string_buffer(8 * _MAX_INSTRUCTIONS)
            count = _libc.ptrace(_GET_FILTER, pid, len(found), ctypes.addressof(raw))
            if count < 0:
                error = ctypes.get_errno()
                if error == _ENOENT or (error == _EINVAL and not found):
                    return found  # no further one, or none at all
                raise OSError(error, f"PTRACE_SECCOMP_GET_FILTER {pid}: {os.strerror(error)}")
            found.append(decode(raw.raw[: 8 * count]))


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    if _libc.ptrace(_ATTACH, pid, None, None) < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"PTRACE_ATTACH {pid}: {os.strerror(error)}")
    try:
        os.waitpid(pid, 0x40000000)  # __WALL: it is no child of ours
        yield
    finally:
        _libc.ptrace(_DETACH, pid, None, None)
