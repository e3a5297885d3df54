"""What a container may see and do. Every test names the attack that it stands for (see the CVE in its
docstring).
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.command import Pyd
from tests.support.world import World

DOCKER_CAPABILITIES = 0x00000000A80425FB  # the fourteen of Docker's default

OPTION_SETS: dict[str, tuple[str, ...]] = {
    "default": (),
    "user": ("-u", "33"),
    "drop all": ("--cap-drop", "ALL"),
    "add": ("--cap-add", "SYS_PTRACE"),
    "no new privileges": ("--security-opt", "no-new-privileges"),
    "terminal": ("-t",),
    "init": ("--init",),
}


def status(text: str) -> dict[str, str]:
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


@pytest.mark.parametrize("options", OPTION_SETS.values(), ids=OPTION_SETS)
def test_only_three_descriptors(payload: Path, busybox: str, pyd: Pyd, options: tuple[str, ...]) -> None:
    """CVE-2024-21626, CVE-2016-9962: no descriptor of the host's is open in the container."""
    mount = f"{payload}:/payload:ro"
    out = pyd("run", "--rm", *options, "-v", mount, busybox, "/payload", "fds").lines
    assert [line.split()[0] for line in out] == ["0", "1", "2"], out
    pyd("run", "-d", "--name", "fds", *options, "-v", mount, busybox, "sleep", "1000")
    out = pyd("exec", "fds", "/payload", "fds").lines
    assert [line.split()[0] for line in out] == ["0", "1", "2"], out


@pytest.mark.parametrize("number", range(3, 20))
def test_working_directory_in_a_descriptor(busybox: str, pyd: Pyd, number: int) -> None:
    """CVE-2024-21626: WORKDIR /proc/self/fd/N reaches the host through a leaked directory."""
    result = pyd("run", "--rm", "-w", f"/proc/self/fd/{number}", busybox, "sh", "-c", "pwd; ls ..", code=None)
    if result.code == 0:
        assert result.lines[0].startswith("/") and "unreachable" not in result.stdout
        assert "boot" not in result.lines and "lost+found" not in result.lines


def test_exec_working_directory_in_a_descriptor(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "-d", "--name", name, busybox, "sleep", "1000")
    for number in range(3, 20):
        result = pyd("exec", "-w", f"/proc/self/fd/{number}", name, "sh", "-c", "pwd", code=None)
        assert result.code != 0 or (result.out.startswith("/") and "unreachable" not in result.out)


@pytest.mark.parametrize("options", OPTION_SETS.values(), ids=OPTION_SETS)
def test_nothing_is_inheritable(busybox: str, pyd: Pyd, options: tuple[str, ...]) -> None:
    """CVE-2022-24769, CVE-2022-29162: inheritable capabilities are empty, for run and for exec."""
    run = status(pyd("run", "--rm", *options, busybox, "cat", "/proc/self/status").stdout.replace("\r", ""))
    container = pyd("run", "-d", *options, busybox, "sleep", "1000").out
    execute = status(pyd("exec", container, "cat", "/proc/self/status").stdout)
    for seen in (run, execute):
        assert int(seen["CapInh"], 16) == 0
        assert int(seen["CapAmb"], 16) == 0
        assert seen["Seccomp"] == "2"
    keys = ("CapPrm", "CapEff", "CapBnd", "Uid", "Gid", "NoNewPrivs", "Seccomp", "Groups")
    assert {key: run[key] for key in keys} == {key: execute[key] for key in keys}


def test_default_capabilities_are_dockers(busybox: str, pyd: Pyd) -> None:
    seen = status(pyd("run", "--rm", busybox, "cat", "/proc/self/status").stdout)
    assert int(seen["CapBnd"], 16) == int(seen["CapEff"], 16) == DOCKER_CAPABILITIES
    seen = status(pyd("run", "--rm", "-u", "33", busybox, "cat", "/proc/self/status").stdout)
    assert (int(seen["CapEff"], 16), int(seen["CapBnd"], 16)) == (0, DOCKER_CAPABILITIES)


def test_cap_drop_and_add(busybox: str, pyd: Pyd) -> None:
    seen = status(
        pyd(
            "run", "--rm", "--cap-drop", "ALL", "--cap-add", "net_raw", busybox, "cat", "/proc/self/status"
        ).stdout
    )
    assert int(seen["CapEff"], 16) == 1 << 13


def test_privileged_takes_what_the_host_has(busybox: str, pyd: Pyd) -> None:
    """Not more: on a host without CAP_SYS_RESOURCE that one is left out, with a warning and no failure."""
    seen = status(pyd("run", "--rm", "--privileged", busybox, "cat", "/proc/self/status").stdout)
    assert int(seen["CapEff"], 16) == int(status(Path("/proc/self/status").read_text())["CapBnd"], 16)
    assert seen["Seccomp"] == "0"


