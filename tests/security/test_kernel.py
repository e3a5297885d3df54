"""Parts of the kernel that containers have no business with, behind the default seccomp profile.

The bugs were the kernel's (CVE-2026-31431 in AF_ALG, CVE-2022-0185 and CVE-2024-1086 by a user namespace,
CVE-2022-0847 by splice): an engine's part is that the door is closed. Each is tried in a container, by a
Python of the host, with the default profile and without one.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command import Pyd

ATTEMPTS = """
import ctypes, json, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    ctypes.set_errno(0)
    result = libc.syscall(*(ctypes.c_long(value) for value in arguments))
    return "ok" if result >= 0 else os.strerror(ctypes.get_errno())
def family(number, kind):
    try:
        socket.socket(number, kind).close()
        return "ok"
    except OSError as error:
        return os.strerror(error.errno)
def child(number):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if call(272, number) == "ok" else 1)
    return "ok" if os.waitpid(pid, 0)[1] == 0 else os.strerror(1)
print(json.dumps({
    "AF_ALG": family(38, socket.SOCK_SEQPACKET),
    "AF_VSOCK": family(40, socket.SOCK_STREAM),
    "unshare(NEWUSER)": child(0x10000000),
    "unshare(NEWNS)": child(0x20000),
    "io_uring_setup": call(425, 0, 0),
    "keyctl": call(250, 0, -3, 0),
    "add_key": call(248, 0, 0, 0, 0, -3),
    "bpf": call(321, 0, 0, 0),
    "perf_event_open": call(298, 0, 0, -1, -1, 0),
    "userfaultfd": call(323, 1),
    "mount": call(165, 0, 0, 0, 0, 0),
    "open_by_handle_at": call(304, -100, 0, 0),
    "kexec_load": call(246, 0, 0, 0, 0),
    "init_module": call(175, 0, 0, 0),
    "personality": call(135, 0x0040000),
}))
"""
REFUSED = ("Operation not permitted", "Function not implemented")


def attempts(pyd: Pyd, tmp_path: Path, *options: str) -> dict[str, str]:
    (tmp_path / "try.py").write_text(ATTEMPTS)
    mount = ("-v", f"{tmp_path}:/mnt:ro", "--rootfs", "/:O")
    run = ("run", "--rm", "--network", "none", *options, *mount, "/usr/bin/python3", "-I", "/mnt/try.py")
    answers: dict[str, str] = json.loads(pyd(*run).out)
    return answers


def test_doors_that_are_closed(pyd: Pyd, tmp_path: Path) -> None:
    if not Path("/usr/bin/python3").exists():
        pytest.skip("no Python in /usr/bin")
    answers = attempts(pyd, tmp_path)
    assert {name: said for name, said in answers.items() if said not in REFUSED} == {}


def test_control_of_the_doors(pyd: Pyd, tmp_path: Path) -> None:
    """Without the profile the kernel itself answers: most are open, or it has something else to say."""
    answers = attempts(pyd, tmp_path, "--security-opt", "seccomp=unconfined")
    other = {name for name, said in answers.items() if said not in REFUSED}
    assert other >= {"AF_ALG", "unshare(NEWUSER)", "io_uring_setup", "keyctl", "personality"}, answers
    assert answers["unshare(NEWUSER)"] == "ok"
