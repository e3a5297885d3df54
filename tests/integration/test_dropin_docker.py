"""Docker on pyd-runtime: Debian's dockerd with `--default-runtime pyd`, used as people use Docker."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import wait_until
from tests.support.dockerd import RUNTIME, Docker
from tests.support.oci import TOP
from tests.support.world import World


@pytest.fixture(scope="module")
def daemon(world: World, layouts: dict[str, Path]) -> Iterator[Docker]:
    made = Docker(
        world.directory / "dockerd",
        f"{world.cgroup_parent}/docker",
        "--default-runtime",
        "pyd",
        "--debug",
        "--experimental",
    )
    try:
        made.load(layouts["busybox"], "busybox")
        yield made
    finally:
        made.close()


@pytest.fixture
def docker(daemon: Docker) -> Iterator[Docker]:
    yield daemon
    daemon.remove_containers()


def run(docker: Docker, *args: object, code: int = 0) -> str:
    """What a container prints."""
    return docker("run", "--rm", *args, code=code).out


def up(docker: Docker, *args: object, name: str = "up") -> str:
    """A container that goes on until it is told to stop."""
    docker(
        "run",
        "-d",
        "--name",
        name,
        *args,
        "busybox",
        "sh",
        "-c",
        "trap 'exit 3' TERM; while :; do sleep 0.05; done",
    )
    return name


def test_it_is_pyd_runtime_that_runs(docker: Docker) -> None:
    """Without this one, every other test could pass on runc."""
    info = json.loads(docker("info", "--format", "{{json .}}").stdout)
    assert info["DefaultRuntime"] == "pyd"
    assert info["Runtimes"]["pyd"]["path"] == str(RUNTIME)
    up(docker)
    assert docker.inspect("up")["HostConfig"]["Runtime"] == "pyd"
    # the state directory holds the record that only pyd-runtime writes
    record = json.loads(state(docker, "up"))
    assert "start_time" in record and "keep_keyring" in record
    assert record["pid"] == docker.state("up")["Pid"]
    docker("run", "-d", "--name", "other", "--runtime", "runc", "busybox", "sleep", "100")
    assert "init_process_pid" in json.loads(state(docker, "other"))


def state(docker: Docker, name: str) -> str:
    """The runtime's own record of a container."""
    identity = docker.inspect(name)["Id"]
    return docker.daemon.sh(f"cat {docker.exec_root}/runtime-runc/moby/{identity}/state.json")


def test_run(docker: Docker) -> None:
    assert run(docker, "busybox", "echo", "hello") == "hello"
    assert run(docker, "-e", "A=1", "-w", "/tmp", "busybox", "sh", "-c", "echo $A $PWD") == "1 /tmp"
    assert run(docker, "--hostname", "inner", "busybox", "hostname") == "inner"


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["sh", "-c", "exit 7"], 7, ""),
        (["nosuch"], 127, 'exec: "nosuch": executable file not found in $PATH'),
        (["/no/such"], 127, "no such file or directory"),
        (["/etc/passwd"], 126, "permission denied"),
        (["/etc"], 126, "is a directory"),
    ],
)
def test_exit_codes(docker: Docker, command: list[str], code: int, words: str) -> None:
    result = docker("run", "--rm", "busybox", *command, code=code)
    assert words in result.stderr


def test_stdin_and_two_streams(docker: Docker) -> None:
    assert docker("run", "--rm", "-i", "busybox", "cat", input="in\n").out == "in"
    result = docker("run", "--rm", "busybox", "sh", "-c", "echo o; echo e >&2")
    assert (result.out, result.stderr.strip()) == ("o", "e")


def test_warnings_are_not_the_containers_output(docker: Docker) -> None:
    """More than any hard limit: clamped without CAP_SYS_RESOURCE, and said in the log only."""
    result = docker("run", "--rm", "--ulimit", "nofile=1048576", "busybox", "sh", "-c", "ulimit -n")
    assert int(result.out) > 0 and result.stderr == ""


