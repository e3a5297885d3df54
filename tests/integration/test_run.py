"""`pyd run`: what the process sees, what comes back."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.command import Pyd, wait_until


def test_output_and_exit_status(busybox: str, pyd: Pyd) -> None:
    result = pyd("run", "--rm", busybox, "sh", "-c", "echo out; echo err >&2; exit 7", code=7)
    assert (result.stdout, result.stderr) == ("out\n", "err\n")


@pytest.mark.parametrize("grammar", [("run",), ("container", "run")], ids=" ".join)
def test_both_grammars(busybox: str, pyd: Pyd, grammar: tuple[str, ...]) -> None:
    assert pyd(*grammar, "--rm", busybox, "echo", "-n", "--rm").stdout == "--rm"


def test_rm_leaves_nothing(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "--rm", "--name", name, busybox, "true")
    assert pyd("ps", "-aq").out == ""


@pytest.mark.parametrize("number", [1, 2, 9, 15])
def test_killed_by_a_signal(busybox: str, pyd: Pyd, number: int) -> None:
    """A default action is not taken by PID 1, so a child of it is what dies."""
    script = f"(kill -{number} $(sh -c 'echo $PPID')); exit $?"
    assert pyd("run", "--rm", busybox, "sh", "-c", script, code=None).code == 128 + number


def test_stdin_reaches_the_process_and_ends(busybox: str, pyd: Pyd) -> None:
    text = "".join(f"line {number}\n" for number in range(20_000))
    assert pyd("run", "--rm", "-i", busybox, "cat", input=text).stdout == text


def test_without_i_stdin_is_empty(busybox: str, pyd: Pyd) -> None:
    assert pyd("run", "--rm", busybox, "cat", input="not for you").stdout == ""


def test_large_output_is_complete(busybox: str, pyd: Pyd) -> None:
    result = pyd("run", "--rm", busybox, "sh", "-c", "yes 0123456789 | head -c 20000000", timeout=60)
    assert len(result.stdout) == 20_000_000


def test_environment(busybox: str, pyd: Pyd, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("# comment\nFROM_FILE=a b 'c'\nCOPIED\n\n")
    out = pyd(
        *(
            "run",
            "--rm",
            "--env-file",
            file,
            "-e",
            "ONE=1",
            "-e",
            "COPIED_TOO",
            "-e",
            "ABSENT",
            busybox,
            "env",
        ),
        env={"COPIED": "from host", "COPIED_TOO": "from host too"},
    ).lines
    assert {
        "ONE=1",
        "FROM_FILE=a b 'c'",
        "COPIED=from host",
        "COPIED_TOO=from host too",
        "HOME=/root",
    } <= set(out)
    assert not any(line.startswith("ABSENT") for line in out)
    assert not any(line.startswith("PYD_") for line in out), "the host's environment is not the container's"


def test_hostname(busybox: str, pyd: Pyd) -> None:
    assert pyd("run", "--rm", "--hostname", "little", busybox, "hostname").out == "little"
    container = pyd("run", "-d", busybox, "hostname").out
    pyd("wait", container)
    assert pyd("logs", container).out == container[:12]


def test_workdir_is_made(busybox: str, pyd: Pyd) -> None:
    assert pyd("run", "--rm", "-w", "/not/there/yet", busybox, "pwd").out == "/not/there/yet"


def test_entrypoint(busybox: str, pyd: Pyd) -> None:
    assert pyd("run", "--rm", "--entrypoint", "echo", busybox, "a", "b").out == "a b"
    assert pyd("run", "--rm", "--entrypoint", "", busybox, "echo", "x").out == "x"


def test_read_only(busybox: str, pyd: Pyd) -> None:
    result = pyd(
        "run",
        "--rm",
        "--read-only",
        "--tmpfs",
        "/tmp",
        busybox,
        "sh",
        "-c",
        "touch /tmp/a && touch /b",
        code=1,
    )
    assert "Read-only file system" in result.stderr


def test_init_reaps_and_forwards(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "-d", "--init", "--name", name, busybox, "sleep", "1000")
    assert "init" in pyd("exec", name, "cat", "/proc/1/cmdline").stdout
    assert pyd("exec", name, "cat", "/proc/1/comm").out != "sleep"
    pyd("stop", "-t", "10", name)
    assert pyd.state(name)["ExitCode"] == 128 + signal.SIGTERM


def test_detached_prints_the_id(busybox: str, pyd: Pyd) -> None:
    container = pyd("run", "-d", busybox, "sleep", "100").out
    assert len(container) == 64
    assert pyd("ps", "-q").out == container[:12]
    assert pyd("ps", "-q", "--no-trunc").out == container


def test_cidfile(busybox: str, pyd: Pyd, tmp_path: Path) -> None:
    file = tmp_path / "cid"
    container = pyd("run", "-d", "--cidfile", file, busybox, "true").out
    assert file.read_text() == container
    assert "already" in pyd("run", "-d", "--cidfile", file, busybox, "true", code=125).stderr


def test_terminal(busybox: str, pyd: Pyd) -> None:
    terminal = pyd.terminal("run", "--rm", "-it", busybox, "sh", rows=33, columns=77)
    terminal.expect("#")
    terminal.write("stty size; tty; echo T=$TERM\n")
    shown = terminal.expect("T=xterm")
    assert "33 77" in shown
    assert "/dev/pts/0" in shown or "/dev/console" in shown
    terminal.write("exit 5\n")
    assert terminal.close() == 5


def test_detach_keys_leave_it_running(busybox: str, pyd: Pyd, name: str) -> None:
    terminal = pyd.terminal("run", "-it", "--name", name, busybox, "sh")
    terminal.expect("#")
    terminal.write("\x10\x11")
    assert terminal.close() == 0
    assert pyd.state(name)["Running"] is True


def test_attach_and_sig_proxy(busybox: str, pyd: Pyd, name: str) -> None:
    script = "trap 'echo got it; exit 3' TERM; echo ready; while :; do sleep 0.1; done"
    process = pyd.popen("run", "--name", name, busybox, "sh", "-c", script)
    assert process.stdout and process.stderr
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=15)
    assert (out, process.returncode) == ("got it\n", 3)


def test_two_attached_clients_see_the_same(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "-d", "-i", "--name", name, busybox, "sh", "-c", "read x; echo $x; echo done")
    clients = [pyd.popen("attach", "--no-stdin", name) for _ in range(2)]
    wait_until(lambda: pyd.state(name)["Running"], 5)
    # an attached client is not announced; what is written before it is there, it would not see
    import time

    time.sleep(1)
    pyd("attach", name, input="hello\n")
    for client in clients:
        out, _ = client.communicate(timeout=15)
        assert out == "hello\ndone\n"


def test_rootfs_directory(rootfs: Path, pyd: Pyd) -> None:
    """Without :O the directory itself is written to, with it a throw-away layer is."""
    assert (
        pyd("run", "--rm", "--rootfs", f"{rootfs}:O", "/bin/sh", "-c", "echo x > /made; cat /made").out == "x"
    )
    assert not (rootfs / "made").exists()
    pyd("run", "--rm", "--rootfs", rootfs, "/bin/sh", "-c", "echo y > /made")
    assert (rootfs / "made").read_text() == "y\n"
    (rootfs / "made").unlink()


def test_the_host_itself_as_rootfs(pyd: Pyd) -> None:
    out = pyd(
        "run", "--rm", "--rootfs", "/:O", "/bin/sh", "-c", "echo $$; touch /pyd-was-here && echo written"
    ).lines
    assert out == ["1", "written"]
    assert not Path("/pyd-was-here").exists()


def test_create_start_wait(busybox: str, pyd: Pyd, name: str) -> None:
    container = pyd("create", "--name", name, busybox, "sh", "-c", "echo hello; exit 4").out
    assert pyd.state(name)["Status"] == "created"
    assert pyd("start", name).out == name
    assert pyd("wait", container).out == "4"
    assert pyd("start", "-a", name, code=4).out == "hello"


def test_pause(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "-d", "--name", name, busybox, "sh", "-c", "while :; do echo x; sleep 0.05; done")
    wait_until(lambda: pyd("logs", name).stdout, 5)
    assert pyd("pause", name).out == name
    assert pyd.state(name)["Status"] == "paused"
    before = pyd("logs", name).stdout
    assert "is paused" in pyd("exec", name, "true", code=1).stderr
    assert pyd("logs", name).stdout == before
    pyd("unpause", name)
    wait_until(lambda: pyd("logs", name).stdout != before, 5)


def test_labels_and_stop_signal_are_kept(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("create", "--name", name, "--label", "a=b", "-l", "c", "--stop-signal", "SIGUSR1", busybox)
    config = pyd.inspect(name)["Config"]
    assert config["Labels"] == {"a": "b", "c": ""}
    assert config["StopSignal"] == "SIGUSR1"


def test_shared_namespaces(busybox: str, pyd: Pyd, name: str) -> None:
    """--pid of another container, --pid, --ipc and --uts of the host."""
    pyd("run", "-d", "--name", name, busybox, "sleep", "1000")
    theirs = pyd("exec", name, "readlink", "/proc/self/ns/pid").out
    ours = pyd("run", "--rm", "--pid", f"container:{name}", busybox, "readlink", "/proc/self/ns/pid").out
    assert theirs == ours
    refused = pyd("run", "--rm", "--ipc", f"container:{name}", busybox, "true", code=125)
    assert "/dev/shm of another container" in refused.stderr
    for kind in ("pid", "ipc", "uts"):
        ours = pyd("run", "--rm", f"--{kind}", "host", busybox, "readlink", f"/proc/self/ns/{kind}").out
        assert ours == str(Path(f"/proc/self/ns/{kind}").readlink())


def test_what_is_not_had_is_said_once(busybox: str, pyd: Pyd) -> None:
    done = pyd("run", "--rm", "--network", "host", "-p", "18080:80", busybox, "true")
    assert done.stderr == "WARNING: Published ports are discarded when using host network mode\n"


def test_sysctl_shm_and_ulimit(busybox: str, pyd: Pyd) -> None:
    options = ("--sysctl", "net.core.somaxconn=512", "--shm-size", "8m", "--ulimit", "nofile=100:200")
    script = "cat /proc/sys/net/core/somaxconn; df -k /dev/shm | tail -1; ulimit -n; ulimit -Hn"
    somaxconn, shm, soft, hard = pyd("run", "--rm", *options, busybox, "sh", "-c", script).lines
    assert (somaxconn, soft, hard) == ("512", "100", "200")
    assert shm.split()[1] == "8192"
