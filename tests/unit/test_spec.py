"""From options to config.json."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pyd.engine import describe
from pyd.engine.options import ContainerOptions
from pyd.errors import InvalidArgument, NotSupported, PydError
from pyd.oci.image_config import Defaults
from pyd.runtime import capabilities, mounts, seccomp, spec
from pyd.runtime.layered import LayeredRoot
from pyd.runtime.users import User

IMAGE = Defaults(
    env=("PATH=/image", "A=1"),
    entrypoint=("/entry",),
    cmd=("serve",),
    working_dir="work",
    labels={"a": "b"},
    exposed_ports=("80/tcp",),
    volumes=("/data", "../../etc", "/"),
    user="www",
    stop_signal="SIGQUIT",
)


def built(options: ContainerOptions, image: Defaults | None = IMAGE, **more: Any) -> dict[str, Any]:
    host, _ = describe.host_config(options)
    values: dict[str, Any] = {
        "id": "f" * 64,
        "config": describe.config(options, image, "f" * 12),
        "host": host,
        "user": User(33, 34, (5,), "/home"),
        "root": "/root",
        "overlay": {"lower": ["/l"], "upper": "/u", "work": "/w", "volatile": True},
        "mounts": (),
        "network": None,
        "runtime": "/pyd-runtime",
        **more,
    }
    return spec.build(spec.SpecInput(**values))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["/entry", "serve"]),
        ({"command": ("x", "y")}, ["/entry", "x", "y"]),
        ({"entrypoint": ("e",)}, ["e"]),
        ({"entrypoint": ("e",), "command": ("x",)}, ["e", "x"]),
        ({"entrypoint": (), "command": ("x",)}, ["x"]),
        ({"init": True}, ["/sbin/docker-init", "init", "--", "/entry", "serve"]),
    ],
)
def test_entrypoint_and_command(options: dict[str, Any], expected: list[str]) -> None:
    assert built(ContainerOptions(image="i", **options))["process"]["args"] == expected


def test_nothing_to_run() -> None:
    with pytest.raises(InvalidArgument, match="no command specified"):
        describe.config(ContainerOptions(image="i", entrypoint=()), IMAGE, "x")


def test_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_HOST", "h")
    options = ContainerOptions(image="i", env=("A=2", "B=", "FROM_HOST", "ABSENT"), tty=True, read_only=True)
    config = built(options)
    process = config["process"]
    assert process["env"] == [
        "PATH=/image",
        f"HOSTNAME={'f' * 12}",
        "TERM=xterm",
        "A=2",
        "B=",
        "FROM_HOST=h",
        "HOME=/home",
    ]
    assert process["cwd"] == "/work"
    assert process["user"] == {"uid": 33, "gid": 34, "additionalGids": [5]}
    assert set(process["capabilities"]) == {"bounding", "effective", "permitted"}, (
        "nothing inheritable or ambient"
    )
    assert set(process["capabilities"]["bounding"]) <= set(capabilities.select((), (), False))
    assert config["root"] == {"path": "/root", "readonly": True}
    assert config["annotations"]["dev.pyd.seccomp"] == "default"
    assert json.loads(config["annotations"]["dev.pyd.overlay"])["upper"] == "/u"
    assert "/proc/kcore" in config["linux"]["maskedPaths"] and "/proc/sys" in config["linux"]["readonlyPaths"]


def test_privileged_masks_nothing() -> None:
    config = built(ContainerOptions(image="i", privileged=True))
    assert "maskedPaths" not in config["linux"] and "dev.pyd.seccomp" not in config["annotations"]
    assert {"allow": True, "access": "rwm"} in config["linux"]["resources"]["devices"]
    sys_mount = next(mount for mount in config["mounts"] if mount["destination"] == "/sys")
    assert "ro" not in sys_mount["options"]


def test_annotations_of_ours_cannot_be_given() -> None:
    config = built(ContainerOptions(image="i", annotations={"dev.pyd.overlay": "{}", "x": "y"}))
    assert json.loads(config["annotations"]["dev.pyd.overlay"])["upper"] == "/u"
    assert config["annotations"]["x"] == "y"


def test_namespaces() -> None:
    def kinds(**options: Any) -> set[str]:
        more: dict[str, Any] = {"network": ""} if options.get("network") == "host" else {}
        return {
            one["type"]
            for one in built(ContainerOptions(image="i", **options), **more)["linux"]["namespaces"]
        }

    assert kinds() >= {"mount", "network", "pid", "ipc", "uts"}
    assert not {"network", "pid", "ipc", "uts"} & kinds(network="host", pid="host", ipc="host", uts="host")
    assert "cgroup" in kinds(cgroupns="private") and "cgroup" not in kinds(cgroupns="host")


def test_resources() -> None:
    options = ContainerOptions(
        image="i", memory=64 << 20, cpus=0.5, pids_limit=10, cpuset_cpus="0-1", blkio_weight=100
    )
    resources = built(options)["linux"]["resources"]
    assert resources["memory"] == {"limit": 64 << 20, "swap": 128 << 20}
    assert resources["cpu"] == {"quota": 50000, "period": 100000, "cpus": "0-1"}
    assert (resources["pids"], resources["blockIO"]) == ({"limit": 10}, {"weight": 100})


@pytest.mark.parametrize(
    "options",
    [
        {"memory": 1000},
        {"memory_swap": 1 << 30},
        {"memory": 1 << 30, "memory_swap": 1 << 20},
        {"cpus": 1000.0},
        {"cpus": -1.0},
        {"cpu_period": 5},
        {"cpus": 1.0, "cpu_quota": 5000},
        {"cpuset_cpus": "1-0"},
        {"cpuset_cpus": "a"},
        {"blkio_weight": 5},
        {"oom_score_adj": 2000},
        {"ulimits": ("nofile=2:1",)},
        {"ulimits": ("nonsense=1",)},
        {"ulimits": ("nofile",)},
        {"cap_add": ("NONSENSE",)},
        {"cap_drop": ("CAP_",)},
        {"security_opts": ("nonsense",)},
        {"sysctls": {"kernel.panic": "1"}},
        {"sysctls": {"net.core.somaxconn": "1"}, "network": "host"},
        {"pid": "nonsense"},
        {"ipc": "container:"},
        {"uts": "container:x"},
        {"userns": "private"},
        {"log_driver": "syslog"},
        {"log_opts": {"nonsense": "1"}},
        {"log_opts": {"max-size": "0"}},
        {"log_opts": {"max-file": "0"}},
        {"device_read_bps": ("sda:1",)},
        {"devices": ("a:b:c:d",)},
        {"device_cgroup_rules": ("c 1:3 x",)},
        {"shm_size": 0},
    ],
)
def test_senseless_options(options: dict[str, Any]) -> None:
    with pytest.raises((InvalidArgument, NotSupported)):
        describe.host_config(ContainerOptions(image="i", **options))


def test_capability_rules() -> None:
    select = capabilities.select
    assert "CAP_NET_ADMIN" in select(("net_admin",), (), False)
    assert "CAP_CHOWN" not in select((), ("chown",), False)
    assert select(("chown",), ("all",), False) == ["CAP_CHOWN"]
    assert "CAP_SYS_ADMIN" in select(("ALL",), (), False)
    assert "CAP_MKNOD" not in select(("ALL",), ("MKNOD",), False)
    assert len(select((), (), False)) == 14


@pytest.mark.parametrize(
    ("text", "kind", "source", "target", "writable"),
    [
        ("/a:/b", "bind", "/a", "/b", True),
        ("/a:/b:ro", "bind", "/a", "/b", False),
        ("/a:/b:ro,z,rshared", "bind", "/a", "/b", False),
        ("name:/b/", "volume", "name", "/b", True),
        ("/b", "volume", "", "/b", True),
        ("name:/b:ro,nocopy", "volume", "name", "/b", False),
        ("/../x:/a/../b", "bind", "/x", "/b", True),
    ],
)
def test_volume_grammar(text: str, kind: str, source: str, target: str, writable: bool) -> None:
    mount = mounts.parse_volume(text)
    assert (mount["Type"], mount["Source"], mount["Destination"], mount["RW"]) == (
        kind,
        source,
        target,
        writable,
    )


@pytest.mark.parametrize(
    "text",
    ["", ":", "/a:", ":/b", "/a:b", "/a:/", "/a:/b:nonsense", "/a:/b:ro:rw", "n:/b:rshared", "/a:/b\0"],
)
def test_senseless_volumes(text: str) -> None:
    with pytest.raises(InvalidArgument):
        mounts.parse_volume(text)


def test_mount_grammar() -> None:
    mount = mounts.parse_mount("type=bind,src=/a,dst=/b,ro,bind-propagation=rslave")
    assert (mount["Source"], mount["RW"], mount["Propagation"], mount["MakeSource"]) == (
        "/a",
        False,
        "rslave",
        False,
    )
    mount = mounts.parse_mount('type=tmpfs,"target=/a,b",tmpfs-size=1m,tmpfs-mode=700')
    assert (mount["Destination"], mount["Options"]) == ("/a,b", ["size=1048576", "mode=700"])
    assert mounts.parse_mount("dst=/x")["Type"] == "volume"
    for text in (
        "type=bind,dst=/x",
        "type=nonsense,dst=/x",
        "src=/a",
        "type=tmpfs,src=a,dst=/x",
        "nonsense=1,dst=/x",
        "type=volume,dst=/x,bind-propagation=shared",
        "type=image,dst=/x",
        "dst=/x,ro=maybe",
    ):
        with pytest.raises(PydError):
            mounts.parse_mount(text)


@pytest.mark.parametrize(
    ("release", "text", "recursive"),
    [
        ("6.1.0", "type=bind,src=/a,dst=/b,ro", True),
        ("5.12.0-rc1+", "type=bind,src=/a,dst=/b,ro,bind-recursive=readonly", True),
        ("6.1.0", "type=bind,src=/a,dst=/b,ro,bind-recursive=writable", False),
        ("6.1.0", "type=bind,src=/a,dst=/b,ro,bind-recursive=disabled", False),
        ("6.1.0", "type=bind,src=/a,dst=/b", False),
        ("5.10.0-28-amd64", "type=bind,src=/a,dst=/b,ro", False),
    ],
)
def test_read_only_holds_for_what_is_mounted_below(
    monkeypatch: pytest.MonkeyPatch, release: str, text: str, recursive: bool
) -> None:
    kernel = os.uname_result(("Linux", "host", release, "#1", "x86_64"))
    monkeypatch.setattr(os, "uname", lambda: kernel)
    (mount,) = mounts.oci([mounts.parse_mount(text)])
    assert ("rro" in mount["options"]) == recursive


@pytest.mark.parametrize(
    ("release", "text"),
    [
        ("6.1.0", "type=bind,src=/a,dst=/b,bind-recursive=readonly"),
        ("6.1.0", "type=bind,src=/a,dst=/b,ro,bind-propagation=rslave,bind-recursive=readonly"),
        ("5.10.0", "type=bind,src=/a,dst=/b,ro,bind-recursive=readonly"),
    ],
)
def test_recursive_read_only_that_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch, release: str, text: str
) -> None:
    kernel = os.uname_result(("Linux", "host", release, "#1", "x86_64"))
    monkeypatch.setattr(os, "uname", lambda: kernel)
    with pytest.raises(PydError, match="bind-recursive=readonly"):
        mounts.parse_mount(text)


def test_mounts_are_ordered_by_depth() -> None:
    wanted = [mounts.parse_volume(f"/s:{path}") for path in ("/a/b/c", "/a", "/a/b")]
    assert [mount["destination"] for mount in mounts.oci(wanted)] == ["/a", "/a/b", "/a/b/c"]
    with pytest.raises(InvalidArgument, match="Duplicate mount point"):
        mounts.unique([*wanted, wanted[0]])


def test_image_volumes_stay_inside() -> None:
    assert describe.image_volumes(IMAGE.volumes) == ["/data", "/etc"]


def test_seccomp_profile_in_dockers_format() -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["old"], "action": "SCMP_ACT_ALLOW", "excludes": {"minKernel": "4.8"}},
            {"names": ["arm"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
        ],
    }
    result = seccomp.convert(profile, (), "x86_64", "6.1.0-1-amd64")
    assert [rule["names"] for rule in result["syscalls"]] == [["read"], ["ptrace"]]
    assert result["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]


def test_files_of_the_root_are_read_inside_it(tmp_path: Path) -> None:
    """A link in an image names a file of the image, whichever way it points."""
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    (lower / "etc").mkdir(parents=True)
    (lower / "real").write_text("of the image")
    upper.mkdir()
    root = LayeredRoot([str(upper), str(lower)])
    (lower / "etc/passwd").symlink_to("/real")
    assert root.read_text("/etc/passwd") == "of the image"
    (upper / "real").write_text("of the upper layer")
    assert root.read_text("/etc/passwd") == "of the upper layer"
    for target in (
        str(secret),
        f"../../../../../../../..{secret}",
        "/proc/self/root/etc/passwd",
        "loop",
        ".",
    ):
        (lower / "etc/passwd").unlink()
        (lower / "etc/passwd").symlink_to(target if target != "loop" else "/etc/passwd")
        assert root.read_text("/etc/passwd") is None, target
    (upper / "etc").symlink_to(str(tmp_path))
    assert root.read_text("/etc/secret") is None
    assert root.read_text("/real/x") is None
