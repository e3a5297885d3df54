"""`pyd-runtime init`, the pid 1 of a container started with `--init`."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest

from tests.native.shim import Shim, Shims, runtime, script


def init(shims: Shims, *args: str, **options: Any) -> Shim:
    """Starts `args` under the init, which is bound into the container as the engine does it."""

    def bind(config: Any) -> None:
        options = ["bind", "ro", "nosuid", "nodev"]
        target = {"destination": "/dev/init", "type": "bind", "source": runtime(), "options": options}
        config["mounts"].append(target)

    return shims("/dev/init", "init", "--", *args, edit=bind, **options)


@pytest.mark.parametrize(
    ("command", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137), ("kill -34 $$", 162)]
)
def test_ends_with_the_command_s_code(shims: Shims, command: str, code: int) -> None:
    assert init(shims, "sh", "-c", command).wait()["exit_code"] == code


@pytest.mark.parametrize(("command", "code"), [("nothing", 127), ("/bin/plain", 126)])
def test_command_that_cannot_run(shims: Shims, command: str, code: int) -> None:
    shim = init(shims, command)
    assert shim.stream
    _, err, exit = shim.stream.finish()
    assert exit["exit_code"] == code
    assert command.encode() in err


def test_default_actions_work_again(shims: Shims) -> None:
    """A program without handler dies by SIGTERM, which it would not as pid 1."""
    shim = init(shims, "sleep", "60")
    time.sleep(0.1)
    shim.ask("kill", signal=int(signal.SIGTERM))
    assert shim.wait()["exit_code"] == 143


def test_signals_are_passed_on(shims: Shims) -> None:
    loop = "while true; do sleep 0.05; done"
    shim = init(shims, *script("trap 'echo usr2' USR2", "trap 'exit 9' TERM", "echo ready", loop))
    assert shim.stream
    shim.stream.until(b"ready")
    shim.ask("kill", signal=int(signal.SIGUSR2))
    shim.stream.until(b"usr2")
    shim.ask("kill", signal=int(signal.SIGTERM))
    assert shim.wait()["exit_code"] == 9


def test_orphans_are_reaped(shims: Shims) -> None:
    orphans = "i=0; while [ $i -lt 50 ]; do i=$((i+1)); (sleep 0.01 &); done; sleep 0.5"
    shim = init(shims, *script(orphans, "echo /proc/[0-9]*"))
    assert shim.stream
    # init, the shell
    assert len(shim.stream.finish()[0].split()) == 2


def test_the_command_gets_clean_signals(shims: Shims) -> None:
    shim = init(shims, "cat", "/proc/self/status")
    assert shim.stream
    out = shim.stream.finish()[0].decode()
    status = dict(line.split(":\t", 1) for line in out.splitlines())
    assert int(status["SigBlk"], 16) == int(status["SigIgn"], 16) == 0


def test_control_c_reaches_the_command_alone(shims: Shims) -> None:
    lines = script("trap 'echo interrupted; exit 5' INT", "echo ready", "while true; do sleep 0.05; done")
    shim = init(shims, *lines, tty=True, stdin=True)
    assert shim.stream
    shim.stream.until(b"ready")
    shim.stream.send(b"\x03")
    out, _, exit = shim.stream.finish()
    assert (out.count(b"interrupted"), exit["exit_code"]) == (1, 5)
