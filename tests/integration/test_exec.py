"""`pyd exec`: an additional process in a running container."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.command import Pyd, wait_until


@pytest.fixture
def sleeper(busybox: str, pyd: Pyd, name: str) -> Iterator[str]:
    pyd("run", "-d", "--name", name, "-e", "FROM=run", busybox, "sleep", "1000")
    yield name


def test_output_and_status(sleeper: str, pyd: Pyd) -> None:
    result = pyd("exec", sleeper, "sh", "-c", "echo out; echo err >&2; exit 9", code=9)
    assert (result.stdout, result.stderr) == ("out\n", "err\n")


def test_is_in_every_namespace_and_cgroup_of_the_container(sleeper: str, pyd: Pyd) -> None:
    namespaces = "for n in cgroup ipc mnt net pid uts; do readlink /proc/%s/ns/$n; done; cat /proc/%s/cgroup"
    inside = pyd("exec", sleeper, "sh", "-c", namespaces % ("self", "self")).stdout
    init = pyd("exec", sleeper, "sh", "-c", namespaces % ("1", "1")).stdout
    assert inside == init


def test_has_the_privileges_of_the_container_and_not_more(sleeper: str, pyd: Pyd) -> None:
    keys = "Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:"
    inside = pyd("exec", sleeper, "grep", "-E", keys, "/proc/self/status").stdout
    init = pyd("exec", sleeper, "grep", "-E", keys, "/proc/1/status").stdout
    assert inside == init


def test_options(sleeper: str, pyd: Pyd) -> None:
    options = ("-e", "MORE=x", "-w", "/tmp", "-u", "33")
    out = pyd("exec", *options, sleeper, "sh", "-c", "echo $FROM $MORE; pwd; id").lines
    assert out[:2] == ["run x", "/tmp"]
    assert out[2].startswith("uid=33(www-data) gid=33(www-data)")


def test_stdin(sleeper: str, pyd: Pyd) -> None:
    assert pyd("exec", "-i", sleeper, "cat", input="to the process").stdout == "to the process"


def test_terminal_and_resize(sleeper: str, pyd: Pyd) -> None:
    terminal = pyd.terminal("exec", "-it", sleeper, "sh", rows=30, columns=90)
    terminal.expect("#")
    terminal.write("stty size; echo e''nd\n")  # the echo of the command is not its output
    assert "30 90" in terminal.expect("end\r\n")
    terminal.write("exit 6\n")
    assert terminal.close() == 6


def test_detached(sleeper: str, pyd: Pyd) -> None:
    pyd("exec", "-d", sleeper, "sh", "-c", "echo $$ > /tmp/pid; sleep 1000")
    wait_until(lambda: pyd("exec", sleeper, "cat", "/tmp/pid", code=None).out, 5)
    assert "sleep 1000" in pyd("top", sleeper).stdout


def test_missing_command(sleeper: str, pyd: Pyd) -> None:
    result = pyd("exec", sleeper, "no-such-program", code=127)
    assert "executable file not found in $PATH" in result.stderr


def test_not_executable(sleeper: str, pyd: Pyd) -> None:
    result = pyd("exec", sleeper, "/etc/passwd", code=126)
    assert "permission denied" in result.stderr


def test_stopped_container(sleeper: str, pyd: Pyd) -> None:
    pyd("kill", sleeper)
    wait_until(lambda: not pyd.state(sleeper)["Running"], 5)
    assert "is not running" in pyd("exec", sleeper, "true", code=1).stderr


def test_end_of_the_container_ends_the_exec(sleeper: str, pyd: Pyd) -> None:
    process = pyd.popen("exec", sleeper, "sleep", "1000")
    wait_until(lambda: "1000" in pyd("top", sleeper).stdout.replace("sleep 1000", "", 1), 5)
    pyd("kill", sleeper)
    process.communicate(timeout=10)
    assert process.returncode == 137


def test_killed_client_leaves_the_process(sleeper: str, pyd: Pyd) -> None:
    process = pyd.popen(
        "exec", sleeper, "sh", "-c", "while [ ! -e /tmp/go ]; do sleep 0.1; done; echo survived > /tmp/mark"
    )
    wait_until(lambda: "/tmp/go" in pyd("top", sleeper).stdout, 20)
    process.kill()
    process.communicate()
    pyd("exec", sleeper, "touch", "/tmp/go")
    wait_until(lambda: pyd("exec", sleeper, "cat", "/tmp/mark", code=None).out == "survived", 20)
