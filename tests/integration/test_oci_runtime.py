"""pyd-runtime as an OCI runtime, by itself: a bundle, no engine, no image."""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import wait_until
from tests.support.oci import RUNTIME, Edit, Runtime
from tests.support.world import World


@pytest.fixture
def runtime(world: World, payload: Path) -> Iterator[Runtime]:
    with tempfile.TemporaryDirectory(prefix="pyd-test-oci-") as directory:
        # the root of a user namespace must be able to walk to its rootfs, unlike in pytest's own directories
        Path(directory).chmod(0o755)
        made = Runtime(Path(directory), world.cgroup_parent, payload)
        yield made
        made.finish(world)


def test_run(runtime: Runtime) -> None:
    edit: Edit = lambda spec: spec.update(hostname="inner")  # noqa: E731
    assert runtime.run("a", ["/payload", "print-hostname"], edit).out == "inner"


def test_exit_status(runtime: Runtime) -> None:
    runtime.run("a", ["/payload", "exit", "42"], code=42)


def test_life(runtime: Runtime) -> None:
    """create, state, start, ps, pause, resume, exec, kill, delete: as the runtime specification has it."""
    bundle = runtime.bundle("life", ["/payload", "sleep", "1000"])
    process = subprocess.Popen(
        [RUNTIME, "--root", str(runtime.directory / "state"), "create", "--bundle", str(bundle), "life"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    assert process.wait(20) == 0
    state = runtime.state("life")
    assert (state["status"], state["id"], state["bundle"]) == ("created", "life", str(bundle))
    assert state["ociVersion"].startswith("1.")
    runtime("start", "life")
    assert runtime.state("life")["status"] == "running"
    assert str(state["pid"]) in runtime("ps", "life").stdout
    runtime("pause", "life")
    assert runtime.state("life")["status"] == "paused"
    runtime("resume", "life")
    assert runtime("exec", "life", "/payload", "cwd").out == "/"
    runtime("exec", "life", "/payload", "exit", "9", code=9)
    refused = runtime("delete", "life", code=None)
    assert refused.code != 0 and "running" in refused.stderr
    runtime("kill", "life", "KILL")
    wait_until(lambda: runtime.state("life")["status"] == "stopped", 5)
    runtime("delete", "life")
    assert runtime("state", "life", code=None).code != 0


def test_features(runtime: Runtime) -> None:
    features = json.loads(runtime("features").stdout)
    assert features["ociVersionMin"]
    assert "seccomp" in features["linux"]


def test_default_seccomp_of_pyd(runtime: Runtime) -> None:
    edit: Edit = lambda spec: spec.setdefault("annotations", {}).update({"dev.pyd.seccomp": "default"})  # noqa: E731
    assert "Seccomp:\t2" in runtime.run("a", ["/payload", "caps"], edit).stdout


def test_namespaces_are_all_new(runtime: Runtime) -> None:
    def edit(spec: dict[str, Any]) -> None:
        spec["linux"]["namespaces"] = [
            {"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup", "time", "user")
        ]
        spec["linux"]["uidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        spec["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]

    bundle = runtime.bundle("a", ["/payload", "cat", "/proc/self/uid_map"], edit)
    os.chown(bundle / "rootfs", 100000, 100000)  # its root makes the mount points that are missing
    out = runtime("run", "--bundle", bundle, "a").out.split()
    assert out == ["0", "100000", "65536"]


def test_hooks_run_in_order_with_the_state_on_stdin(runtime: Runtime, tmp_path: Path) -> None:
    log = tmp_path / "hooks.log"
    hook = tmp_path / "hook.sh"
    hook.write_text(f"#!/bin/sh\necho $1 $(cat | tr -d '\\n ' | cut -c1-20) >> {log}\n")
    hook.chmod(0o755)
    kinds = ("prestart", "createRuntime", "poststart", "poststop")

    def edit(spec: dict[str, Any]) -> None:
        spec["hooks"] = {kind: [{"path": str(hook), "args": ["hook.sh", kind]}] for kind in kinds}

    runtime.run("a", ["/payload", "cwd"], edit)
    lines = log.read_text().splitlines()
    assert [line.split()[0] for line in lines] == list(kinds)
    assert all('{"' in line for line in lines)


def test_console_socket_gives_the_terminal(runtime: Runtime, tmp_path: Path) -> None:
    path = tmp_path / "console.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        bundle = runtime.bundle(
            "tty", ["/payload", "print-hostname"], lambda spec: spec["process"].update(terminal=True)
        )
        runtime("create", "--console-socket", path, "--bundle", bundle, "tty")
        connection, _ = listener.accept()
        with connection:
            _, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4))
        (master,) = array.array("i", ancillary[0][2])
        runtime("start", "tty")
        assert os.read(master, 1000)
        os.close(master)