def test_no_new_privileges(busybox: str, pyd: Pyd) -> None:
    option = ("--security-opt", "no-new-privileges")
    assert (
        status(pyd("run", "--rm", *option, busybox, "cat", "/proc/self/status").stdout)["NoNewPrivs"] == "1"
    )


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/proc/acpi",
            "/proc/asound",
            "/proc/kcore",
            "/proc/keys",
            "/proc/latency_stats",
            "/proc/timer_list",
        ),
        *("/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/proc/interrupts"),
        "/sys/devices/virtual/powercap",
    ],
)
def test_masked_paths(busybox: str, pyd: Pyd, path: str) -> None:
    out = pyd(
        "run",
        "--rm",
        busybox,
        "sh",
        "-c",
        f"if [ -d {path} ]; then ls -A {path}; else cat {path}; fi",
        code=None,
    )
    assert out.stdout == ""


@pytest.mark.parametrize("path", ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"])
def test_read_only_paths(busybox: str, pyd: Pyd, path: str) -> None:
    if not Path(path).exists():
        pytest.skip(f"this kernel has no {path}")
    out = pyd("run", "--rm", busybox, "cat", "/proc/self/mountinfo").lines
    (line,) = [line for line in out if line.split()[4] == path]
    assert line.split()[5].startswith("ro")


def test_sys_and_cgroups_are_read_only(busybox: str, pyd: Pyd) -> None:
    """CVE-2022-0492: release_agent and its kind are out of reach."""
    out = pyd(
        "run",
        "--rm",
        busybox,
        "sh",
        "-c",
        "mkdir /sys/fs/cgroup/*/x /sys/fs/cgroup/x; ls -d /sys/fs/cgroup/*/x",
        code=None,
    )
    assert out.stdout == ""
    script = "mkdir /tmp/c && mount -t cgroup -o memory none /tmp/c; mount -t cgroup2 none /tmp/c; ls /tmp/c"
    assert pyd("run", "--rm", busybox, "sh", "-c", script, code=None).stdout == ""


@pytest.mark.parametrize(
    "script",
    [
        "unshare -U true",
        "unshare -m true",
        "mount -t tmpfs none /mnt",
        "mount -o remount,rw /proc/sys",
        "umount /proc/keys",
        "chroot / nsenter -t 1 -m true",
        "echo 1 > /proc/sys/kernel/panic",
        "date -s 2001-01-01; [ $(date +%Y) = 2001 ]",
        "hostname changed",
        "insmod /x",
        "swapoff -a",
        "mknod /tmp/sda b 8 0 && cat /tmp/sda",
        "reboot -f",
    ],
)
def test_refused_inside(busybox: str, pyd: Pyd, script: str) -> None:
    result = pyd("run", "--rm", busybox, "sh", "-c", f"{script} && echo ALLOWED", code=None)
    assert "ALLOWED" not in result.stdout


def test_devices(busybox: str, pyd: Pyd) -> None:
    out = pyd("run", "--rm", busybox, "ls", "/dev").out.split()
    assert set(out) == {
        *(
            "core",
            "fd",
            "full",
            "mqueue",
            "null",
            "ptmx",
            "pts",
            "random",
            "shm",
            "stderr",
            "stdin",
            "stdout",
        ),
        *("tty", "urandom", "zero"),
    }


def test_console_only_with_a_terminal(busybox: str, pyd: Pyd) -> None:
    assert pyd("run", "--rm", "-t", busybox, "ls", "/dev/console").out == "/dev/console"


def test_environment_of_the_image_never_reaches_the_engine(rootfs: Path, pyd: Pyd, tmp_path: Path) -> None:
    """CVE-2025-23266: LD_PRELOAD and PYTHON* of a container are the container's alone."""
    canary = tmp_path / "canary"
    hostile = (
        *("-e", f"PYTHONSTARTUP={canary}", "-e", "PYTHONHOME=/nonsense", "-e", "LD_PRELOAD=/evil.so"),
        *("-e", "LD_LIBRARY_PATH=/evil", "-e", "PYTHONPATH=/evil"),
    )
    out = pyd(
        "run", "--rm", "--network", "none", *hostile, "--rootfs", rootfs, "/bin/sh", "-c", "echo $PYTHONHOME"
    )
    assert out.out == "/nonsense"
    assert out.stderr == ""


def test_engine_files_do_not_change(busybox: str, pyd: Pyd) -> None:
    """CVE-2019-5736: a container that writes to /proc/self/exe and to the exe of every process it can see."""
    import hashlib

    import pyd as package

    binary = Path(str(package.__file__)).parent / "_bin/pyd-runtime"
    before = hashlib.sha256(binary.read_bytes()).hexdigest()
    loop = "for e in /proc/[0-9]*/exe; do (exec 9>>$e) 2>/dev/null && echo $e; done"
    script = f"for i in $(seq 200); do {loop}; done"
    container = pyd("run", "-d", busybox, "sh", "-c", script).out
    for _ in range(20):
        pyd("exec", container, "true", code=None)
    assert hashlib.sha256(binary.read_bytes()).hexdigest() == before
    pyd("rm", "-f", container)
    # The runtime's own program, which prints its help without arguments: a sealed copy of it.
    pyd("run", "--rm", "--entrypoint", "/proc/self/exe", busybox, code=None)
    assert hashlib.sha256(binary.read_bytes()).hexdigest() == before


def test_no_abstract_sockets(busybox: str, pyd: Pyd) -> None:
    """CVE-2020-15257: with --network host a container reaches abstract sockets of the host."""
    pyd("run", "-d", "--network", "host", busybox, "sleep", "1000")
    names = [line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines()]
    assert not [name for name in names if name.startswith("@") and "pyd" in name]


def test_data_root_is_closed_to_other_users(world: World, busybox: str, pyd: Pyd) -> None:
    """CVE-2021-41091: setuid programs in layers must not be within reach of the host's users."""
    pyd("run", "-d", busybox, "sleep", "1000")
    for place in (
        world.data_root / "snapshots",
        world.data_root / "containers",
        world.run_root / "containers",
    ):
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "ls", "-l", str(place)],
            capture_output=True,
            check=False,
        )
        assert done.returncode != 0, f"{place} is readable by nobody"


