"""From the start of a monitor to its exit record."""

from __future__ import annotations

import json

import pytest

from tests.native.shim import (
    ShimError,
    Shims,
    host_pid,
    script,
)
from tests.support.world import World


@pytest.mark.parametrize(
    ("command", "code", "number"),
    [("exit 0", 0, None), ("exit 3", 3, None), ("kill -9 $$", 137, 9), ("kill -34 $$", 162, 34)],
)
def test_exit_codes(shims: Shims, command: str, code: int, number: int | None) -> None:
    # pid 1 of a namespace cannot be killed from inside: a host pid namespace gives the plain case
    shim = shims("/bin/sh", "-c", command, edit=host_pid)
    assert shim.stream
    _, _, exit = shim.stream.finish()
    assert shim.wait() == exit
    assert (exit["exit_code"], exit["signal"], exit["oom_killed"]) == (code, number, False)
    assert exit["pid"] == shim.pid
    assert exit["started_at"] <= exit["finished_at"]
    assert exit["error"] == ""


def test_nothing_is_left_but_log_and_record(shims: Shims, world: World) -> None:
    shim = shims(*script("echo out; echo err >&2"), shim_json={"durable": True})
    assert shim.stream
    assert shim.stream.finish()[:2] == (b"out\n", b"err\n")
    shim.wait()
    assert sorted(path.name for path in shim.directory.iterdir()) == ["exit.json", "run", "x-json.log"]
    assert sorted(path.name for path in shim.run_dir.iterdir()) == ["config.json", "shim.json", "shim.lock"]
    assert world.cgroups() == []


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("nothing", 127, 'exec: "nothing": executable file not found in $PATH'),
        ("/bin/nothing", 127, 'exec: "/bin/nothing": stat /bin/nothing: no such file or directory'),
        ("/bin/plain", 126, 'exec: "/bin/plain": permission denied'),
        ("/tmp", 126, 'exec: "/tmp": '),
    ],
)
def test_command_that_cannot_run(shims: Shims, command: str, code: int, message: str, world: World) -> None:
    with pytest.raises(ShimError) as raised:
        shims(command)
    error = raised.value.error
    assert error["exit_code"] == code
    assert message in error["message"]
    directory = shims.last
    assert not (directory / "exit.json").exists()
    assert not (directory / "run/shim.sock").exists()
    assert world.cgroups() == []


def test_bad_documents(shims: Shims) -> None:
    with pytest.raises(ShimError, match="run_dir and exit_file must be absolute"):
        shims("true", shim_json={"run_dir": "relative"})
    with pytest.raises(ShimError) as raised:
        shims("true", log={"path": "/proc/nowhere/log"})
    assert raised.value.error["stage"] == "log"
    directory = shims.last
    (directory / "run/config.json").write_text("{")
    with pytest.raises(ShimError) as raised:
        shims.spawn(directory)
    assert raised.value.error["exit_code"] == 125


def test_second_monitor_is_refused(shims: Shims) -> None:
    shim = shims("sleep", "60")
    with pytest.raises(ShimError, match="already running"):
        shims.spawn(shim.directory)
    assert shim.ask("state")["status"] == "running"
    shim.ask("kill", signal=9)
    assert shim.wait()["exit_code"] == 137


def test_wait_and_state(shims: Shims) -> None:
    shim = shims(*script("read line"), stdin=True)
    assert shim.stream
    state = shim.ask("state")
    assert state == {
        "pid": shim.pid, "status": "running", "oom_killed": False, "log_dropped": 0, "execs": []
    }  # fmt: skip
    with shim.connect() as waiter:
        waiter.sendall(b'{"op":"wait"}\n')
        shim.stream.end_stdin()
        line = json.loads(waiter.makefile().readline())
    assert line["exit"] == shim.wait()
    assert line["exit"]["exit_code"] == 1


def test_record_that_cannot_be_written_is_in_the_run_directory(shims: Shims) -> None:
    """As on a full disk; here it is the name that the file system refuses."""
    shim = shims(*script("exit 4"), shim_json={"exit_file": f"/tmp/{'x' * 250}.json"})
    assert shim.stream
    exit = shim.stream.finish()[2]
    assert shim.child.wait(20) == 0
    assert exit["exit_code"] == 4
    assert json.loads((shim.run_dir / "exit.json").read_text()) == exit
