"""Clients that mean harm or know no better, and what a monitor costs."""

from __future__ import annotations

import json
import os
import resource
import time
from pathlib import Path
from typing import Any

import pytest

from tests.native.shim import (
    ShimError,
    Shims,
    Stream,
    answer,
    script,
)


def test_hostile_clients(shims: Shims) -> None:
    shim = shims("sleep", "60")
    for text in (
        b"\n",
        b"{}\n",
        b"\xff\x00\n",
        b'{"op":"exec"}\n',
        b"[" * 200_000 + b"\n",
        b"GET / HTTP/1.1\n",
    ):
        with shim.connect() as connection:
            connection.sendall(text)
            assert json.loads(connection.makefile("rb").readline())["error"]["status"] == 400
    with shim.connect() as connection:
        try:
            for _ in range(64):
                connection.sendall(b"x" * 65536)
        except (BrokenPipeError, ConnectionResetError):
            pass
    stream = shim.attach(stdin=True)
    stream.socket.sendall(b"\x09" * 100)
    with pytest.raises((AssertionError, ConnectionResetError)):
        stream.finish()
    silent = [shim.connect() for _ in range(100)]
    assert shim.ask("state")["status"] == "running"
    for connection in silent:
        connection.close()
    with pytest.raises(ShimError) as raised:
        shim.exec("true", exec_id="x" * 1000)
    assert raised.value.error["status"] == 400


def test_frames_right_behind_the_request(shims: Shims) -> None:
    shim = shims("cat", stdin=True)
    with shim.connect() as connection:
        request = b'{"op":"attach","stdin":true,"stdout":true,"stderr":true}\n'
        connection.sendall(request + b"\x00\0\0\0\x00\0\0\x03hi\n" + b"\x00\0\0\0\0\0\0\0")
        connection.settimeout(10)
        assert json.loads(connection.makefile("rb", buffering=0).readline()) == {"ok": True, "tty": False}
        assert Stream(connection).finish()[0] == b"hi\n"


def test_memory_of_a_monitor(shims: Shims) -> None:
    shim = shims("sleep", "60")
    shim.exec("true").finish()
    # what ten monitors do not share; the pages of the program are shared
    assert shim.memory("Anonymous") < 400


def test_update(shims: Shims) -> None:
    shim = shims("sleep", "60")
    shim.ask("update", resources={"pids": {"limit": 50}})
    with shim.connect() as connection, pytest.raises(ShimError):
        answer(connection, {"op": "update", "resources": {"pids": "many"}})


def test_out_of_memory_is_noticed(shims: Shims) -> None:
    def limit(config: Any) -> None:
        config["linux"]["resources"] = {"memory": {"limit": 16 << 20, "swap": 16 << 20}}

    shim = shims(*script("x=$(yes | head -c 100000000)"), edit=limit)
    exit = shim.wait()
    assert exit["oom_killed"] is True
    assert exit["exit_code"] != 0


def test_more_clients_than_it_serves_at_a_time(shims: Shims) -> None:
    shim = shims("sleep", "60")
    crowd = [shim.connect() for _ in range(400)]
    for connection in crowd:
        connection.close()
    assert shim.ask("state")["status"] == "running"


def test_no_descriptor_left(shims: Shims) -> None:
    """A connection that cannot be accepted waits, and does not keep the monitor busy."""
    shim = shims("sleep", "60")
    used = len(os.listdir(f"/proc/{shim.child.pid}/fd"))
    resource.prlimit(shim.child.pid, resource.RLIMIT_NOFILE, (used + 5, used + 5))
    crowd = [shim.connect() for _ in range(20)]
    before = cpu_ticks(shim.child.pid)
    time.sleep(0.6)
    assert cpu_ticks(shim.child.pid) - before < 10
    for connection in crowd:
        connection.close()
    assert shim.ask("state")["status"] == "running"


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
