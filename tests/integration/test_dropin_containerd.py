"""containerd on pyd-runtime: its runc v2 shim with `--runc-binary`, by its own client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import wait_until
from tests.support.containerd import Containerd
from tests.support.world import World

LOOP = ("sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.05; done")


@pytest.fixture(scope="module")
def daemon(world: World, layouts: dict[str, Path]) -> Iterator[Containerd]:
    made = Containerd(world.directory / "containerd", f"{world.cgroup_parent}/containerd")
    try:
        made.load(layouts["busybox"], "busybox")
        yield made
    finally:
        made.close()


@pytest.fixture
def ctr(daemon: Containerd) -> Iterator[Containerd]:
    yield daemon
    daemon.remove_containers()


def test_it_is_pyd_runtime_that_runs(ctr: Containerd) -> None:
    """Its state directory has the container, with the fields that only pyd-runtime writes."""
    ctr.run("up", ["-d"], *LOOP)
    record = json.loads(ctr.daemon.sh(f"cat {ctr.state}/default/up/state.json"))
    assert record["id"] == "up" and "start_time" in record and "keep_keyring" in record
    assert "sh -c trap" in ctr.daemon.sh(f"tr '\\0' ' ' < /proc/{record['pid']}/cmdline")


def test_run(ctr: Containerd) -> None:
    assert ctr.output("a", [], "echo hello") == "hello"
    assert ctr.run("b", ["--rm"], "sh", "-c", "exit 7", code=7).stdout == ""
    assert ctr.output("c", ["--env", "A=1", "--cwd", "/tmp"], "echo $A $PWD") == "1 /tmp"


def test_a_command_that_is_not_there(ctr: Containerd) -> None:
    refused = ctr.run("a", ["--rm"], "nosuch", code=1)
    assert 'exec: "nosuch": executable file not found in $PATH' in refused.stderr
    assert ctr("container", "ls", "-q").out == ""


def test_options(ctr: Containerd, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("from the host\n")
    mount = f"type=bind,src={tmp_path},dst=/x,options=rbind:ro"
    assert ctr.output("a", ["--mount", mount], "cat /x/f") == "from the host"
    assert "Read-only" in ctr.output("b", ["--read-only"], "touch /x 2>&1; true")
    shown = ctr.output("c", ["--cap-add", "CAP_NET_ADMIN"], "grep -E 'CapEff|NoNew' /proc/self/status")
    capabilities, no_new_privileges = [line.split()[1] for line in shown.splitlines()]
    assert int(capabilities, 16) & 1 << 12 and no_new_privileges == "1"
    assert ctr.output("d", ["--seccomp"], "grep Seccomp: /proc/self/status").split()[1] == "2"


def test_terminal(ctr: Containerd) -> None:
    words = [*ctr.run_words("tty", "--rm", "--tty"), "docker.io/library/busybox:latest", "tty", "sh"]
    terminal = ctr.terminal(*words)
    terminal.expect("# ")
    terminal.write("tty; echo $((40+2))\n")
    assert "/dev/pts/0" in terminal.expect("42")
    second = ctr.terminal("task", "exec", "--exec-id", "e", "--tty", "tty", "sh")
    second.expect("# ")
    second.write("tty; echo $((40+2))\n")
    assert "/dev/pts/1" in second.expect("42")
    second.write("exit 4\n")
    assert second.close() == 4
    terminal.write("exit 5\n")
    assert terminal.close() == 5


def test_exec(ctr: Containerd) -> None:
    ctr.run("up", ["-d"], *LOOP)
    assert ctr.exec_output("up", "a", "cat /proc/1/comm") == "sh"
    assert ctr.exec_output("up", "b", "id -u", "--user", "33", "--cwd", "/tmp") == "33"
    ctr("task", "exec", "--exec-id", "c", "up", "sh", "-c", "exit 9", code=9)
    refused = ctr("task", "exec", "--exec-id", "d", "up", "nosuch", code=1)
    assert 'exec: "nosuch": executable file not found in $PATH' in refused.stderr


def test_life(ctr: Containerd) -> None:
    ctr.run("up", ["-d"], *LOOP)
    assert ctr.status("up") == "RUNNING"
    assert len(ctr("task", "ps", "up").lines) >= 2
    ctr("task", "pause", "up")
    assert ctr.status("up") == "PAUSED"
    assert "paused" in ctr("task", "exec", "--exec-id", "a", "up", "true", code=1).stderr
    ctr("task", "resume", "up")
    assert ctr.status("up") == "RUNNING"
    ctr("task", "kill", "-s", "SIGTERM", "up")
    wait_until(lambda: ctr.status("up") == "STOPPED", 5)
    assert "non-zero exit code 3" in ctr("task", "rm", "up").stderr


def test_kill_of_all(ctr: Containerd) -> None:
    ctr.run("up", ["-d"], "sh", "-c", "sleep 1000 & sleep 1000")
    ctr("task", "kill", "--all", "-s", "SIGKILL", "up")
    wait_until(lambda: ctr.status("up") == "STOPPED", 5)


def test_metrics_and_limits(ctr: Containerd) -> None:
    ctr.run("up", ["-d", "--memory-limit", str(32 << 20), "--cpus", "0.5"], *LOOP)
    shown = json.loads(ctr("task", "metrics", "--format", "json", "up").stdout)
    memory = shown["memory"]
    limit = memory["usage"]["limit"] if isinstance(memory["usage"], dict) else memory["usage_limit"]
    assert int(limit) == 32 << 20


def test_checkpoint_is_refused_and_the_container_goes_on(ctr: Containerd) -> None:
    ctr.run("up", ["-d"], *LOOP)
    refused = ctr("task", "checkpoint", "up", code=1)
    assert "checkpoint is not supported by pyd-runtime" in refused.stderr
    assert ctr.status("up") == "RUNNING"
