"""A container's /proc that is not procfs, and writes of the runtime that would end up in it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.oci import RUNTIME, Runtime

Spec = dict[str, Any]


def bind(source: Path, destination: str) -> dict[str, Any]:
    return {"destination": destination, "type": "bind", "source": str(source), "options": ["rbind"]}


def replace_proc(spec: Spec, mount: dict[str, Any] | None) -> None:
    """`mount` in the place of the procfs, or nothing at all."""
    spec["mounts"] = [other for other in spec["mounts"] if other["destination"] != "/proc"]
    spec["mounts"][:0] = [mount] if mount else []


def link_proc(root: Path) -> None:
    (root / "evil").mkdir()
    (root / "proc").symlink_to("evil")


def test_proc_is_a_link(runtime: Runtime) -> None:
    """CVE-2019-19921, CVE-2023-27561: masks and labels would go to files of the image's choice."""
    done = runtime.run("a", ["/payload", "cat", "/evil/self/status"], code=None, furnish=link_proc)
    assert done.code != 0
    assert "symbolic link" in done.stderr


def test_control_of_proc_is_a_link(weakened: Callable[..., Runtime]) -> None:
    words = ["/payload", "cat", "/evil/self/status"]
    assert "Name:" in weakened("links-at-proc").run("a", words, furnish=link_proc).stdout


@pytest.mark.parametrize("name", ["runc", "crun"])
def test_peers_refuse_it_too(peer: Callable[[str], Runtime], name: str) -> None:
    runtime = peer(name)
    assert runtime.run("without", ["/payload", "cwd"]).out == "/"
    assert runtime.run("a", ["/payload", "cwd"], code=None, furnish=link_proc).code != 0


# A volume of the attacker's: a copy of what a label's file looks like.
VOLUMES: dict[str, Callable[[Spec, Path], object]] = {
    "instead of procfs": lambda spec, source: replace_proc(spec, bind(source, "/proc")),
    "tmpfs instead of procfs": lambda spec, source: replace_proc(
        spec, {"destination": "/proc", "type": "tmpfs", "source": "tmpfs"}
    ),
    "over procfs": lambda spec, source: spec["mounts"].append(bind(source, "/proc")),
    "tmpfs over procfs": lambda spec, source: spec["mounts"].append(
        {"destination": "/proc", "type": "tmpfs", "source": "tmpfs"}
    ),
    "at /proc/self": lambda spec, source: spec["mounts"].append(bind(source, "/proc/self")),
    "at /proc/self/attr": lambda spec, source: spec["mounts"].append(bind(source, "/proc/self/attr")),
    "at /proc/sys": lambda spec, source: spec["mounts"].append(bind(source, "/proc/sys")),
    "through a link": lambda spec, source: spec["mounts"].append(bind(source / "attr", "/to-proc/sys")),
}


def volume(tmp_path: Path) -> Path:
    (tmp_path / "volume" / "attr").mkdir(parents=True)
    (tmp_path / "volume" / "attr" / "exec").write_text("")
    return tmp_path / "volume"


@pytest.mark.parametrize("kind", VOLUMES)
def test_volume_at_proc(runtime: Runtime, tmp_path: Path, kind: str) -> None:
    """CVE-2023-28642, CVE-2019-16884: a volume over /proc, or over what is written in it."""
    source = volume(tmp_path)
    furnish = lambda root: (root / "to-proc").symlink_to("/proc")  # noqa: E731
    done = runtime.run("a", ["/payload", "cwd"], lambda spec: VOLUMES[kind](spec, source), None, furnish)
    assert done.code != 0
    assert "/proc" in done.stderr


# /proc/self is gone before the weakened one can cover it: it is a link to a number of the host's.
@pytest.mark.parametrize("kind", [kind for kind in VOLUMES if "/self" not in kind])
def test_control_of_volume_at_proc(weakened: Callable[..., Runtime], tmp_path: Path, kind: str) -> None:
    source = volume(tmp_path)
    furnish = lambda root: (root / "to-proc").symlink_to("/proc")  # noqa: E731
    weak = weakened("anything-on-proc", "links-at-proc")
    weak.run("a", ["/payload", "cwd"], lambda spec: VOLUMES[kind](spec, source), 0, furnish)


def fake_proc(root: Path) -> None:
    """Files of the image in the places of those that the runtime writes, for a container without procfs."""
    for name in (
        "1/attr/exec",
        "1/attr/apparmor/exec",
        "self/attr/exec",
        "sys/net/ipv4/ip_unprivileged_port_start",
    ):
        path = root / "proc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("untouched")


def label(spec: Spec) -> None:
    replace_proc(spec, None)
    spec["process"]["apparmorProfile"] = "pyd-test-profile"


def written(runtime: Runtime) -> list[str]:
    """Files of the fake procfs that were written to."""
    proc = runtime.directory / "a/rootfs/proc"
    return [str(path) for path in proc.rglob("*") if path.is_file() and path.read_text() != "untouched"]


