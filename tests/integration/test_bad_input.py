"""Wrong input: one sentence, the right exit status, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.command import Pyd, Result, wait_until
from tests.support.world import World


def says(result: Result, text: str) -> None:
    assert text in result.stderr, result
    assert "Traceback" not in result.stderr, result
    assert len(result.stderr.strip().splitlines()) <= 4, f"more than a sentence and its hint: {result}"


def nothing_left(world: World) -> None:
    for directory in (world.data_root / "containers", world.run_root / "containers"):
        assert not directory.is_dir() or not list(directory.iterdir())
    assert not world.cgroups()


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (("run", "--rm", "IMAGE", "no-such-program"), 127, "executable file not found in $PATH"),
        (("run", "--rm", "IMAGE", "/no/such/program"), 127, "no such file or directory"),
        (("run", "--rm", "IMAGE", "/etc/passwd"), 126, "permission denied"),
        (("run", "--rm", "IMAGE", "/etc"), 126, "is a directory"),
        (("run", "--rm", "-w", "/etc/passwd/x", "IMAGE", "true"), None, "not a directory"),
        (("run", "--rm", "--nonsense", "IMAGE", "true"), 125, "unknown flag: --nonsense"),
        (("run", "--rm"), None, "requires at least 1 argument"),
        (("run", "--rm", "IMAGE:nosuchtag", "true", "--pull=never"), None, ""),
        (("run", "--pull=never", "--rm", "nosuchimage", "true"), 125, "No such image"),
        (("run", "--rm", "UPPER/Case", "true"), 125, "invalid reference format"),
        (("run", "--rm", "-e", "=x", "IMAGE", "true"), 125, "invalid environment variable"),
        (("run", "--rm", "--env-file", "/no/such/file", "IMAGE", "true"), 125, "no such file"),
        (("run", "--rm", "--network", "container:nosuch", "IMAGE", "true"), 125, "No such container"),
        (("run", "--rm", "--cap-add", "NONSENSE", "IMAGE", "true"), 125, "capability"),
        (("run", "--rm", "--security-opt", "nonsense", "IMAGE", "true"), 125, "security-opt"),
        (("run", "--rm", "--security-opt", "seccomp=/no/such/file", "IMAGE", "true"), 125, "no such file"),
        (("run", "--rm", "--device", "/dev/no-such-device", "IMAGE", "true"), 125, "/dev/no-such-device"),
        (("run", "--rm", "--sysctl", "kernel.nonsense=1", "IMAGE", "true"), 125, "sysctl"),
        (("run", "--rm", "--sysctl", "kernel.hostname=x", "IMAGE", "true"), 125, "sysctl"),
        (("run", "--rm", "--restart", "always", "IMAGE", "true"), 125, "--restart is not supported yet"),
        (("run", "--rm", "--health-cmd", "true", "IMAGE", "true"), 125, "--health-cmd is not supported yet"),
        (("run", "--rm", "--name", "bad name", "IMAGE", "true"), 125, "Invalid container name"),
        (("run", "--rm", "--name", "../../etc", "IMAGE", "true"), 125, "Invalid container name"),
        (("run", "--rm", "--stop-signal", "SIGNONSENSE", "IMAGE", "true"), 125, "signal"),
        (("run", "--rm", "--hostname", "a" * 200, "IMAGE", "true"), 125, "hostname"),
        (("run", "--rm", "--rootfs", "/no/such/directory", "true"), 125, "/no/such/directory"),
        (("exec", "nosuch", "true"), 1, "No such container: nosuch"),
        (("start", "nosuch"), 1, "No such container: nosuch"),
        (("logs", "nosuch"), 1, "No such container: nosuch"),
        (("inspect", "nosuch"), 1, "No such"),
        (("rmi", "nosuch"), 1, "No such image: nosuch"),
        (("volume", "rm", "nosuch"), 1, "nosuch"),
        (("volume", "create", "bad/name"), 1, "bad/name"),
        (("nonsense",), 1, "is not a pyd command"),
        (("ps", "--filter", "nonsense=1"), 1, "filter"),
        (("ps", "--format", "{{.Nonsense"), 1, "template"),
        (("logs", "--since", "yesterday-ish", "nosuch"), 1, ""),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, tuple) else None,
)
def test_refused(
    world: World, busybox: str, pyd: Pyd, command: tuple[str, ...], code: int | None, message: str
) -> None:
    words = [word.replace("IMAGE", busybox) for word in command]
    result = pyd(*words, code=None)
    assert result.code == code or (code is None and result.code != 0), result
    says(result, message)
    nothing_left(world)


def test_failed_start_keeps_a_container_without_rm(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "--name", name, busybox, "no-such-program", code=127)
    state = pyd.state(name)
    assert (state["Status"], state["ExitCode"]) == ("created", 127)


def test_taken_name(busybox: str, pyd: Pyd, name: str) -> None:
    container = pyd("create", "--name", name, busybox).out
    expected = (
        f'Conflict. The container name "/{name}" is already in use by container "{container}". '
        "You have to remove (or rename) that container to be able to reuse that name."
    )
    result = pyd("create", "--name", name, busybox, code=125)
    assert expected.removeprefix("Conflict. ") in result.stderr


def test_ambiguous_id(busybox: str, pyd: Pyd) -> None:
    """With seventeen containers two ids begin with the same digit."""
    ids = [pyd("create", busybox).out for _ in range(17)]
    first = next(a[0] for a in ids if sum(b[0] == a[0] for b in ids) > 1)
    result = pyd("inspect", "--type", "container", first, code=1)
    assert "multiple" in result.stderr.lower() or "ambiguous" in result.stderr.lower()


def test_unreadable_config(busybox: str, pyd: Pyd, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{ not json")
    result = pyd("ps", env={"DOCKER_CONFIG": str(tmp_path)}, code=None)
    assert "Traceback" not in result.stderr
    if result.code:
        assert "not valid JSON" in result.stderr


def test_data_root_that_is_a_file(pyd: Pyd, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = pyd("ps", env={"PYD_DATA_ROOT": str(tmp_path / "file")}, code=1)
    says(result, "file")


def test_database_that_is_garbage(pyd: Pyd, tmp_path: Path) -> None:
    (tmp_path / "pyd.db").write_bytes(b"this is not a database, it only looks like a file " * 100)
    result = pyd("ps", env={"PYD_DATA_ROOT": str(tmp_path), "PYD_RUN_ROOT": str(tmp_path / "run")}, code=1)
    says(result, "pyd.db")


def test_unreachable_registry(pyd: Pyd) -> None:
    result = pyd("pull", "127.0.0.1:1/nothing:latest", code=1, timeout=60)
    says(result, "127.0.0.1:1")


def test_full_disk(busybox: str, pyd: Pyd, tmp_path: Path) -> None:
    """On a data-root of 4 MB a pull fails with the cause and the remedy, and leaves room for the next
    command.
    """
    root = tmp_path / "small"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(root)], check=True)
    try:
        environ = {"PYD_DATA_ROOT": str(root), "PYD_RUN_ROOT": str(tmp_path / "run")}
        reference = pyd(
            "images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference=*/busybox"
        ).lines[0]
        result = pyd("pull", "-q", reference, env=environ, code=1)
        says(result, "space")
        assert pyd("images", "-q", env=environ).out == ""
    finally:
        subprocess.run(["umount", str(root)], check=True)


def test_interrupted_run_removes_it(world: World, busybox: str, pyd: Pyd) -> None:
    process = pyd.popen(
        "run", "--rm", busybox, "sh", "-c", "trap 'exit 4' INT; echo up; while :; do sleep 0.05; done"
    )
    assert process.stdout
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=15)
    assert process.returncode == 4
    wait_until(lambda: not list((world.data_root / "containers").iterdir()), 5)


def test_rootfs_with_a_symlinked_proc_or_dev(rootfs: Path, pyd: Pyd, tmp_path: Path) -> None:
    """CVE-2019-19921, CVE-2026-41579: a link in the image must not lead the runtime to a directory of the
    host.
    """
    import shutil

    for name in ("proc", "dev", "sys"):
        root, outside = tmp_path / name, tmp_path / f"outside-{name}"
        shutil.copytree(rootfs, root, symlinks=True)
        outside.mkdir()
        (root / name).rmdir()
        (root / name).symlink_to(outside)
        result = pyd("run", "--rm", "--network", "none", "--rootfs", root, "/bin/true", code=None)
        assert result.code in (0, 125), result
        assert list(outside.iterdir()) == [], f"/{name} was followed to the host"
        assert "Traceback" not in result.stderr


def test_output_to_a_closed_pipe(busybox: str, pyd: Pyd) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = pyd.popen("run", "--rm", busybox, "sh", "-c", "yes | head -c 1000000", stdout=writer)
    os.close(writer)
    _, errors = process.communicate(timeout=30)
    assert "Traceback" not in errors
