"""What the monitor does with the container's processes: signals, freezing, orphans."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time

import pytest

from tests.native.shim import (
    ShimError,
    Shims,
    host_pid,
    is_running,
    runtime,
    script,
    wait_gone,
)
from tests.support.command import wait_until
from tests.support.world import World


def test_process_gets_a_clean_start(shims: Shims) -> None:
    """No descriptor, no blocked or ignored signal and no umask of the monitor goes into the container."""
    shim = shims(*script("ls /proc/self/fd", "cat /proc/self/status", "umask", "id -u"))
    assert shim.stream
    out, err, _ = shim.stream.finish()
    lines = out.decode().splitlines()
    assert lines[:4] == ["0", "1", "2", "3"], (out, err)  # 3 is the directory that ls reads
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert int(status["SigBlk"], 16) == int(status["SigIgn"], 16) == 0
    assert lines[-2:] == ["0022", "0"]


def test_output_can_be_reopened_by_any_user(shims: Shims) -> None:
    """nginx and many others log to /dev/stdout, which is the pipe opened anew as the container's user."""
    shim = shims(*script("echo one >/proc/self/fd/1", "echo two >/proc/self/fd/2"), uid=1000)
    assert shim.stream
    assert shim.stream.finish()[:2] == (b"one\n", b"two\n")


def test_killed_monitor_takes_the_container_with_it(shims: Shims) -> None:
    shim = shims(*script("sleep 100 & sleep 100"), uid=1000)
    os.kill(shim.child.pid, signal.SIGKILL)
    begin = time.monotonic()
    wait_gone(shim.pid)
    assert time.monotonic() - begin < 1
    assert not shim.exit_file.exists()


def test_monitor_ignores_the_signals_of_its_starter_s_end(shims: Shims) -> None:
    shim = shims("sleep", "60")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        os.kill(shim.child.pid, number)
    assert shim.ask("state")["status"] == "running"


def test_signals(shims: Shims) -> None:
    shim = shims(*script("trap 'echo usr1' USR1", "trap 'echo term; exit 7' TERM", "echo ready",
                         "while true; do sleep 0.05; done"))  # fmt: skip
    assert shim.stream
    shim.stream.until(b"ready\n")
    shim.ask("kill", signal=int(signal.SIGUSR1))
    shim.stream.until(b"usr1\n")
    with pytest.raises(ShimError, match="invalid signal"):
        shim.ask("kill", signal=1000)
    shim.ask("kill", signal=0)
    shim.ask("kill", signal=15)
    assert shim.stream.finish()[2]["exit_code"] == 7


def test_kill_all_reaches_every_process(shims: Shims) -> None:
    loop = "while true; do sleep 0.05; done"
    child = f"(trap 'echo child; exit' USR1; {loop}) &"
    shim = shims(*script("trap 'echo parent' USR1", child, "sleep 0.2; echo ready", "wait; wait; echo done"))
    assert shim.stream
    shim.stream.until(b"ready\n")
    shim.ask("kill", signal=int(signal.SIGUSR1), all=True)
    out, _, _ = shim.stream.finish()
    assert b"parent" in out
    assert b"child" in out


def test_pause_and_kill_of_a_frozen_container(shims: Shims) -> None:
    shim = shims(*script("i=0; while true; do i=$((i+1)); echo $i; sleep 0.01; done"))
    assert shim.stream
    shim.stream.until(b"3\n")
    shim.ask("pause")
    assert shim.ask("state")["status"] == "paused"
    with pytest.raises(ShimError, match="already paused"):
        shim.ask("pause")
    with pytest.raises(ShimError, match="paused") as raised:
        shim.exec("true")
    assert raised.value.error["status"] == 409
    before = len(shim.log())
    time.sleep(0.2)
    assert len(shim.log()) <= before + 1
    shim.ask("resume")
    wait_until(lambda: len(shim.log()) > before + 2, 5)
    shim.ask("pause")
    shim.ask("kill", signal=9)
    assert shim.wait()["exit_code"] == 137


def test_held_pause_ends_with_its_connection(shims: Shims) -> None:
    """Who freezes a container to read its files may be killed: it must not stay frozen."""
    shim = shims(*script("i=0; while true; do i=$((i+1)); echo $i; sleep 0.01; done"))
    assert shim.stream
    shim.stream.until(b"3\n")
    for _ in range(3):
        connection = shim.connect()
        connection.sendall(b'{"op": "pause", "hold": true}\n')
        assert connection.recv(100) == b'{"ok":true}\n'
        assert shim.ask("state")["status"] == "paused"
        connection.close()
        wait_until(lambda: shim.ask("state")["status"] == "running", 5)
    before = len(shim.log())
    wait_until(lambda: len(shim.log()) > before + 2, 5)


def test_orphans_are_reaped_and_the_rest_is_killed(shims: Shims, world: World) -> None:
    """Without a pid namespace of its own nothing dies with the first process: the monitor kills by cgroup,
    and does not wait for a pipe that somebody holds.
    """

    shim = shims(
        *script("sleep 300 &", "setsid sleep 300 &", "(sleep 0.1 &)", "echo $! ; sleep 0.3"), edit=host_pid
    )
    assert shim.stream
    out, _, exit = shim.stream.finish()
    assert exit["exit_code"] == 0
    assert not is_running(int(out))
    assert shim.wait()["error"] == ""
    assert world.cgroups() == []


def test_monitor_killed_at_any_moment_of_a_start(shims: Shims, world: World) -> None:
    """From the first instruction on, nothing outlives the monitor or holds its lock."""
    for step in range(40):
        bundle = shims.prepare("/bin/sh", "-c", "sleep 100 & sleep 100")
        child = subprocess.Popen(
            [runtime(), "shim", "--bundle", str(bundle / "run")], stdin=subprocess.DEVNULL, env={}
        )
        time.sleep(step * 0.0003)
        child.kill()
        child.wait()
        groups = [path / "cgroup.procs" for path in world.cgroups() if path.name == bundle.name]
        wait_until(lambda groups=groups: not any(g.read_text() for g in groups), 1)  # type: ignore[misc]
        lock = bundle / "run/shim.lock"
        if lock.exists():
            with lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for path in reversed(world.cgroups()):
            path.rmdir()