def test_terminal(docker: Docker) -> None:
    first = docker.terminal("run", "-it", "--name", "tty", "busybox", "sh")
    first.expect("# ")
    first.write("stty size; tty; echo $((40+2))\n")
    assert "24 80" in first.expect("42")
    second = docker.terminal("exec", "-it", "tty", "sh")
    second.expect("# ")
    second.write("tty; echo $((40+2))\n")
    assert "/dev/pts/1" in second.expect("42")
    second.write("exit 4\n")
    assert second.close() == 4
    first.write("exit 5\n")
    assert first.close() == 5


def test_exec(docker: Docker) -> None:
    up(docker)
    assert docker("exec", "up", "cat", "/proc/1/comm").out == "sh"
    docker("exec", "up", "sh", "-c", "exit 9", code=9)
    shown = docker(
        "exec", "-u", "33:29", "-e", "A=b", "-w", "/tmp", "up", "sh", "-c", "id -u; id -g; echo $A; pwd"
    )
    assert shown.lines == ["33", "29", "b", "/tmp"]
    assert docker("exec", "-i", "up", "cat", input="x\n").out == "x"
    refused = docker("exec", "up", "nosuch", code=126)  # 127 from Docker 23 on
    assert 'exec: "nosuch": executable file not found in $PATH' in refused.stdout + refused.stderr
    docker("exec", "-d", "up", "touch", "/done")
    wait_until(lambda: docker("exec", "up", "ls", "/done", code=None).code == 0, 5)
    assert (
        "CapEff:\t0000003f"
        in docker("exec", "--privileged", "up", "grep", "CapEff", "/proc/self/status").stdout
    )


def test_build(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        'FROM busybox\nRUN echo built > /x && test "$(id -u)" = 0\nUSER 33\nWORKDIR /w\nRUN id -u > /tmp/id\n'
        'CMD ["cat", "/x", "/tmp/id"]\n'
    )
    docker("build", "-t", "built", tmp_path)
    assert run(docker, "built").split() == ["built", "33"]
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN exit 9\n")
    assert "returned a non-zero code: 9" in docker("build", tmp_path, code=9).stderr


def test_life(docker: Docker) -> None:
    up(docker)
    docker("pause", "up")
    assert docker.state("up")["Status"] == "paused"
    docker("unpause", "up")
    docker("kill", "-s", "CONT", "up")
    before = docker.state("up")["Pid"]
    docker("restart", "-t", "5", "up")
    state = docker.state("up")
    assert state["Running"] and state["Pid"] != before
    begun = time.monotonic()
    docker("stop", "up")
    assert time.monotonic() - begun < 5 and docker.state("up")["ExitCode"] == 3
    docker("start", "up")
    docker("kill", "up")
    assert docker("wait", "up").out == "137"
    assert docker("ps", "-aq", "--filter", "status=exited").out


def test_restart_policy_and_logs(docker: Docker) -> None:
    docker(
        "run", "-d", "--name", "again", "--restart", "on-failure:2", "busybox", "sh", "-c", "echo run; exit 1"
    )
    wait_until(
        lambda: docker.inspect("again")["RestartCount"] == 2 and not docker.state("again")["Running"], 10
    )
    assert docker("logs", "again").lines == ["run"] * 3


def test_look_inside(docker: Docker) -> None:
    up(docker, "-m", "64m")
    shown = json.loads(docker("stats", "--no-stream", "--format", "{{json .}}", "up").stdout)
    assert shown["MemUsage"].endswith("/ 64MiB") and int(shown["PIDs"]) >= 1 and shown["MemPerc"] != "0.00%"
    assert "trap" in docker("top", "up").lines[1]
    assert docker("top", "up", "-o", "pid,comm").lines[1].split()[1] == "sh"
    docker("exec", "up", "touch", "/new")
    assert "A /new" in docker("diff", "up").lines


