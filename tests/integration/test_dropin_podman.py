"""Podman on pyd-runtime, as the default runtime of its configuration."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import wait_until
from tests.support.dockerd import RUNTIME
from tests.support.podman import Podman
from tests.support.registry import skopeo
from tests.support.world import World

LOOP = ("busybox", "sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.05; done")


@pytest.fixture(scope="module")
def engine(world: World, layouts: dict[str, Path]) -> Iterator[Podman]:
    made = Podman(world.directory / "podman", f"{world.cgroup_parent}/podman")
    try:
        made.load(layouts["busybox"], "busybox")
        yield made
    finally:
        made.close()


@pytest.fixture
def podman(engine: Podman) -> Iterator[Podman]:
    yield engine
    engine.remove_containers()


def test_it_is_pyd_runtime_that_runs(podman: Podman) -> None:
    podman.run("-d", "--name", "up", *LOOP)
    shown = podman.inspect("up")
    assert shown["OCIRuntime"] == "pyd"
    # its state directory has the container, with the fields that only pyd-runtime writes
    record = json.loads(podman.daemon.sh(f"cat /run/pyd-runtime/{shown['Id']}/state.json"))
    assert record["id"] == shown["Id"] and "start_time" in record
    host = json.loads(podman("info", "--format", "{{json .Host.OCIRuntime}}").stdout)
    assert host["path"] == str(RUNTIME) and host["version"].startswith("pyd-runtime version ")


def test_run(podman: Podman) -> None:
    assert podman.run("--rm", "busybox", "echo", "hello").out == "hello"
    podman.run("--rm", "busybox", "sh", "-c", "exit 7", code=7)
    assert podman.run("--rm", "-i", "busybox", "cat", input="in\n").out == "in"
    assert podman.run("--rm", "--user", "33:29", "busybox", "id", "-g").out == "29"
    # its default limit of open files may be above the machine's: that is for the log
    assert podman.run("--rm", "busybox", "true").stderr == ""


def test_commands_that_cannot_run(podman: Podman) -> None:
    refused = podman.run("--rm", "busybox", "nosuch", code=127)
    assert 'exec: "nosuch": executable file not found in $PATH' in refused.stderr
    assert "permission denied" in podman.run("--rm", "busybox", "/etc/passwd", code=126).stderr


def test_exec_and_terminal(podman: Podman) -> None:
    podman.run("-d", "--name", "up", *LOOP)
    assert podman("exec", "up", "cat", "/proc/1/comm").out == "sh"
    podman("exec", "up", "sh", "-c", "exit 9", code=9)
    assert "executable file not found in $PATH" in podman("exec", "up", "nosuch", code=127).stderr
    assert podman(
        "exec", "-u", "33", "-w", "/tmp", "-e", "A=b", "up", "sh", "-c", "id -u; pwd; echo $A"
    ).lines == [*("33", "/tmp", "b")]
    terminal = podman.terminal("exec", "-it", "up", "sh")
    terminal.expect("# ")
    terminal.write("tty; echo $((40+2))\n")
    assert "/dev/pts/" in terminal.expect("42")
    terminal.write("exit 4\n")
    assert terminal.close() == 4


def test_life(podman: Podman) -> None:
    podman.run("-d", "--name", "up", "-m", "64m", *LOOP)
    shown = json.loads(podman("stats", "--no-stream", "--format", "json", "up").stdout)
    assert "67.11MB" in json.dumps(shown)
    assert "trap" in podman("top", "up").stdout
    podman("pause", "up")
    assert podman("ps", "-a", "--format", "{{.Status}}").out == "Paused"
    podman("unpause", "up")
    podman("update", "-m", "32m", "up")
    podman("stop", "up")
    assert podman.inspect("up")["State"]["ExitCode"] == 3
    podman("start", "up")
    podman("kill", "up")
    wait_until(lambda: not podman.inspect("up")["State"]["Running"], 10)
    assert podman("wait", "up").out == "137"


def test_memory_limit(podman: Podman) -> None:
    podman.run("--name", "oom", "-m", "16m", "busybox", "sh", "-c", "x=a; while :; do x=$x$x; done", code=137)


def test_health(podman: Podman) -> None:
    # the timer would be systemd's; by hand it needs none
    options = ("--health-cmd", "test -f /ok", "--health-interval", "disable")
    podman.run("-d", "--name", "sick", *options, *LOOP)
    podman("healthcheck", "run", "sick", code=1)
    podman("exec", "sick", "touch", "/ok")
    podman("healthcheck", "run", "sick")


def test_build(podman: Podman, tmp_path: Path) -> None:
    """By buildah, which is in podman: it calls the runtime by itself, without conmon."""
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo built > /x\nUSER 33\nRUN id -u > /tmp/id\n")
    # to buildah the option is the group itself
    place = ("--network", "none", "--cgroup-parent", f"{podman.cgroup_parent}-build")
    podman("build", *place, "--isolation", "oci", "-t", "built", tmp_path)
    assert podman.run("--rm", "built", "cat", "/x", "/tmp/id").lines == ["built", "33"]
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN exit 9\n")
    assert "exit status 9" in podman("build", *place, "--isolation", "oci", tmp_path, code=None).stderr


def test_pod(podman: Podman) -> None:
    """Containers that share namespaces by path."""
    podman(
        "pod",
        "create",
        "--name",
        "pod",
        *podman.place,
        "--infra-image",
        "busybox",
        "--infra-command",
        "sleep 1000",
    )
    podman("run", "-d", "--pod", "pod", "--name", "inside", *LOOP)
    script = "readlink /proc/self/ns/net; readlink /proc/self/ns/uts"
    names = podman("exec", "inside", "sh", "-c", script).lines
    other = podman("run", "--rm", "--pod", "pod", "busybox", "sh", "-c", script)
    assert len(names) == 2 and other.lines == names
    podman("pod", "rm", "-f", "-t", "0", "pod")


# A user of these namespaces only: the files are mounted over the machine's.
USER = """set -e
for file in passwd group subuid subgid; do cp /etc/$file /run/$file; done
echo 'somebody:x:12345:12345::/run/home:/bin/sh' >> /run/passwd
echo 'somebody:x:12345:' >> /run/group
echo 'somebody:200000:65536' | tee -a /run/subuid >> /run/subgid
for file in passwd group subuid subgid; do mount --bind /run/$file /etc/$file; done
mkdir -p /run/home/xdg
cp {runtime} {archive} /run/home
chown -R 12345:12345 /run/home
"""
AS_USER = """cd /run/home
podman() {{
    setpriv --reuid=12345 --regid=12345 --init-groups env -i PATH="$PATH" HOME=/run/home USER=somebody \
        XDG_RUNTIME_DIR=/run/home/xdg podman --storage-driver vfs --cgroup-manager cgroupfs \
        --events-backend file --runtime /run/home/pyd-runtime "$@" 2>&1
}}
"""


def test_a_user_without_privileges(podman: Podman, layouts: dict[str, Path]) -> None:
    archive = podman.directory / "busybox.tar"
    skopeo("copy", "-q", f"oci:{layouts['busybox']}:latest", f"docker-archive:{archive}:busybox:latest")
    made = podman.daemon.sh(USER.format(runtime=RUNTIME, archive=archive))
    assert made == ""
    script = [
        "podman load -q -i busybox.tar",
        "podman run --rm --network none busybox sh -c 'echo in; cat /proc/self/uid_map'",
        "podman run -d --name up --network none busybox sleep 1000",
        "ls xdg/pyd-runtime | wc -l",
        "podman exec up id -u",
        "podman rm -f -t 0 up",
    ]
    shown = podman.daemon.sh(AS_USER.format() + "\n".join(script))
    lines = shown.splitlines()
    assert lines[-3:] == ["1", "0", "up"], shown
    maps = [line.split() for line in lines[lines.index("in") + 1 :][:2]]
    # its own id, then those of /etc/subuid
    assert maps == [["0", "12345", "1"], ["1", "200000", "65536"]], shown