def test_label_without_apparmor(runtime: Runtime) -> None:
    """A profile that nobody would enforce is refused, or not known to the kernel."""
    done = runtime.run("a", ["/payload", "cwd"], label, None, fake_proc)
    assert done.code != 0 and "AppArmor" in done.stderr
    assert written(runtime) == []


def test_label_is_never_written_to_a_fake(weakened: Callable[..., Runtime]) -> None:
    """CVE-2019-16884. A runtime that does not ask first whether there is AppArmor writes the label, to the
    kernel: never does the container run while the label lies in a file of the image.
    """
    weak = weakened("labels-unchecked")
    done = weak.run("a", ["/payload", "cwd"], label, None, fake_proc)
    assert done.code != 0 and "apply AppArmor profile" in done.stderr
    assert written(weak) == []


def test_control_of_the_label(weakened: Callable[..., Runtime]) -> None:
    weak = weakened("labels-unchecked", "procfs-by-name")
    weak.run("a", ["/payload", "cwd"], label, 0, fake_proc)
    assert written(weak) != []


PARAMETER = "net.ipv4.ip_unprivileged_port_start"
SHOW = ["/payload", "cat", "/p/sys/net/ipv4/ip_unprivileged_port_start"]


def parameter(spec: Spec) -> None:
    """A kernel parameter of the container's network namespace; the only procfs is at /p."""
    replace_proc(spec, {"destination": "/p", "type": "proc", "source": "proc"})
    spec["linux"]["sysctl"] = {PARAMETER: "77"}
    spec["linux"]["readonlyPaths"] = spec["linux"]["maskedPaths"] = []


def test_sysctl_is_never_written_to_a_fake(runtime: Runtime) -> None:
    """CVE-2025-52881: the write reaches the kernel, whatever lies at the container's /proc/sys."""
    assert runtime.run("a", SHOW, parameter, 0, fake_proc).out == "77"
    assert written(runtime) == []


def test_control_of_the_sysctl(weakened: Callable[..., Runtime]) -> None:
    weak = weakened("procfs-by-name")
    assert weak.run("a", SHOW, parameter, 0, fake_proc).out != "77"
    assert written(weak) != []


def everything_written(spec: Spec) -> None:
    """All that makes the runtime write to procfs: maps, groups, sysctl, an OOM score, time offsets."""
    kinds = ("pid", "network", "ipc", "uts", "mount", "user")
    spec["linux"]["namespaces"] = [{"type": kind} for kind in kinds]
    maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    spec["linux"].update(uidMappings=maps, gidMappings=maps)
    spec["linux"]["sysctl"] = {PARAMETER: "77", "kernel.msgmax": "9000"}
    spec["process"]["oomScoreAdj"] = 500


FILES = re.compile(r"= \d+<.*(uid_map|gid_map|setgroups|oom_score_adj|/attr/|/sys/(net|kernel)/)")
NEEDED = {"RESOLVE_BENEATH", "RESOLVE_NO_XDEV", "RESOLVE_NO_SYMLINKS"}


def procfs_writes(program: str, runtime: Runtime, log: Path) -> tuple[list[str], list[str]]:
    """(all, careless): the calls that opened a file of procfs for writing, and those of them that something
    could have led elsewhere.
    """
    strace = shutil.which("strace")
    assert strace is not None, "strace is not installed (sh tests/setup.sh)"
    bundle = runtime.bundle("a", ["/payload", "cwd"], everything_written)
    (bundle / "rootfs").chmod(0o755)
    shutil.chown(bundle / "rootfs", 100000, 100000)
    command = [strace, "-f", "-y", "-o", str(log), "-e", "trace=openat,openat2,open", program]
    options = ["--root", str(runtime.directory / "state"), "run", "--bundle", str(bundle), "a"]
    subprocess.run([*command, *options], stdin=subprocess.DEVNULL, capture_output=True, check=True)
    opened = []
    for line in log.read_text().splitlines():
        writes = "O_WRONLY" in line or "O_RDWR" in line
        if writes and FILES.search(line):
            opened.append(line)
    return opened, [line for line in opened if not all(flag in line for flag in NEEDED)]


def test_procfs_is_written_by_descriptor(runtime: Runtime, tmp_path: Path) -> None:
    """CVE-2025-52881, by construction: each write goes to a file that was opened beneath a descriptor of
    procfs, crossing no mount and following no link. So no race can lead it to another file.
    """
    opened, careless = procfs_writes(RUNTIME, runtime, tmp_path / "log")
    names = "\n".join(opened)
    for name in ("uid_map", "gid_map", "oom_score_adj", "ip_unprivileged_port_start", "msgmax"):
        assert name in names, names
    assert careless == []


def test_control_of_writing_by_descriptor(
    weakened_program: Callable[..., Path], runtime: Runtime, tmp_path: Path
) -> None:
    _, careless = procfs_writes(str(weakened_program("procfs-by-name")), runtime, tmp_path / "log")
    assert careless
