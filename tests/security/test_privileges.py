"""What a command that is started later may do: what the first one may, for thirty sets of options."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from pyd import Engine
from tests.support.command import Pyd, wait_until
from tests.support.oci import Runtime

OPTION_SETS: dict[str, tuple[str, ...]] = {
    "default": (),
    "user": ("-u", "33"),
    "user and group": ("-u", "33:44"),
    "more groups": ("--group-add", "44", "--group-add", "55"),
    "user with more groups": ("-u", "33", "--group-add", "44"),
    "drop all": ("--cap-drop", "ALL"),
    "drop one": ("--cap-drop", "CHOWN"),
    "add one": ("--cap-add", "SYS_PTRACE"),
    "add many": ("--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN", "--cap-add", "SYS_TIME"),
    "only one": ("--cap-drop", "ALL", "--cap-add", "NET_RAW"),
    "only one as user": ("-u", "33", "--cap-drop", "ALL", "--cap-add", "NET_RAW"),
    "no new privileges": ("--security-opt", "no-new-privileges"),
    "no new privileges as user": ("--security-opt", "no-new-privileges", "-u", "33"),
    "unconfined": ("--security-opt", "seccomp=unconfined"),
    "unmasked": ("--security-opt", "systempaths=unconfined"),
    "privileged": ("--privileged",),
    "privileged as user": ("--privileged", "-u", "33"),
    "terminal": ("-t",),
    "init": ("--init",),
    "read-only": ("--read-only",),
    "open files": ("--ulimit", "nofile=100:200"),
    "core and processes": ("--ulimit", "core=0", "--ulimit", "nproc=500:600"),
    "memory": ("-m", "64m"),
    "pids": ("--pids-limit", "20"),
    "cpus": ("--cpus", "0.5"),
    "host's pids": ("--pid", "host"),
    "host's network": ("--network", "host"),
    "host's uts and ipc": ("--uts", "host", "--ipc", "host"),
    "own cgroup namespace": ("--cgroupns", "private"),
    "score": ("--oom-score-adj", "500"),
}
# Of one process, in one output: what it is, where it is, how far it may go.
SCRIPT = """grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp|Umask)' /proc/$$/status
cat /proc/$$/cgroup /proc/$$/attr/current 2>/dev/null
for kind in cgroup ipc mnt net pid user uts; do readlink /proc/$$/ns/$kind; done
cat /proc/$$/limits /proc/$$/oom_score_adj /proc/$$/mountinfo; pwd"""


def facts(text: str) -> list[str]:
    return [line.strip() for line in text.replace("\r", "").splitlines()]


def compare(engine: Engine, pyd: Pyd, busybox: str, options: tuple[str, ...], **later: Any) -> set[str]:
    """The lines in which a later command (`later`: its own options) differs from the first one."""
    network = () if "--network" in options else ("--network", "none")
    script = f"{{ {SCRIPT}; }}; echo end; sleep 1000"
    container = pyd("run", "-d", *network, *options, busybox, "sh", "-c", script).out
    wait_until(lambda: "end" in facts(pyd("logs", container).stdout))
    before = facts(pyd("logs", container).stdout)
    before = before[: before.index("end")]
    after = facts(engine.containers.exec(container, ["sh", "-c", SCRIPT], **later).stdout.decode())
    assert len(before) > 30 and sum("[" in line for line in before) >= 7
    return set(before) ^ set(after)


@pytest.mark.parametrize("options", OPTION_SETS.values(), ids=OPTION_SETS)
def test_exec_has_what_the_first_process_has(busybox: str, pyd: Pyd, options: tuple[str, ...]) -> None:
    """Capabilities, filter, groups, cgroups, namespaces, limits and mounts are the same."""
    assert len(OPTION_SETS) == 30
    assert compare(Engine(), pyd, busybox, options) == set()


def test_control_of_exec(busybox: str, pyd: Pyd) -> None:
    """With `exec --privileged` and as another user it may more: the comparison says so."""
    different = compare(Engine(), pyd, busybox, (), privileged=True)
    assert any(line.startswith("CapEff") for line in different)
    assert any(line.startswith("Uid") for line in compare(Engine(), pyd, busybox, (), user="33"))


def inheritable(runtime: Runtime) -> list[int]:
    """CapInh and CapAmb of the first process, of an exec, and of an exec with one capability more."""
    words = ["/payload", "caps"]
    seen = [runtime.run("first", words).stdout]
    bundle = runtime.bundle("c", ["/payload", "sleep", "600"])
    with open(os.devnull, "r+b") as null:
        command = [*runtime.program, "run", "--detach", "--bundle", str(bundle), "c"]
        subprocess.run(command, stdin=null, stdout=null, stderr=null, timeout=30, check=True)
    seen += [runtime("exec", "c", *words).stdout, runtime("exec", "--cap", "CAP_CHOWN", "c", *words).stdout]
    lines = [line.split() for text in seen for line in text.splitlines()]
    return [int(words[1], 16) for words in lines if words[0] in ("CapInh:", "CapAmb:")]


def test_nothing_is_inheritable(runtime: Runtime) -> None:
    """CVE-2022-24769, CVE-2022-29162, CVE-2022-27649, CVE-2022-27652. For the engine's commands and option
    sets: tests/integration/test_security.py::test_nothing_is_inheritable.
    """
    assert inheritable(runtime) == [0] * 6


def test_control_of_inheritable(weakened: Callable[..., Runtime]) -> None:
    assert any(inheritable(weakened("inheritable-capabilities")))
