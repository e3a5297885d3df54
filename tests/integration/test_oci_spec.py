"""Fields of the runtime specification, as a container sees them or as files of the kernel show them."""

from __future__ import annotations

import array
import json
import os
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import wait_until
from tests.support.oci import Edit, Runtime, set_in
from tests.support.world import World

SLEEP = ["/payload", "sleep", "1000"]


@pytest.fixture
def runtime(world: World, payload: Path) -> Iterator[Runtime]:
    with tempfile.TemporaryDirectory(prefix="pyd-test-spec-") as directory:
        Path(directory).chmod(0o755)
        made = Runtime(Path(directory), world.cgroup_parent, payload)
        yield made
        made.finish(world)


def all_of(*edits: Edit) -> Edit:
    def edit(spec: dict[str, Any]) -> None:
        for one in edits:
            one(spec)

    return edit


def create(runtime: Runtime, name: str, edit: Edit, args: list[str] | None = None) -> int:
    """A created container; its pid."""
    bundle = runtime.bundle(name, args or SLEEP, edit)
    command = [*runtime.program, "create", "--bundle", str(bundle), name]
    silent = subprocess.DEVNULL
    subprocess.run(command, stdin=silent, stdout=silent, stderr=silent, check=True, timeout=30)
    pid: int = runtime.state(name)["pid"]
    return pid


def shown(runtime: Runtime, edit: Edit, *files: str) -> str:
    """What files of procfs say to the container's process."""
    return runtime.run("a", ["/payload", "cat", *files], edit).out


def test_kernel_attributes_of_the_process(runtime: Runtime) -> None:
    edit = all_of(
        set_in("linux", personality={"domain": "LINUX32"}),
        set_in("linux", memoryPolicy={"mode": "MPOL_BIND", "nodes": "0"}),
        set_in(
            "process", oomScoreAdj=321, noNewPrivileges=True, scheduler={"policy": "SCHED_BATCH", "nice": 3}
        ),
        set_in("process", rlimits=[{"type": "RLIMIT_CORE", "soft": 4096, "hard": 8192}]),
        set_in("process", execCPUAffinity={"initial": "0", "final": "0"}),
        set_in(domainname="inner.example"),
    )
    files = ("personality", "oom_score_adj", "stat", "limits", "status")
    out = shown(runtime, edit, *(f"/proc/self/{file}" for file in files), "/proc/sys/kernel/domainname")
    lines = out.splitlines()
    assert (lines[0], lines[1], lines[-1]) == ("00000008", "321", "inner.example")
    fields = lines[2].rsplit(") ", 1)[1].split()
    assert (fields[16], fields[38]) == ("3", "3"), "nice and SCHED_BATCH"
    assert "Max core file size        4096                 8192" in out
    assert "NoNewPrivs:\t1" in out
    assert f"Cpus_allowed_list:\t0-{(os.cpu_count() or 1) - 1}" in out, (
        "execCPUAffinity is not for the first process"
    )


def test_memory_policy_of_the_container_and_of_an_exec(runtime: Runtime) -> None:
    pid = create(runtime, "a", set_in("linux", memoryPolicy={"mode": "MPOL_INTERLEAVE", "nodes": "0"}))
    runtime("start", "a")
    wait_until(lambda: b"payload" in Path(f"/proc/{pid}/comm").read_bytes(), 5)
    assert "interleave:0" in Path(f"/proc/{pid}/numa_maps").read_text()
    assert "interleave:0" in runtime("exec", "a", "/payload", "cat", "/proc/self/numa_maps").out


