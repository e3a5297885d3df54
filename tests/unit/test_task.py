"""Talking to a monitor that does not behave."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyd.errors import Conflict, Unavailable
from pyd.runtime import bundle, task


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[socket.socket]:
    """A monitor's control socket in a bundle, which accepts and says nothing by itself."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "shim.sock"))
        server.listen()
        yield server


def test_a_monitor_that_hangs_is_named(
    tmp_path: Path, monitor: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "_ANSWER_SECONDS", 0.05)
    with pytest.raises(Unavailable, match=r"monitor .* does not answer") as caught:
        task.Task(str(tmp_path)).call("exec")
    assert "kill the monitor" in (caught.value.hint or "")


def test_waiting_for_the_end_has_no_bound(
    tmp_path: Path, monitor: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "_ANSWER_SECONDS", 0.05)
    with task.Task(str(tmp_path)).ask("wait") as waiting:
        connection, _ = monitor.accept()
        assert waiting.wait(0.1) is None
        connection.sendall(b'{"ok":true,"exit":{"exit_code":3}}\n')
        answer = waiting.wait()
        connection.close()
    assert answer is not None
    assert answer["exit"]["exit_code"] == 3


def test_a_monitor_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="not running"):
        task.Task(str(tmp_path)).call("state")
    with pytest.raises(Conflict, match="not running"):
        task.Task(str(tmp_path / "nosuch")).call("state")


def test_half_a_bundle_is_removed(tmp_path: Path) -> None:
    """Who made it may have been killed after any of its steps."""
    halves = ("", "rootfs", "rootfs config.json", "config.json shim.lock")
    for number, names in enumerate(halves):
        directory = tmp_path / str(number)
        directory.mkdir()
        for name in names.split():
            if name == "rootfs":
                (directory / name).mkdir()
            else:
                (directory / name).touch()
        bundle.remove(str(directory))
        assert not directory.exists()
        bundle.remove(str(directory))
