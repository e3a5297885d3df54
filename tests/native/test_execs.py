"""Additional processes in a running container."""

from __future__ import annotations

import socket
import time

import pytest

from tests.native.shim import (
    ShimError,
    Shims,
    process,
    script,
)


def test_exec(shims: Shims) -> None:
    shim = shims("sleep", "60")
    out, err, exit = shim.exec(*script("echo out; echo err >&2; exit 5")).finish()
    assert (out, err, exit) == (b"out\n", b"err\n", {"exit_code": 5})
    assert shim.ask("exec_wait", exec_id="e") == {"exit_code": 5}
    (state,) = shim.ask("state")["execs"]
    assert (state["id"], state["running"], state["exit_code"]) == ("e", False, 5)


def test_exec_with_stdin(shims: Shims) -> None:
    shim = shims("sleep", "60")
    stream = shim.exec("wc", "-c", stdin=True)
    stream.send(b"x" * 300_000)
    stream.end_stdin()
    assert stream.finish()[0].strip() == b"300000"
    stream = shim.exec("cat", stdin=True)
    stream.socket.shutdown(socket.SHUT_WR)
    assert stream.finish() == (b"", b"", {"exit_code": 0})


def test_exec_outlives_its_client_but_its_stdin_ends(shims: Shims) -> None:
    shim = shims("sleep", "60")
    stream = shim.exec(*script("cat >/dev/null; exit 9"), stdin=True)
    stream.close()
    assert shim.ask("exec_wait", exec_id="e") == {"exit_code": 9}


def test_exec_with_terminal(shims: Shims) -> None:
    shim = shims("sleep", "60")
    stream = shim.exec(*script("read line; stty size; echo $line; exit 4"), tty=True, stdin=True, exec_id="t")
    shim.ask("resize", height=11, width=22, exec_id="t")
    stream.send(b"typed\n")
    out, _, exit = stream.finish()
    assert b"11 22\r\ntyped\r\n" in out
    assert exit == {"exit_code": 4}
    with pytest.raises(ShimError, match="no terminal"):
        shim.ask("resize", height=1, width=1)


def test_detached_exec(shims: Shims) -> None:
    shim = shims("sleep", "60")
    started = shim.ask("exec", exec_id="d", process=process(*script("echo lost; exit 6")), detach=True)
    assert started["pid"] > 0
    assert shim.ask("exec_wait", exec_id="d") == {"exit_code": 6}
    with pytest.raises(ShimError) as raised:
        shim.ask("exec_wait", exec_id="unknown")
    assert raised.value.error["status"] == 404


@pytest.mark.parametrize(("command", "code"), [("nothing", 127), ("/bin/plain", 126)])
def test_exec_that_cannot_run(shims: Shims, command: str, code: int) -> None:
    shim = shims("sleep", "60")
    with pytest.raises(ShimError) as raised:
        shim.exec(command)
    assert raised.value.error["exit_code"] == code
    assert shim.ask("state")["execs"] == []


def test_exec_does_not_wait_for_its_grandchildren(shims: Shims) -> None:
    shim = shims("sleep", "60")
    begin = time.monotonic()
    assert shim.exec(*script("sleep 50 & echo started")).finish()[0] == b"started\n"
    assert time.monotonic() - begin < 5


def test_execs_end_with_their_container(shims: Shims) -> None:
    shim = shims("sleep", "60")
    streams = [shim.exec("sleep", "60", exec_id=f"e{n}") for n in range(3)]
    shim.ask("kill", signal=9)
    assert [stream.finish()[2] for stream in streams] == [{"exit_code": 137}] * 3
    assert shim.wait()["exit_code"] == 137
