"""Control groups as a way out: release_agent, and groups of the host that a container could change."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Pyd
from tests.support.oci import RUNTIME, Runtime, weaken

ROOT = Path("/sys/fs/cgroup")
V1 = (ROOT / "memory/release_agent").exists()
USER = 20011

# The published exploit, up to the write: a hierarchy of v1 has its release_agent in its root directory only.
EXPLOIT = """mkdir -p /tmp/c
unshare -Urm sh -c 'echo UNSHARED; mount -t cgroup -o memory none /tmp/c && echo MOUNTED'
mount -t cgroup -o memory none /tmp/c && echo MOUNTED
find /tmp/c /sys/fs/cgroup -name release_agent | grep -q . && echo AGENT
true"""


def attempt(pyd: Pyd, image: str, *options: str) -> set[str]:
    out = pyd("run", "--rm", "--network", "none", *options, image, "sh", "-c", EXPLOIT).lines
    return set(out) & {"UNSHARED", "MOUNTED", "AGENT"}


def test_release_agent(busybox: str, pyd: Pyd) -> None:
    """CVE-2022-0492: neither a user namespace nor a mount, and no release_agent to be seen."""
    assert attempt(pyd, busybox) == set()
    assert attempt(pyd, busybox, "--cgroupns", "private") == set()
    assert attempt(pyd, busybox, "--cap-add", "NET_ADMIN") == set()


def test_control_of_release_agent(busybox: str, pyd: Pyd) -> None:
    """Without seccomp the user namespace is there; a privileged container mounts the hierarchy itself."""
    assert "UNSHARED" in attempt(pyd, busybox, "--security-opt", "seccomp=unconfined")
    if not V1:
        pytest.skip("cgroup v2 has no release_agent")
    assert attempt(pyd, busybox, "--privileged") >= {"MOUNTED", "AGENT"}


def writable_cgroups(spec: dict[str, Any]) -> None:
    for mount in spec["mounts"]:
        if mount["destination"] == "/sys/fs/cgroup":
            mount["options"].remove("ro")


@pytest.mark.skipif(not V1, reason="cgroup v2 has no release_agent")
def test_writable_groups_are_the_containers_own(runtime: Runtime) -> None:
    """CVE-2022-0492: what a container with writable groups (a system container) sees of a hierarchy begins at
    its own group, where there is no release_agent; its own it may write, as it was asked for.
    """
    paths = ("/sys/fs/cgroup/memory/release_agent", "/sys/fs/cgroup/memory/cgroup.procs")
    seen = runtime.run("a", ["/payload", "probe", *paths], writable_cgroups).lines
    assert seen[0].endswith("release_agent NotFound")
    assert seen[1].endswith("writable"), seen
    assert (ROOT / "memory/release_agent").exists(), "the control: the hierarchy's root has it"


@pytest.fixture
def group(world: object) -> Iterator[Path]:
    """A group of the host that belongs to an ordinary user, as a login session's may."""
    directory = (ROOT / "memory" if V1 else ROOT) / f"pyd-test-user-{os.getpid()}"
    directory.mkdir()
    try:
        for path in (directory, *directory.glob("*procs"), *directory.glob("tasks")):
            os.chown(path, USER, USER)
        yield directory
    finally:
        directory.rmdir()


def rootless(runtime: Runtime, group: Path, program: Path) -> str:
    """What a container of the user, without a cgroup namespace, may do to the group it was started from."""
    bundle = runtime.directory / "rootless"
    (bundle / "rootfs").mkdir(parents=True)
    shutil.copy(runtime.payload, bundle / "rootfs/payload")
    for path in (bundle, bundle / "rootfs"):
        os.chown(path, USER, USER)
    where = "/sys/fs/cgroup/memory/cgroup.procs" if V1 else "/sys/fs/cgroup/cgroup.procs"
    script = f"""set -e
echo $$ > {group}/cgroup.procs
exec setpriv --reuid={USER} --regid={USER} --clear-groups sh -c '
set -e
cd {bundle}
program="{program} --root {bundle}/state"
$program spec --rootless
python3 -c "
import json
spec = json.load(open(\\"config.json\\"))
spec[\\"process\\"].update(args=[\\"/payload\\", \\"probe\\", \\"{where}\\"], terminal=False)
kinds = spec[\\"linux\\"][\\"namespaces\\"]
spec[\\"linux\\"][\\"namespaces\\"] = [kind for kind in kinds if kind[\\"type\\"] != \\"cgroup\\"]
json.dump(spec, open(\\"config.json\\", \\"w\\"))"
exec $program run rootless'
"""
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def for_all(runtime: Runtime, program: str | Path) -> Path:
    """A copy that an ordinary user may run: where it was installed, or built, may be root's alone."""
    return Path(shutil.copy(program, runtime.directory))


def test_rootless_groups_are_read_only(runtime: Runtime, group: Path) -> None:
    """CVE-2023-25809: in a rootless container the user's own groups of the host are not writable."""
    assert rootless(runtime, group, for_all(runtime, RUNTIME)).endswith("ReadOnlyFilesystem")


def test_control_of_rootless_groups(runtime: Runtime, group: Path, weakened_binary: Path) -> None:
    program = weaken(for_all(runtime, weakened_binary), runtime.directory, "cgroup-writable")
    assert rootless(runtime, group, program).endswith("writable")