def test_symlinks_of_an_image_stay_inside(rootfs: Path, pyd: Pyd, tmp_path: Path) -> None:
    """CVE-2026-55686, CVE-2025-9566: files that the engine makes in a container follow no link to the
    host.
    """
    import shutil

    canary = tmp_path / "canary"
    canary.mkdir()
    for path in ("etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab", "work", "data", "tmpfs"):
        root = tmp_path / path.replace("/", "-")
        shutil.copytree(rootfs, root, symlinks=True)
        (root / path).unlink(missing_ok=True)
        (root / path).symlink_to(canary / "made")
        pyd(
            *("run", "--rm", "-w", "/work", "-v", f"{tmp_path}:/data/x:ro", "--tmpfs", "/tmpfs"),
            *("--rootfs", f"{root}:O", "/bin/true"),
            code=None,
        )
        assert list(canary.iterdir()) == [], path


def test_volume_source_is_not_swapped_by_a_symlink(busybox: str, pyd: Pyd, tmp_path: Path) -> None:
    """CVE-2021-30465: the target of a mount is replaced by a link while containers start."""
    shared, canary = tmp_path / "shared", tmp_path / "canary"
    (shared / "real").mkdir(parents=True)
    canary.mkdir()
    swapper = pyd("run", "-d", "-v", f"{shared}:/s", busybox, "sh", "-c", SWAP).out
    before = Path("/proc/self/mountinfo").read_text()
    for _ in range(25):
        pyd(
            "run",
            "--rm",
            "--network",
            "none",
            "-v",
            f"{shared}:/s",
            "--tmpfs",
            "/s/real/t",
            busybox,
            "true",
            code=None,
        )
        assert Path("/proc/self/mountinfo").read_text() == before
    assert list(canary.iterdir()) == []
    assert not Path("/t").exists()
    pyd("rm", "-f", swapper)


SWAP = "cd /s; while :; do mv real r; ln -s / real; rm -rf real; mv r real; done"


def test_seccomp_profile_of_the_user(busybox: str, pyd: Pyd, tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text(
        '{"defaultAction": "SCMP_ACT_ALLOW",'
        ' "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}'
    )
    result = pyd("run", "--rm", "--security-opt", f"seccomp={profile}", busybox, "mkdir", "/tmp/x", code=1)
    assert "Operation not permitted" in result.stderr
    option = ("--security-opt", "seccomp=unconfined")
    assert status(pyd("run", "--rm", *option, busybox, "cat", "/proc/self/status").stdout)["Seccomp"] == "0"


def test_host_secrets_are_not_in_the_spec_of_another(world: World, busybox: str, pyd: Pyd) -> None:
    """Environment and command lines: what one container was given is in no file that others or host users
    can read.
    """
    pyd("run", "-d", "-e", "TOKEN=canary-secret", busybox, "sleep", "1000")
    for path in world.run_root.rglob("config.json"):
        assert path.stat().st_mode & 0o077 == 0 or path.parent.stat().st_mode & 0o077 == 0
    listed = subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True).stdout
    assert "canary-secret" not in listed
