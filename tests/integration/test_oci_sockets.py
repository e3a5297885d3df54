"""What a caller hands to pyd-runtime and what it gets back by descriptor: socket activation, readiness of a
service, pidfds. And the control groups of an exec, and a container of a user without privileges.
"""

from __future__ import annotations

import array
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_oci_runtime import runtime as runtime  # the fixture
from tests.support.command import wait_until
from tests.support.oci import RUNTIME, Runtime

SOMEBODY = 65534


def start(runtime: Runtime, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A shell that becomes the runtime: `$R` is it with its `--root`."""
    return subprocess.run(
        ["sh", "-c", script.replace("$R", f"exec {RUNTIME} --root {runtime.directory}/state")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        env=os.environ | environment,
        check=False,
    )


def test_sockets_of_an_activation_arrive(runtime: Runtime) -> None:
    bundle = runtime.bundle("a", ["/payload", "env"])
    script = f"export LISTEN_PID=$$ LISTEN_FDS=2; $R run --bundle {bundle} a 3</dev/null 4</dev/zero"
    lines = start(runtime, script).stdout.splitlines()
    assert "LISTEN_FDS=2" in lines and "LISTEN_PID=1" in lines
    bundle = runtime.bundle("b", ["/payload", "fds"])
    shown = start(runtime, script.replace(f"{bundle.parent}/a a", f"{bundle} b")).stdout
    assert "/dev/null" in shown and "/dev/zero" in shown


def test_sockets_for_another_process_do_not(runtime: Runtime) -> None:
    bundle = runtime.bundle("a", ["/payload", "env"])
    script = f"export LISTEN_PID=1 LISTEN_FDS=2; $R run --bundle {bundle} a 3</dev/null 4</dev/zero"
    assert "LISTEN_FDS" not in start(runtime, script).stdout
    bundle = runtime.bundle("b", ["/payload", "fds"])
    shown = start(runtime, script.replace(f"{bundle.parent}/a a", f"{bundle} b")).stdout
    assert "/dev/zero" not in shown


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """A service manager's end of $NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.settimeout(10)
        yield made


def heard(manager: socket.socket) -> list[str]:
    """What was said, up to the barrier, which is answered by closing its pipe."""
    lines: list[str] = []
    while True:
        data, ancillary, _, _ = manager.recvmsg(4096, socket.CMSG_SPACE(4))
        for _, _, fds in ancillary:
            for fd in array.array("i", fds):
                os.close(fd)
        if data == b"BARRIER=1":
            return lines
        lines.append(data.decode().strip())


def quiet_create(runtime: Runtime, bundle: Path, name: str, **environment: str) -> None:
    """`create`, without holding the container's output."""
    subprocess.run(
        [RUNTIME, "--root", str(runtime.directory / "state"), "create", "--bundle", str(bundle), name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=os.environ | environment,
        check=True,
    )


def test_readiness_after_create_and_start(runtime: Runtime, manager: socket.socket) -> None:
    """`start` returns when the container is ready, and the host hears READY and the pid, and nothing else."""
    bundle = runtime.bundle("a", ["/payload", "notify", "READY=1\nMAINPID=1\nFDSTORE=1"])
    address = manager.getsockname()
    quiet_create(runtime, bundle, "a", NOTIFY_SOCKET=address)
    pid = runtime.state("a")["pid"]
    process = subprocess.Popen(
        [RUNTIME, "--root", str(runtime.directory / "state"), "start", "a"],
        env=os.environ | {"NOTIFY_SOCKET": address},
    )
    assert heard(manager) == ["READY=1", f"MAINPID={pid}"]
    assert process.wait(10) == 0


def test_readiness_of_run(runtime: Runtime, manager: socket.socket) -> None:
    """In the foreground, the runtime is what the manager watches."""
    bundle = runtime.bundle("a", ["/payload", "notify", "READY=1"])
    process = subprocess.Popen(
        [RUNTIME, "--root", str(runtime.directory / "state"), "run", "--bundle", str(bundle), "a"],
        env=os.environ | {"NOTIFY_SOCKET": manager.getsockname()},
    )
    assert heard(manager) == ["READY=1", f"MAINPID={process.pid}"]
    assert process.wait(10) == 0


def test_a_container_that_never_gets_ready(runtime: Runtime, manager: socket.socket) -> None:
    bundle = runtime.bundle("a", ["/payload", "exit", "3"])
    quiet_create(runtime, bundle, "a", NOTIFY_SOCKET=manager.getsockname())
    assert start(runtime, "$R start a", NOTIFY_SOCKET=manager.getsockname()).returncode == 0
    assert wait_until(lambda: runtime.state("a")["status"] == "stopped", 5)


def pidfd_from(listener: socket.socket) -> int:
    connection, _ = listener.accept()
    with connection:
        _, ancillary, _, _ = connection.recvmsg(64, socket.CMSG_SPACE(4))
    (fd,) = array.array("i", ancillary[0][2])
    return fd


def pid_of(fd: int) -> int:
    lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pid:"))


def test_pidfds(runtime: Runtime, tmp_path: Path) -> None:
    path = tmp_path / "pidfd"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(10)
        bundle = runtime.bundle("a", ["/payload", "sleep", "1000"])
        root = ["--root", str(runtime.directory / "state")]
        command = [
            RUNTIME,
            *root,
            "run",
            "--detach",
            "--pidfd-socket",
            str(path),
            "--bundle",
            str(bundle),
            "a",
        ]
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
        init = pidfd_from(listener)
        assert pid_of(init) == runtime.state("a")["pid"]
        file = tmp_path / "pid"
        words = ["exec", "--detach", "--pid-file", str(file), "--pidfd-socket", str(path), "a"]
        subprocess.run(
            [RUNTIME, *root, *words, "/payload", "sleep", "5"], stdout=subprocess.DEVNULL, check=True
        )
        process = pidfd_from(listener)
        assert pid_of(process) == int(file.read_text())
        os.close(init)
        os.close(process)


def test_exec_into_a_group_below(runtime: Runtime) -> None:
    bundle = runtime.bundle("a", ["/payload", "sleep", "1000"])
    quiet_create(runtime, bundle, "a")
    runtime("start", "a")
    base = json.loads((bundle / "config.json").read_text())["linux"]["cgroupsPath"]
    pure = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    top = Path("/sys/fs/cgroup") if pure else Path("/sys/fs/cgroup/pids")
    (top / f".{base}" / "below").mkdir()
    option = "below" if pure else "pids:below"
    shown = runtime("exec", "--cgroup", option, "a", "/payload", "cat", "/proc/self/cgroup").stdout
    assert any(line.endswith("/below") for line in shown.splitlines()), shown
    refused = runtime("exec", "--cgroup", option.replace("below", "nosuch"), "a", "/payload", "cwd", code=255)
    assert "nosuch" in refused.stderr
    runtime("exec", "--cgroup", option.replace("below", "../.."), "a", "/payload", "cwd", code=255)


def as_somebody(*command: str, **environment: str) -> str:
    """What a command of a user without privileges prints."""
    done = subprocess.run(
        ["setpriv", f"--reuid={SOMEBODY}", f"--regid={SOMEBODY}", "--clear-groups", *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        env={"PATH": os.environ["PATH"]} | environment,
        check=False,
    )
    assert done.returncode == 0, done
    return done.stdout


def test_a_user_without_privileges(runtime: Runtime) -> None:
    """The bundle of `spec --rootless`, the state below $XDG_RUNTIME_DIR, no control groups."""
    bundle = runtime.directory / "rootless"
    (bundle / "rootfs").mkdir(parents=True)
    shutil.copy(runtime.payload, bundle / "rootfs/payload")
    program = bundle / "pyd-runtime"
    shutil.copy(RUNTIME, program)
    (bundle / "run").mkdir()
    for path in (bundle, bundle / "rootfs", bundle / "run"):
        os.chown(path, SOMEBODY, SOMEBODY)
    xdg = {"XDG_RUNTIME_DIR": str(bundle / "run")}
    as_somebody(str(program), "spec", "--rootless", "--bundle", str(bundle), **xdg)
    config = bundle / "config.json"
    spec: dict[str, Any] = json.loads(config.read_text())
    spec["process"] |= {"args": ["/payload", "cat", "/proc/self/uid_map"], "terminal": False}
    config.write_text(json.dumps(spec))
    shown = as_somebody(str(program), "run", "--bundle", str(bundle), "mine", **xdg)
    assert shown.split() == ["0", str(SOMEBODY), "1"]
    assert as_somebody(str(program), "list", "-q", **xdg) == ""
    # a cleaner of $XDG_RUNTIME_DIR spares what has the sticky bit
    assert (bundle / "run/pyd-runtime").stat().st_mode & 0o7777 == 0o1700
    # and without a directory of one's own, what is missing is named
    done = subprocess.run(
        ["setpriv", f"--reuid={SOMEBODY}", f"--regid={SOMEBODY}", "--clear-groups", str(program), "list"],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"]},
        check=False,
    )
    assert done.returncode == 1 and "XDG_RUNTIME_DIR is not set (give --root)" in done.stderr
