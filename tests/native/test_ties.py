"""`tied` in shim.json: a container that ends with its starter, and with nothing else."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.native.shim import STDOUT, Shim, ShimError, Shims, Stream, host_pid, is_running, runtime, script
from tests.support.command import wait_until
from tests.support.world import World

COUNT = ("i=0; while true; do i=$((i+1)); echo $i; sleep 0.01; done",)
TIED = {"tied": True}


def start(shims: Shims, *lines: str, **options: Any) -> tuple[Shim, Stream]:
    shim = shims(*script(*lines), shim_json=TIED, log={"driver": "none"}, **options)
    assert shim.stream
    return shim, shim.stream


def assert_ends(shim: Shim, world: World) -> None:
    """Killed soon, with a record, and nothing left."""
    begin = time.monotonic()
    record = shim.wait()
    assert time.monotonic() - begin < 1
    assert (record["exit_code"], record["signal"], record["error"]) == (137, 9, "")
    assert not is_running(shim.pid)
    assert world.cgroups() == []


def test_killed_starter_takes_the_container_with_it(shims: Shims, world: World) -> None:
    """A starter that is another process, so that the kernel closes its end; a second client hears the end."""
    shim, stream = start(shims, "sleep 100 & setsid sleep 100 & sleep 100")
    starter = subprocess.Popen(["sleep", "100"], pass_fds=[stream.socket.fileno()])
    stream.close()
    with shim.connect() as waiting:
        waiting.sendall(b'{"op":"wait"}\n')
        time.sleep(0.1)
        assert shim.ask("state")["status"] == "running"
        starter.send_signal(signal.SIGKILL)
        starter.wait()
        assert json.loads(waiting.makefile().readline())["exit"]["exit_code"] == 137
    assert_ends(shim, world)


def never_reads_stdin(stream: Stream) -> None:
    stream.socket.settimeout(0.2)
    with pytest.raises(TimeoutError):
        while True:
            stream.send(b"x" * 60000)


def never_reads_output(stream: Stream) -> None:
    time.sleep(0.1)


def breaks_the_protocol(stream: Stream) -> None:
    stream.socket.sendall(b"\x09" * 100)
    with pytest.raises((AssertionError, ConnectionResetError)):
        stream.finish()


def shuts_down_and_leaves(stream: Stream) -> None:
    stream.socket.shutdown(socket.SHUT_WR)
    stream.until(b"1\n")


@pytest.mark.parametrize(
    ("lines", "act"),
    [
        (COUNT, shuts_down_and_leaves),
        (COUNT, breaks_the_protocol),
        (("yes",), never_reads_output),
        (("sleep 100",), never_reads_stdin),
    ],
)
def test_starter_leaves(
    shims: Shims, world: World, lines: tuple[str, ...], act: Callable[[Stream], None]
) -> None:
    """Whatever waits in the two directions of the connection."""
    shim, stream = start(shims, *lines, stdin=True, once=False)
    act(stream)
    stream.close()
    assert_ends(shim, world)


def test_frozen_container(shims: Shims, world: World) -> None:
    """A process in a v1 freezer does not die before it is thawed."""
    shim, stream = start(shims, *COUNT)
    stream.until(b"3\n")
    shim.ask("pause")
    stream.close()
    assert_ends(shim, world)


def test_without_a_pid_namespace(shims: Shims, world: World) -> None:
    """No process dies by the death of the first one: all are found by their group, an exec too."""
    shim, stream = start(shims, "sleep 100 & setsid sleep 100 & echo $!; exec sleep 100", edit=host_pid)
    child = int(stream.until(b"\n"))
    extra = shim.exec(*script("echo here; exec sleep 100"))
    extra.until(b"here\n")
    assert is_running(child)
    stream.close()
    assert_ends(shim, world)
    assert not is_running(child)
    assert extra.finish()[2]["exit_code"] == 137


def test_end_of_stdin_is_not_the_end(shims: Shims) -> None:
    shim, stream = start(shims, "cat; sleep 0.3; echo after", stdin=True)
    stream.send(b"in\n")
    stream.socket.shutdown(socket.SHUT_WR)
    assert stream.finish() == (b"in\nafter\n", b"", shim.wait())
    assert shim.wait()["exit_code"] == 0


def test_another_client_s_end_is_not_the_end(shims: Shims) -> None:
    shim, stream = start(shims, *COUNT)
    shim.attach().close()
    shim.ask("state")
    shim.connect().close()
    stream.until(b"20\n")
    assert is_running(shim.pid)


def test_without_the_tie_the_container_goes_on(shims: Shims) -> None:
    shim = shims(*script(*COUNT))
    assert shim.stream
    shim.stream.close()
    time.sleep(0.2)
    assert shim.ask("state")["status"] == "running"


def test_exit_of_a_tied_container(shims: Shims) -> None:
    """The starter that waits for it gets all of the output, and then the record."""
    shim, stream = start(shims, "seq 1 20000; exit 7")
    stream.finish()
    assert stream.output[STDOUT].endswith(b"\n20000\n")
    assert shim.wait()["exit_code"] == 7


def test_starter_gone_before_the_container_ran(shims: Shims, world: World) -> None:
    """Here while a hook holds the start; nothing of the container's own is executed then."""
    made = shims.directory / "made"

    def hold(config: Any) -> None:
        slow = {"path": "/bin/sh", "args": ["sh", "-c", f"sleep 0.3; touch {made}"], "env": ["PATH=/bin"]}
        config["hooks"] = {"createRuntime": [slow]}

    bundle = shims.prepare(*script("echo ran"), edit=hold, shim_json=TIED)
    ours, theirs = socket.socketpair()
    reader, writer = os.pipe()
    ends = (writer, theirs.fileno())
    command = [runtime(), "shim", "--bundle", str(bundle / "run"), "--report-fd", str(writer)]
    child = subprocess.Popen([*command, "--attach-fd", str(theirs.fileno())], pass_fds=ends, env={})
    shims.started.append(child)
    theirs.close()
    os.close(writer)
    wait_until(lambda: world.cgroups() != [], 5)
    ours.close()
    with open(reader, "rb") as pipe:
        error = json.loads(pipe.read())["error"]
    assert error["message"] == "the starter of the container has gone before it ran"
    assert child.wait(5) == 1
    assert made.exists()
    assert not (bundle / "x-json.log").read_text()
    assert not (bundle / "exit.json").exists()
    assert world.cgroups() == []


def test_tie_to_nobody_is_refused(shims: Shims) -> None:
    with pytest.raises(ShimError, match="--attach-fd"):
        shims("true", attach=False, shim_json=TIED)


def test_killed_monitor(shims: Shims, world: World) -> None:
    shim, _ = start(shims, "sleep 100 & sleep 100")
    shim.child.kill()
    wait_until(lambda: not is_running(shim.pid), 1)
