"""stop, kill, restart, rm, wait: how containers end."""

from __future__ import annotations

import subprocess
import time

import pytest

from tests.support.command import Pyd, wait_until

POLITE = "trap 'echo bye; exit 0' %s; echo ready; while :; do sleep 0.05; done"


def ready(pyd: Pyd, name: str) -> None:
    wait_until(lambda: "ready" in pyd("logs", name).stdout, 10)


def test_stop_asks_first(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "-d", "--name", name, busybox, "sh", "-c", POLITE % "TERM")
    ready(pyd, name)
    assert pyd("stop", name).out == name
    state = pyd.state(name)
    assert (state["Status"], state["ExitCode"]) == ("exited", 0)
    assert "bye" in pyd("logs", name).stdout


def test_stop_kills_what_does_not_listen(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "-d", "--name", name, busybox, "sleep", "1000")
    start = time.monotonic()
    pyd("stop", "-t", "1", name)
    assert 0.9 < time.monotonic() - start < 9  # by default it would wait for ten
    assert pyd.state(name)["ExitCode"] == 137


def test_stop_signal(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "-d", "--name", name, "--stop-signal", "USR1", busybox, "sh", "-c", POLITE % "USR1")
    ready(pyd, name)
    pyd("stop", name)
    assert pyd.state(name)["ExitCode"] == 0


def test_stopping_twice_is_no_error(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "-d", "--name", name, busybox, "true")
    pyd("wait", name)
    assert pyd("stop", name).out == name


def test_kill_of_a_stopped_one_is(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "-d", "--name", name, busybox, "true")
    container = pyd("inspect", "-f", "{{.Id}}", name).out
    pyd("wait", name)
    expected = f"Cannot kill container: {name}: Container {container} is not running"
    assert expected.lower() in pyd("kill", name, code=1).stderr.lower()


@pytest.mark.parametrize("signal", ["HUP", "SIGHUP", "1"])
def test_kill_with_a_signal(busybox: str, pyd: Pyd, name: str, signal: str) -> None:
    pyd("run", "-d", "--name", name, busybox, "sh", "-c", POLITE % "HUP")
    ready(pyd, name)
    pyd("kill", "-s", signal, name)
    assert pyd("wait", name).out == "0"


def test_kill_of_a_paused_one(busybox: str, pyd: Pyd, name: str) -> None:
    """On cgroup v1 a frozen task does not even take SIGKILL until it is thawed."""
    pyd("run", "-d", "--name", name, busybox, "sleep", "1000")
    pyd("pause", name)
    pyd("kill", name)
    assert pyd("wait", name, timeout=10).out == "137"


def test_rm_of_a_running_one(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "-d", "--name", name, busybox, "sleep", "1000")
    result = pyd("rm", name, code=1)
    assert "You cannot remove a running container" in result.stderr
    assert pyd("rm", "-f", name).out == name
    assert "No such container" in pyd("inspect", name, code=1).stderr.replace("object", "container")


def test_rm_f_of_a_missing_one(busybox: str, pyd: Pyd) -> None:
    assert "No such container: nosuch" in pyd("rm", "nosuch", code=1).stderr


def test_several_targets_go_on_after_an_error(busybox: str, pyd: Pyd) -> None:
    first, second = (pyd("run", "-d", busybox, "sleep", "1000").out for _ in range(2))
    result = pyd("rm", "-f", first, second)
    assert result.lines == [first, second]


def test_restart(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "-d", "--name", name, busybox, "sh", "-c", POLITE % "TERM")
    ready(pyd, name)
    before = pyd.pid(name)
    pyd("restart", name)
    assert pyd.state(name)["Running"] and pyd.pid(name) != before
    wait_until(lambda: pyd("logs", name).lines == ["ready", "bye", "ready"], 5)


def test_wait_of_several(busybox: str, pyd: Pyd) -> None:
    names = [pyd("run", "-d", busybox, "sh", "-c", f"sleep 0.{code}; exit {code}").out for code in (3, 1)]
    assert pyd("wait", *names).lines == ["3", "1"]


def test_processes_of_the_container_die_with_it(busybox: str, pyd: Pyd, name: str) -> None:
    script = "for i in 1 2 3; do (trap '' TERM HUP; exec setsid sleep 4343) & done; sleep 0.3; exit 0"
    pyd("run", "-d", "--name", name, busybox, "sh", "-c", script)
    pyd("wait", name)
    assert subprocess.run(["pgrep", "-f", "sleep 4343"], capture_output=True, check=False).returncode == 1


def test_stop_timeout_of_the_container(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "-d", "--name", name, "--stop-timeout", "0", busybox, "sleep", "1000")
    start = time.monotonic()
    pyd("stop", name)
    assert time.monotonic() - start < 3