def test_copy(docker: Docker, tmp_path: Path) -> None:
    up(docker)
    (tmp_path / "in").write_text("copied\n")
    docker("cp", tmp_path / "in", "up:/root/in")
    assert docker("exec", "up", "cat", "/root/in").out == "copied"
    docker("cp", "up:/root/in", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "copied\n"


def test_limits(docker: Docker) -> None:
    up(
        docker,
        "-m",
        "64m",
        "--memory-swap",
        "64m",
        "--cpus",
        "0.5",
        "--pids-limit",
        "40",
        "--cpu-shares",
        "512",
    )

    def value(v1: str, v2: str) -> str:
        script = f"cat /sys/fs/cgroup/{v1} 2>/dev/null || cat /sys/fs/cgroup/{v2}"
        return docker("exec", "up", "sh", "-c", script).out

    assert value("memory/memory.limit_in_bytes", "memory.max") == str(64 << 20)
    assert value("cpu/cpu.cfs_quota_us", "cpu.max").split()[0] == "50000"
    assert value("pids/pids.max", "pids.max") == "40"
    # what an update does not name stays
    docker("update", "-m", "32m", "--memory-swap", "32m", "up")
    assert value("memory/memory.limit_in_bytes", "memory.max") == str(32 << 20)
    assert value("pids/pids.max", "pids.max") == "40"
    docker("update", "--cpus", "1", "--pids-limit", "30", "up")
    assert value("cpu/cpu.cfs_quota_us", "cpu.max").split()[0] == "100000"
    assert value("pids/pids.max", "pids.max") == "30"


def test_limits_hold(docker: Docker) -> None:
    script = "x=a; while :; do x=$x$x; done"
    docker(
        "run", "--name", "oom", "-m", "16m", "--memory-swap", "16m", "busybox", "sh", "-c", script, code=137
    )
    assert docker.state("oom")["OOMKilled"] is True
    forks = "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done"
    result = docker("run", "--rm", "--pids-limit", "5", "busybox", "sh", "-c", forks, code=2)
    assert "can't fork" in result.stderr


def test_files(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("from the host\n")
    assert run(docker, "-v", f"{tmp_path}:/x:ro", "busybox", "cat", "/x/f") == "from the host"
    assert (
        "Read-only"
        in docker("run", "--rm", "-v", f"{tmp_path}:/x:ro", "busybox", "touch", "/x/g", code=1).stderr
    )
    run(docker, "-v", "vol:/v", "busybox", "touch", "/v/kept")
    assert run(docker, "-v", "vol:/v", "busybox", "ls", "/v") == "kept"
    docker("volume", "rm", "vol")
    assert " 1024 " in run(docker, "--tmpfs", "/t:size=1m", "busybox", "df", "/t")
    assert " 8192 " in run(docker, "--shm-size", "8m", "busybox", "df", "/dev/shm")
    assert "Read-only" in docker("run", "--rm", "--read-only", "busybox", "touch", "/x", code=1).stderr
    shown = run(docker, "--device", "/dev/null:/dev/other:r", "busybox", "ls", "-l", "/dev/other")
    assert shown.startswith("c") and "1,   3" in shown


def status(docker: Docker, *args: object) -> dict[str, str]:
    """/proc/self/status in a container."""
    lines = run(docker, *args, "busybox", "cat", "/proc/self/status").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def test_security(docker: Docker) -> None:
    plain = status(docker)
    assert (plain["CapEff"], plain["Seccomp"], plain["NoNewPrivs"]) == ("00000000a80425fb", "2", "0")
    some = ("--cap-add", "NET_ADMIN", "--cap-drop", "CHOWN", "--security-opt", "no-new-privileges")
    changed = status(docker, *some, "--security-opt", "seccomp=unconfined")
    assert (changed["CapEff"], changed["Seccomp"], changed["NoNewPrivs"]) == ("00000000a80435fa", "0", "1")
    none = status(docker, "--cap-drop", "ALL", "--user", "33:29", "--group-add", "4")
    assert int(none["CapBnd"], 16) == int(none["CapEff"], 16) == 0
    assert none["Groups"].split() == ["4", "29"] and none["Uid"].split() == ["33"] * 4
    all_of_it = status(docker, "--privileged")
    assert all_of_it["Seccomp"] == "0" and int(all_of_it["CapEff"], 16) & 1 << 21
    sysctl = ("--sysctl", "net.core.somaxconn=99")
    assert run(docker, *sysctl, "busybox", "cat", "/proc/sys/net/core/somaxconn") == "99"


def test_seccomp_profile_of_the_user(docker: Docker, tmp_path: Path) -> None:
    rules = [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]
    profile = tmp_path / "profile.json"
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}))
    refused = docker("run", "--rm", "--security-opt", f"seccomp={profile}", "busybox", "mkdir", "/x", code=1)
    assert "Function not implemented" in refused.stderr