@pytest.mark.parametrize(
    ("edit", "word"),
    [
        (lambda spec: spec.update(process="text"), "struct Process"),
        (lambda spec: spec["process"].update(args=[]), "args"),
        (lambda spec: spec["process"].update(args="text"), "a sequence"),
        (lambda spec: spec["process"].update(cwd="relative"), "cwd"),
        (lambda spec: spec["root"].update(path="nosuch"), "nosuch"),
        (lambda spec: spec["linux"].update(namespaces=[{"type": "nonsense"}]), "nonsense"),
        (
            lambda spec: [
                ns.update(path="/no/such") for ns in spec["linux"]["namespaces"] if ns["type"] == "ipc"
            ],
            "/no/such",
        ),
        (lambda spec: spec["process"]["user"].update(uid=-1), "-1"),
        (lambda spec: spec["process"]["user"].update(uid=4294967296), "4294967296"),
        (
            lambda spec: spec["mounts"].append({"destination": "/x", "type": "nosuchfs", "source": "a"}),
            "nosuchfs",
        ),
        (
            lambda spec: spec["mounts"].append({"destination": "/x", "type": "bind", "source": "/no/such"}),
            "/no/such",
        ),
        (lambda spec: spec["linux"].update(sysctl={"kernel.nonsense": "1"}), "nonsense"),
        (lambda spec: spec.update(ociVersion="9.0.0"), "9.0.0"),
    ],
)
def test_wrong_specs_are_one_sentence(runtime: Runtime, edit: Edit, word: str) -> None:
    result = runtime.run("bad", ["/payload", "cwd"], edit, code=None)
    assert result.code != 0
    assert word in result.stderr, result
    assert "panicked" not in result.stderr
    assert len(result.stderr.strip().splitlines()) <= 3


def test_config_that_is_not_json(runtime: Runtime) -> None:
    bundle = runtime.bundle("bad", ["/payload", "cwd"])
    (bundle / "config.json").write_text("{")
    result = runtime("run", "--bundle", bundle, "bad", code=None)
    assert result.code != 0 and "config.json" in result.stderr


@pytest.mark.parametrize("name", ["", "..", "a/b", "../../etc", "a\nb", "x" * 2000])
def test_names_that_are_no_names(runtime: Runtime, name: str) -> None:
    bundle = runtime.bundle("named", ["/payload", "cwd"])
    assert runtime("run", "--bundle", bundle, name, code=None).code != 0


def test_mounts_in_the_container_only(runtime: Runtime) -> None:
    def edit(spec: dict[str, Any]) -> None:
        spec["mounts"].append(
            {"destination": "/t", "type": "tmpfs", "source": "t", "options": ["size=1m", "noexec"]}
        )

    before = Path("/proc/self/mountinfo").read_text()
    out = runtime.run("a", ["/payload", "mounts"], edit).stdout
    (line,) = [line for line in out.splitlines() if line.split()[4] == "/t"]
    assert "noexec" in line and "size=1024k" in line
    assert Path("/proc/self/mountinfo").read_text() == before


def test_signal_to_all(runtime: Runtime) -> None:
    bundle = runtime.bundle("a", ["/payload", "sleep", "1000"])
    # what runs on keeps the output open, so there is none to collect
    command = [
        RUNTIME,
        "--root",
        str(runtime.directory / "state"),
        "run",
        "--detach",
        "--bundle",
        str(bundle),
        "a",
    ]
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    pid = runtime.state("a")["pid"]
    runtime("kill", "--all", "a", str(int(signal.SIGKILL)))
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or runtime.state("a")["status"] == "stopped", 5)