def test_scheduling_of_io(runtime: Runtime) -> None:
    create(runtime, "a", set_in("process", ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 6}))
    pid = str(runtime.state("a")["pid"])
    shown = subprocess.run(["ionice", "-p", pid], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "best-effort: prio 6"


def test_cpus_of_an_exec(runtime: Runtime, tmp_path: Path) -> None:
    create(runtime, "a", set_in("process", execCPUAffinity={"initial": "0", "final": "0"}))
    runtime("start", "a")
    last = (os.cpu_count() or 1) - 1
    status = runtime("exec", "a", "/payload", "cat", "/proc/self/status").out
    assert "Cpus_allowed_list:\t0\n" in status
    process = {"args": ["/payload", "cat", "/proc/self/status"], "cwd": "/", "user": {"uid": 0, "gid": 0}}
    file = tmp_path / "process.json"
    file.write_text(json.dumps(process | {"execCPUAffinity": {"final": str(last)}}))
    assert f"Cpus_allowed_list:\t{last}\n" in runtime("exec", "--process", file, "a").out
    for field in ("initial", "final"):
        file.write_text(json.dumps(process | {"execCPUAffinity": {field: "1000"}}))
        refused = runtime("exec", "--process", file, "a", code=None)
        assert refused.code not in (0, 126, 127) and f"process.execCPUAffinity.{field}" in refused.stderr


def test_clocks_of_their_own(runtime: Runtime) -> None:
    def edit(spec: dict[str, Any]) -> None:
        spec["linux"]["namespaces"].append({"type": "time"})
        spec["linux"]["timeOffsets"] = {
            "monotonic": {"secs": 86400, "nanosecs": 5},
            "boottime": {"secs": 864000},
        }

    offsets = shown(runtime, edit, "/proc/self/timens_offsets").split()
    assert offsets == ["monotonic", "86400", "5", "boottime", "864000", "0"]


def test_capabilities_and_ids(runtime: Runtime) -> None:
    kept = ["CAP_NET_BIND_SERVICE"]

    def edit(spec: dict[str, Any]) -> None:
        spec["process"]["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [7, 8], "umask": 0o27}
        kinds = ("bounding", "permitted", "inheritable", "effective", "ambient")
        spec["process"]["capabilities"] = dict.fromkeys(kinds, kept)

    lines = dict(line.split(":\t") for line in runtime.run("a", ["/payload", "caps"], edit).out.splitlines())
    assert {name: int(lines[name], 16) for name in lines if name.startswith("Cap")} == dict.fromkeys(
        ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), 1 << 10
    )
    ids = runtime.run("b", ["/payload", "ids"], edit).out
    assert "Uid:\t1000\t1000" in ids and "Gid:\t1001\t1001" in ids and "Umask:\t0027" in ids
    assert set(ids.split("Groups:\t")[1].split("\n")[0].split()) >= {"7", "8"}


def test_devices(runtime: Runtime) -> None:
    devices = [
        {"path": "/dev/c", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 3, "gid": 4},
        {"path": "/deep/er/b", "type": "b", "major": 7, "minor": 0},
        {"path": "/dev/fifo", "type": "p", "fileMode": 0o600},
        {"path": "/dev/u", "type": "u", "major": 1, "minor": 8},
        {"path": "/dev/full", "type": "c", "major": 1, "minor": 7, "fileMode": 0o400},
    ]
    pid = create(runtime, "a", set_in("linux", devices=devices))
    seen = {path: os.lstat(f"/proc/{pid}/root{path}") for path in (str(d["path"]) for d in devices)}
    modes = {path: stat.filemode(found.st_mode) for path, found in seen.items()}
    assert modes == {
        "/dev/c": "crw-r-----",
        "/deep/er/b": "brw-rw-rw-",
        "/dev/fifo": "prw-------",
        "/dev/u": "crw-rw-rw-",
        "/dev/full": "cr--------",
    }
    assert (seen["/dev/c"].st_uid, seen["/dev/c"].st_gid) == (3, 4)
    assert seen["/deep/er/b"].st_rdev == os.makedev(7, 0)


def test_all_hooks_with_state_and_namespaces(runtime: Runtime, tmp_path: Path) -> None:
    """runtime.md, "Lifecycle", and config.md, "POSIX-platform Hooks"."""
    hook = tmp_path / "hook.sh"
    hook.write_text(
        f"#!/bin/sh\nlog={tmp_path}/$1\n"
        "{ echo $A-$HOME; readlink /proc/self/ns/net; readlink /proc/self/ns/mnt; cat; } > $log\n"
    )
    hook.chmod(0o755)
    outside = ("prestart", "createRuntime", "poststart", "poststop")
    kinds = (*outside[:2], "createContainer", *outside[2:])

    def edit(spec: dict[str, Any]) -> None:
        spec["hooks"] = {kind: [{"path": str(hook), "args": ["h", kind], "env": ["A=b"]}] for kind in kinds}
        # resolved in the container: the only program there
        spec["hooks"]["startContainer"] = [
            {"path": "/payload", "args": ["p", "write", "/started", "by the hook"], "timeout": 5}
        ]
        spec["annotations"] = {"org.example": "x"}

    create(runtime, "a", edit, ["/payload", "cat", "/started"])
    assert not (runtime.directory / "a/rootfs/started").exists()
    runtime("start", "a")
    wait_until(lambda: runtime.state("a")["status"] == "stopped", 5)
    assert (runtime.directory / "a/rootfs/started").read_text() == "by the hook"
    runtime("delete", "a")
    status = {}
    for kind in kinds:
        environment, net, mnt, text = (tmp_path / kind).read_text().split("\n", 3)
        state = json.loads(text)
        assert environment == "b-", "nobody else's variables"
        assert (state["id"], state["annotations"]) == ("a", {"org.example": "x"}), kind
        assert state["bundle"] == str(runtime.directory / "a")
        status[kind] = state["status"]
        assert (net != os.readlink("/proc/self/ns/net")) == (kind not in outside), kind
        assert (mnt != os.readlink("/proc/self/ns/mnt")) == (kind not in outside), kind
        assert ("pid" in state) == (kind != "poststop"), kind
    assert status == {
        "prestart": "creating",
        "createRuntime": "creating",
        "createContainer": "creating",
        "poststart": "running",
        "poststop": "stopped",
    }


@pytest.mark.parametrize(
    ("named", "marks"),
    [("shared", "shared:"), ("rslave", ""), ("private", ""), ("runbindable", "unbindable"), ("", "")],
)
def test_propagation_of_the_root(runtime: Runtime, named: str, marks: str) -> None:
    out = runtime.run("a", ["/payload", "mounts"], set_in("linux", rootfsPropagation=named)).stdout
    (root,) = [line for line in out.splitlines() if line.split()[4] == "/"]
    optional = root.split(" - ")[0].split()[6:]
    assert [word for word in optional if word.startswith(("shared", "unbindable"))] == optional[
        : len(optional)
    ]
    assert bool(optional) == bool(marks) and all(word.startswith(marks) for word in optional), root


def test_recursive_options_reach_every_mount_below(runtime: Runtime) -> None:
    def edit(spec: dict[str, Any]) -> None:
        options = ["rbind", "rro", "rnosuid", "rnoexec", "rnoatime"]
        spec["mounts"].append({"destination": "/below", "type": "none", "source": "/sys", "options": options})

    out = runtime.run("a", ["/payload", "mounts"], edit).stdout
    below = [line.split() for line in out.splitlines() if line.split()[4].startswith("/below")]
    assert len(below) > 1
    for line in below:
        assert {"ro", "nosuid", "noexec", "noatime"} <= set(line[5].split(",")), line


def test_ids_of_a_mount(runtime: Runtime, tmp_path: Path) -> None:
    """A file of uid 1000 on disk is root's in a container that has user 0 where the mount maps 1000 to."""
    data = runtime.directory / "data"
    data.mkdir()
    (data / "file").write_text("x")
    os.chown(data / "file", 1000, 1000)

    def edit(spec: dict[str, Any]) -> None:
        maps = [{"containerID": 1000, "hostID": 70000, "size": 10}]
        spec["mounts"].append(
            {
                "destination": "/data",
                "type": "none",
                "source": str(data),
                "options": ["bind"],
                "uidMappings": maps,
                "gidMappings": maps,
            }
        )

    pid = create(runtime, "a", edit)
    seen = os.stat(f"/proc/{pid}/root/data/file")
    assert (seen.st_uid, seen.st_gid) == (70000, 70000)
    assert os.stat(data / "file").st_uid == 1000


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def device() -> Iterator[str]:
    """One end of a veth pair of the session's network namespace, with addresses."""
    ip("link", "add", "spec0", "type", "veth", "peer", "name", "spec1")
    ip("address", "add", "192.0.2.7/24", "dev", "spec0")
    ip("address", "add", "2001:db8::7/64", "dev", "spec0", "nodad")
    yield "spec0"
    subprocess.run(["ip", "link", "delete", "spec1"], capture_output=True, check=False)


@pytest.mark.parametrize(("inside", "seen"), [("eth7", "eth7"), ("", "spec0"), ("dev%d", "dev0")])
def test_network_devices_move_in(runtime: Runtime, device: str, inside: str, seen: str) -> None:
    ip("link", "set", "spec1", "up")
    pid = create(runtime, "a", set_in("linux", netDevices={device: {"name": inside} if inside else {}}))
    assert device not in {name for _, name in socket.if_nameindex()}
    shown = subprocess.run(
        ["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-j", "address", "show", "dev", seen],
        capture_output=True,
        text=True,
        check=True,
    )
    (link,) = json.loads(shown.stdout)
    addresses = {f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"] if a["scope"] == "global"}
    assert addresses == {"192.0.2.7/24", "2001:db8::7/64"}
    assert "UP" in link["flags"]


@pytest.mark.parametrize(
    ("devices", "word"),
    [
        ({"spec0": {}, "spec1": {"name": "lo"}}, "lo"),
        ({"spec0": {}, "zz": {}}, "zz"),
        ({"lo": {"name": "x"}}, "lo"),
    ],
)
def test_network_devices_that_cannot_move_stay(
    runtime: Runtime, device: str, devices: dict[str, Any], word: str
) -> None:
    result = runtime.run("a", ["/payload", "cwd"], set_in("linux", netDevices=devices), code=1)
    assert "linux.netDevices" in result.stderr and word in result.stderr
    assert {device, "spec1", "lo"} <= {name for _, name in socket.if_nameindex()}


def test_sysctls_of_a_shared_namespace_are_the_hosts(runtime: Runtime) -> None:
    def edit(spec: dict[str, Any]) -> None:
        spaces = spec["linux"]["namespaces"]
        next(ns for ns in spaces if ns["type"] == "network")["path"] = f"/proc/{os.getpid()}/ns/net"
        spec["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}

    result = runtime.run("a", ["/payload", "cwd"], edit, code=1)
    assert "linux.sysctl.net.ipv4.ip_forward" in result.stderr


def test_the_agent_of_a_filter_gets_its_listener(runtime: Runtime, tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(path))
        agent.listen()
        seccomp = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "flags": [
                "SECCOMP_FILTER_FLAG_LOG",
                "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
                "SECCOMP_FILTER_FLAG_TSYNC",
                "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
            ],
            "listenerPath": str(path),
            "listenerMetadata": "for the agent",
            "syscalls": [{"names": ["rmdir"], "action": "SCMP_ACT_NOTIFY"}],
        }
        pid = create(runtime, "a", set_in("linux", seccomp=seccomp))
        connection, _ = agent.accept()
        with connection:
            text, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(4))
    (listener,) = array.array("i", ancillary[0][2])
    os.close(listener)
    state = json.loads(text)
    assert (state["metadata"], state["fds"], state["pid"]) == ("for the agent", ["seccompFd"], pid)
    assert (state["state"]["id"], state["state"]["status"]) == ("a", "creating")


def test_features_are_of_the_specification(runtime: Runtime) -> None:
    """That each name is understood is a Rust test (rust/runtime/src/cli/features.rs)."""
    features = json.loads(runtime("features").stdout)
    assert features["ociVersionMax"] >= "1.3" and len(features["hooks"]) == 6
    linux = features["linux"]
    for field in ("intelRdt", "netDevices", "apparmor", "selinux", "seccomp"):
        assert linux[field]["enabled"] is True, field
    assert linux["mountExtensions"]["idmap"]["enabled"] is True
    assert {"rro", "ridmap", "tmpcopyup"} <= set(features["mountOptions"])
    assert set(linux["seccomp"]["supportedFlags"]) <= set(linux["seccomp"]["knownFlags"])


def test_a_relative_control_group_counts_from_the_top(runtime: Runtime) -> None:
    """Wherever its makers are themselves: what deletes it may be in another group than what has made it."""
    path = f"{runtime.cgroup_parent.strip('/')}/relative"
    pid = create(runtime, "a", set_in("linux", cgroupsPath=path))
    groups = {line.split(":", 2)[2] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()}
    assert f"/{path}" in groups and groups <= {f"/{path}", "/"}
