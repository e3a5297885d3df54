"""Specifications that the machine, or a moment's thought, refuses: a sentence that names the field, status 1,
and nothing created.

Every single field wrong in turn is a Rust test (rust/runtime/src/checks/tests.rs).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.oci import Edit, Runtime, set_in
from tests.support.world import World


@pytest.fixture
def runtime(world: World, payload: Path) -> Iterator[Runtime]:
    with tempfile.TemporaryDirectory(prefix="pyd-test-bad-") as directory:
        Path(directory).chmod(0o755)
        made = Runtime(Path(directory), world.cgroup_parent, payload)
        yield made
        made.finish(world)


def add_mount(**fields: Any) -> Edit:
    return lambda spec: spec["mounts"].append({"destination": "/x"} | fields)


def user_namespace(spec: dict[str, Any]) -> None:
    maps = [{"containerID": 0, "hostID": 100000, "size": 10}]
    spec["linux"]["namespaces"].append({"type": "user"})
    spec["linux"].update(uidMappings=maps, gidMappings=maps)


def unmapped_user(spec: dict[str, Any]) -> None:
    user_namespace(spec)
    spec["process"]["user"]["uid"] = 11


def join_ipc(path: str) -> Edit:
    def edit(spec: dict[str, Any]) -> None:
        next(ns for ns in spec["linux"]["namespaces"] if ns["type"] == "ipc")["path"] = path

    return edit


CASES: list[tuple[Edit, tuple[str, ...]]] = [
    # before anything exists
    (set_in("process", cwd="relative"), ("process.cwd",)),
    (set_in("process", "user", uid=4294967296), ("process.user.uid",)),
    (
        set_in("process", rlimits=[{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]),
        ("process.rlimits[0].soft",),
    ),
    (set_in("linux", "resources", "pids", limit=2**40), ("linux.resources.pids.limit",)),
    (set_in("linux", cgroupsPath="/a/../b"), ("linux.cgroupsPath",)),
    (set_in("linux", sysctl={"kernel.core_pattern": "|/x"}), ("linux.sysctl.kernel.core_pattern",)),
    (set_in("hooks", prestart=[{"path": "relative"}]), ("hooks.prestart[0].path",)),
    (set_in("linux", intelRdt={"closID": "../x"}), ("linux.intelRdt.closID",)),
    (set_in(ociVersion="2.0.0"), ("ociVersion",)),
    (set_in(windows={"layerFolders": ["a"]}), ("windows",)),
    (add_mount(type="none", source="/srv", options=["bind", "nonsense"]), ("options[1]", "nonsense")),
    # what only the machine can know
    (set_in("root", path="nosuch"), ("root.path", "nosuch")),
    (join_ipc("/no/such"), ("/no/such",)),
    (join_ipc("/proc/self/ns/net"), ("/proc/self/ns/net", "ipc")),
    (add_mount(type="nosuchfs", source="a"), ("/x", "nosuchfs")),
    (add_mount(type="bind", source="/no/such"), ("/x", "/no/such")),
    (add_mount(type="tmpfs", source="t", options=["nonsense=1"]), ("/x", "nonsense")),
    (set_in("linux", sysctl={"net.nonsense": "1"}), ("net.nonsense",)),
    (set_in("linux", "resources", "cpu", cpus="4000"), ("cpuset.cpus", "4000")),
    (set_in("linux", intelRdt={"l3CacheSchema": "L3:0=f"}), ("linux.intelRdt.l3CacheSchema", "resctrl")),
    (set_in("linux", netDevices={"nosuch9": {}}), ("linux.netDevices", "nosuch9")),
    (set_in("linux", memoryPolicy={"mode": "MPOL_BIND", "nodes": "1000"}), ("linux.memoryPolicy",)),
    (set_in("process", selinuxLabel="a:b:c:s0"), ("process.selinuxLabel", "SELinux")),
    (set_in("hooks", createRuntime=[{"path": "/bin/false"}]), ("createRuntime", "/bin/false")),
    (set_in("hooks", createContainer=[{"path": "/no/such"}]), ("createContainer", "/no/such")),
    (unmapped_user, ("11", "uidMappings")),
    (set_in("process", args=["/no/such"]), ("/no/such",)),
    (
        set_in(
            "linux",
            seccomp={
                "defaultAction": "SCMP_ACT_ALLOW",
                "listenerPath": "/no/agent",
                "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
            },
        ),
        ("/no/agent",),
    ),
    (
        set_in("linux", devices=[{"path": "/payload", "type": "c", "major": 1, "minor": 3}]),
        ("/payload",),
    ),
]


@pytest.mark.parametrize(("edit", "words"), CASES, ids=[words[0] for _, words in CASES])
def test_nothing_is_created(runtime: Runtime, world: World, edit: Edit, words: tuple[str, ...]) -> None:
    bundle = runtime.bundle("bad", ["/payload", "cwd"], edit)
    os.chown(bundle / "rootfs", 100000, 100000)
    before = Path("/proc/self/mountinfo").read_text()
    result = runtime("create", "--pid-file", bundle / "pid", "--bundle", bundle, "bad", code=None)
    assert result.code == 1, result
    assert len(result.stderr.strip().splitlines()) == 1, result
    for word in words:
        assert word in result.stderr, result
    state = runtime.directory / "state"
    assert not state.exists() or not list(state.iterdir())
    assert not world.cgroups()
    assert not (bundle / "pid").exists()
    assert Path("/proc/self/mountinfo").read_text() == before
    assert not list(processes_of(bundle))


def processes_of(bundle: Path) -> Iterator[str]:
    """Processes that are a copy of the runtime, or have their root or a file in the bundle."""
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            words = (directory / "cmdline").read_text(errors="replace")
            root = os.readlink(directory / "root")
            if str(bundle) in words or root.startswith(str(bundle)):
                yield directory.name
        except OSError:
            continue


def test_a_config_of_64_megabytes(runtime: Runtime) -> None:
    bundle = runtime.bundle("huge", ["/payload", "cwd"])
    with (bundle / "config.json").open("a") as config:
        config.write(" " * (64 << 20))
    result = runtime("run", "--bundle", bundle, "huge", code=None)
    assert result.code == 1 and "16 MiB" in result.stderr


def test_a_config_without_a_bundle(runtime: Runtime, tmp_path: Path) -> None:
    for bundle, word in ((tmp_path, "config.json"), (tmp_path / "nosuch", "nosuch")):
        result = runtime("run", "--bundle", bundle, "none", code=None)
        assert result.code == 1 and word in result.stderr, result