def test_networks(docker: Docker) -> None:
    up(docker)
    address = docker.inspect("up")["NetworkSettings"]["IPAddress"]
    assert address.startswith("10.213.0.")
    run(docker, "busybox", "ping", "-c1", "-W2", address)
    assert address in run(docker, "--network", "container:up", "busybox", "ip", "-o", "a")
    assert "docker0" in run(docker, "--network", "host", "busybox", "ip", "-o", "l")
    links = run(docker, "--network", "none", "busybox", "ls", "/sys/class/net").split()
    assert links == ["lo"]


def test_shared_namespaces(docker: Docker) -> None:
    up(docker, "--ipc", "shareable")
    assert "trap" in run(docker, "--pid", "container:up", "busybox", "ps")
    assert "dockerd" in run(docker, "--pid", "host", "busybox", "ps")
    docker("exec", "up", "touch", "/dev/shm/shared")
    assert run(docker, "--ipc", "container:up", "busybox", "ls", "/dev/shm") == "shared"
    run(docker, "--ipc", "host", "--uts", "host", "busybox", "true")
    assert set(
        run(docker, "--cgroupns", "private", "busybox", "cut", "-d:", "-f3", "/proc/self/cgroup").split()
    ) == {"/"}


def test_a_container_without_its_own_pid_namespace_leaves_nothing(docker: Docker) -> None:
    """What it has left behind is killed at its end: the shim says `kill --all` to a stopped container."""
    docker("run", "--rm", "--pid", "host", "busybox", "sh", "-c", "sleep 4242 & exit 0")
    wait_until(
        lambda: "sleep 4242" not in docker.daemon.sh("cat /proc/*/cmdline 2>/dev/null | tr '\\0' ' '"), 5
    )


def test_init(docker: Docker) -> None:
    assert "docker-init" in run(docker, "--init", "busybox", "cat", "/proc/1/cmdline")


def test_health(docker: Docker) -> None:
    docker(
        *("run", "-d", "--name", "sick", "--health-cmd", "test -f /ok", "--health-interval", "200ms"),
        *("--health-retries", "1", "busybox", "sleep", "100"),
    )
    wait_until(lambda: docker.state("sick")["Health"]["Status"] == "unhealthy", 10)
    docker("exec", "sick", "touch", "/ok")
    wait_until(lambda: docker.state("sick")["Health"]["Status"] == "healthy", 10)


def test_checkpoint_is_refused_and_the_container_goes_on(docker: Docker) -> None:
    up(docker)
    refused = docker("checkpoint", "create", "up", "saved", code=1)
    assert "checkpoint is not supported by pyd-runtime" in refused.stderr
    assert docker.state("up")["Running"]


def test_the_seccomp_filter_decides_as_runcs_does(docker: Docker) -> None:
    """Docker's own profile for both; what each loads is read back and compared with a newer profile, so that
    the differences to that must be the same.
    """
    found = {}
    for runtime in ("pyd", "runc"):
        docker("run", "-d", "--name", runtime, "--runtime", runtime, "busybox", "sleep", "100")
        compare = [sys.executable, "-m", "tests.conformance.compare", str(docker.state(runtime)["Pid"])]
        inside = docker.daemon.enter("env", f"PYTHONPATH={TOP}", *compare)  # which leaves this directory
        done = subprocess.run(inside, capture_output=True, text=True, check=True)
        # the last line is about numbers that no profile knows
        found[runtime] = done.stdout.splitlines()[1:-1]
    assert found["pyd"] == found["runc"]
    # Debian's Docker is older than the profile: io_uring_setup, and socket() of any family
    looser = found["pyd"][1]
    assert looser.startswith("looser: ") and "x86-64 425" in looser and "x86-64 41," in looser, looser
