"""From Docker's Config and HostConfig to the runtime spec's config.json. Pure but for devices, which are
looked at.

Order of the mounts: the kernel's file systems, the user's mounts by depth, then
/etc/{resolv.conf,hostname,hosts}
and the init helper.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from pyd.errors import InvalidArgument
from pyd.record import Record, field
from pyd.runtime import capabilities, defaults, devices, mounts, resources
from pyd.runtime.users import User

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

INIT = "/sbin/docker-init"
OCI_VERSION = "1.2.0"


class SpecInput(Record, kw_only=True):
    """What config.json is made from.

    root: directory of the rootfs, or mount point of the overlay
    overlay: {"lower": [top..bottom], "upper", "work", "volatile"} or None for a plain directory
    network: None = a new namespace, "" = the host's, else a path
    joins: namespace type -> path, for `container:x`
    files: target -> host path of the files pyd writes for the container
    """

    id: str
    config: Mapping[str, Any]
    host: Mapping[str, Any]
    user: User
    root: str
    overlay: Mapping[str, Any] | None
    mounts: Sequence[mounts.Mount]
    network: str | None
    joins: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    cgroups_path: str = ""
    cgroup_v2: bool = False
    runtime: str = ""


def build(spec: SpecInput) -> dict[str, Any]:
    config, host = spec.config, spec.host
    privileged = bool(host.get("Privileged"))
    security = security_options(host.get("SecurityOpt") or ())
    wanted = capabilities.select(host.get("CapAdd") or (), host.get("CapDrop") or (), privileged)
    limits = capabilities.bounding()
    granted = [name for name in wanted if name in limits]
    nodes, rules = devices.linux_devices(
        host.get("Devices") or (), host.get("DeviceCgroupRules") or (), privileged
    )
    linux: dict[str, Any] = {
        "cgroupsPath": spec.cgroups_path,
        "namespaces": _namespaces(spec),
        "devices": nodes,
        "resources": {"devices": rules, **resources.linux_resources(host)},
        "sysctl": _sysctls(spec),
    }
    if not privileged and not security.get("unmasked"):
        linux["maskedPaths"] = list(defaults.MASKED_PATHS)
        linux["readonlyPaths"] = list(defaults.READONLY_PATHS)
    propagation = mounts.root_propagation(spec.mounts)
    if propagation:
        linux["rootfsPropagation"] = propagation
    annotations = {
        key: value for key, value in (host.get("Annotations") or {}).items() if not key.startswith("dev.pyd.")
    }
    if spec.overlay is not None:
        annotations["dev.pyd.overlay"] = json.dumps(spec.overlay)
    profile = security.get("seccomp") or ("unconfined" if privileged else "default")
    if profile == "default":
        annotations["dev.pyd.seccomp"] = "default"
    elif profile != "unconfined":
        from pyd.runtime import seccomp

        linux["seccomp"] = seccomp.load(str(profile), granted)
    result: dict[str, Any] = {
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": bool(config.get("Tty")),
            "user": {"uid": spec.user.uid, "gid": spec.user.gid, "additionalGids": list(spec.user.groups)},
            "args": _arguments(config, host),
            "env": environment(config, spec.user.home),
            "cwd": config.get("WorkingDir") or "/",
            "capabilities": {"bounding": granted, "effective": granted, "permitted": granted},
            "rlimits": resources.rlimits(host.get("Ulimits") or ()),
            "noNewPrivileges": bool(security.get("no_new_privileges")),
        },
        "root": {"path": spec.root, "readonly": bool(host.get("ReadonlyRootfs"))},
        "mounts": _mounts(spec, privileged),
        "linux": linux,
        "annotations": annotations,
    }
    size = host.get("ConsoleSize") or (0, 0)
    if config.get("Tty") and size[0] and size[1]:
        result["process"]["consoleSize"] = {"height": size[0], "width": size[1]}
    if host.get("OomScoreAdj"):
        result["process"]["oomScoreAdj"] = host["OomScoreAdj"]
    if security.get("apparmor") not in (None, "unconfined"):
        result["process"]["apparmorProfile"] = security["apparmor"]
    if host.get("UTSMode") != "host":
        result["hostname"] = config.get("Hostname") or spec.id[:12]
        if config.get("Domainname"):
            result["domainname"] = config["Domainname"]
    return result


def _arguments(config: Mapping[str, Any], host: Mapping[str, Any]) -> list[str]:
    arguments = [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]
    if host.get("Init"):
        return [INIT, "init", "--", *arguments]  # the runtime itself is mounted there: its own command "init"
    return arguments


def environment(config: Mapping[str, Any], home: str) -> list[str]:
    """PATH, HOSTNAME, TERM and HOME, unless the image or the user set them; later entries win."""
    values = {"PATH": defaults.PATH, "HOSTNAME": f"HOSTNAME={config.get('Hostname') or ''}"}
    if config.get("Tty"):
        values["TERM"] = "TERM=xterm"
    for entry in config.get("Env") or ():
        name, equals, _ = entry.partition("=")
        if equals and name:
            values[name] = entry
        else:
            # Never a name to look up in our environment (CVE-2026-57231); for Docker too it means "not set"
            values.pop(entry, None)
    values.setdefault("HOME", f"HOME={home}")
    return list(values.values())


def _mounts(spec: SpecInput, privileged: bool) -> list[dict[str, Any]]:
    host = spec.host
    own = {mount["Destination"] for mount in spec.mounts}
    result = []
    for mount in defaults.mounts(host.get("ShmSize") or defaults.SHM_SIZE):
        target = mount["destination"]
        if target in own or ("/dev" in own and target.startswith("/dev/")):
            continue
        if target == "/dev/shm" and host.get("IpcMode") == "host":  # noqa: S108 - inside the container
            result.append({**_bind(target, target), "options": ["rbind", "nosuid", "noexec", "nodev"]})
            continue
        if target == "/dev/shm" and host.get("IpcMode") == "none":  # noqa: S108
            continue
        if privileged and target in ("/sys", "/sys/fs/cgroup"):
            mount["options"] = [option for option in mount["options"] if option != "ro"]
        result.append(mount)
    result += mounts.oci(spec.mounts)
    result += [_bind(target, source) for target, source in spec.files.items() if target not in own]
    if host.get("Init"):
        result.append({**_bind(INIT, spec.runtime), "options": ["bind", "ro", "rprivate"]})
    return result


def _bind(target: str, source: str) -> dict[str, Any]:
    return {"destination": target, "type": "bind", "source": source, "options": ["rbind", "rprivate"]}


def _namespaces(spec: SpecInput) -> list[dict[str, str]]:
    host = spec.host
    result: list[dict[str, str]] = [{"type": "mount"}]
    if spec.network != "":
        result.append({"type": "network", "path": spec.network} if spec.network else {"type": "network"})
    for kind, key in (("pid", "PidMode"), ("ipc", "IpcMode"), ("uts", "UTSMode")):
        if kind in spec.joins:
            result.append({"type": kind, "path": spec.joins[kind]})
        elif host.get(key) != "host":
            result.append({"type": kind})
    # Docker's default: private where only v2 shows all of a container's limits in one place, else the host's
    mode = host.get("CgroupnsMode") or (
        "private" if spec.cgroup_v2 and not host.get("Privileged") else "host"
    )
    if mode == "private":
        result.append({"type": "cgroup"})
    return result


_IPC_SYSCTLS = (
    "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax",
    "kernel.shmmni", "kernel.shm_rmid_forced",
)  # fmt: skip


def check_sysctls(sysctls: Mapping[str, str], host: Mapping[str, Any]) -> None:
    """Only what a namespace of the container's own keeps from the host."""
    for name in sysctls:
        plain = name.replace("/", ".")
        if plain in _IPC_SYSCTLS or plain.startswith("fs.mqueue."):
            if host.get("IpcMode") == "host":
                raise InvalidArgument(f"sysctl '{name}' not allowed in host ipc namespace")
        elif plain.startswith("net."):
            if host.get("NetworkMode") == "host":
                raise InvalidArgument(f"sysctl '{name}' not allowed in host network namespace")
        elif plain in ("kernel.hostname", "kernel.domainname"):
            raise InvalidArgument(f"sysctl '{name}' is not allowed", "use --hostname or --domainname")
        else:
            raise InvalidArgument(f"sysctl '{name}' is not allowed")


def _sysctls(spec: SpecInput) -> dict[str, str]:
    result = {}
    if spec.network is None:
        # ports below 1024 and ping without a capability, as Docker since 20.10
        result = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}
    result.update(spec.host.get("Sysctls") or {})
    return result


def security_options(options: Sequence[str]) -> dict[str, str | bool]:
    """--security-opt as {"no_new_privileges", "seccomp", "apparmor", "unmasked"}."""
    result: dict[str, str | bool] = {}
    for option in options:
        separator = "=" if "=" in option else ":"
        name, _, value = option.partition(separator)
        if name == "no-new-privileges":
            if value not in ("", "true", "false"):
                raise InvalidArgument(f'invalid --security-opt 2: "{option}"')
            result["no_new_privileges"] = value != "false"
        elif name in ("seccomp", "apparmor") and value:
            result[name] = "default" if value == "builtin" else value
        elif name == "systempaths" and value == "unconfined":
            result["unmasked"] = True
        elif name == "label" and value:
            result["label"] = value  # SELinux: pyd sets no labels, "disable" is what it does anyway
        else:
            raise InvalidArgument(f'invalid --security-opt 2: "{option}"')
    return result
