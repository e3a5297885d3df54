"""Options and image to Docker's Config and HostConfig: merged and checked, nothing on disk is touched."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping, Sequence

from pyd.engine.environment import environment
from pyd.engine.options import ContainerOptions
from pyd.errors import InvalidArgument, NotSupported
from pyd.runtime import capabilities, defaults, devices, resources, spec
from pyd.runtime.signals import signal_number
from pyd.sizes import parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.oci.image_config import Defaults

LOG_OPTIONS = ("max-size", "max-file")
LOG_SIZE = f"{defaults.LOG_SIZE >> 20}m"


def config(options: ContainerOptions, image: Defaults | None, short_id: str) -> dict[str, Any]:
    """Docker's Config. `image`: the image's defaults, None for --rootfs."""
    entrypoint, command = _arguments(options, image)
    if not entrypoint and not command:
        raise InvalidArgument(
            "no command specified", "give a command after the image, or use an image that has one"
        )
    host_network = options.network == "host"
    exposed: dict[str, dict[str, str]] = {port: {} for port in (image.exposed_ports if image else ())}
    if options.expose or options.publish:
        from pyd.network import ports

        for text in options.expose:
            exposed.update((port, {}) for port in ports.parse_expose(text))
        exposed.update((mapping.key, {}) for mapping in ports.parse_all(options.publish))
    stop_signal = options.stop_signal or (image.stop_signal if image else "") or defaults.STOP_SIGNAL
    if options.stop_signal:
        signal_number(options.stop_signal)
    working_dir = options.workdir or (image.working_dir if image else "") or "/"
    if "\0" in working_dir or (options.workdir and not options.workdir.startswith("/")):
        raise InvalidArgument(
            f"the working directory '{options.workdir}' is invalid, it needs to be an absolute path"
        )
    hostname = options.hostname
    if not hostname and not options.network.startswith("container:") and options.uts != "host":
        hostname = os.uname().nodename if host_network else short_id
    elif not hostname and options.uts == "host":
        hostname = os.uname().nodename
    if len(hostname) > 63 or any(c.isspace() or ord(c) < 32 for c in hostname):
        raise InvalidArgument(f"invalid hostname {hostname!r}: at most 63 characters, no blanks")
    attached = [stream.lower() for stream in options.attach] or ["stdout", "stderr"]
    if options.interactive and not options.attach:
        attached.append("stdin")
    if options.detach:
        attached = []
    return {
        "Hostname": hostname,
        "Domainname": options.domainname,
        "User": options.user or (image.user if image else ""),
        "AttachStdin": "stdin" in attached,
        "AttachStdout": "stdout" in attached,
        "AttachStderr": "stderr" in attached,
        "ExposedPorts": exposed,
        "Tty": options.tty,
        "OpenStdin": options.interactive,
        "StdinOnce": options.interactive and not options.detach,
        "Env": environment(options.env, image.env if image else ()),
        "Cmd": list(command) or None,
        "Image": options.image,
        "Volumes": {path: {} for path in image_volumes(image.volumes if image else ())} or None,
        "WorkingDir": posixpath.normpath("/" + working_dir.lstrip("/")),
        "Entrypoint": list(entrypoint) or None,
        "OnBuild": None,
        "Labels": {**(image.labels if image else {}), **options.labels},
        "StopSignal": stop_signal,
        **({"StopTimeout": options.stop_timeout} if options.stop_timeout is not None else {}),
    }


def _arguments(options: ContainerOptions, image: Defaults | None) -> tuple[Sequence[str], Sequence[str]]:
    """ENTRYPOINT and CMD: a given entrypoint discards the image's CMD as well."""
    if options.entrypoint is not None:
        return tuple(part for part in options.entrypoint if part), options.command
    entrypoint = image.entrypoint if image else ()
    return entrypoint, options.command or (image.cmd if image else ())


def image_volumes(paths: Sequence[str]) -> list[str]:
    """Cleaned absolute VOLUME paths of an image; "/" and what climbs out end at the root and are left out."""
    cleaned = (posixpath.normpath("/" + path.lstrip("/")) for path in paths if path and "\0" not in path)
    return list(dict.fromkeys(path for path in cleaned if path != "/"))


_NAMESPACES = {
    "PidMode": ("pid", ("", "private", "host"), True),
    "IpcMode": ("ipc", ("", "private", "shareable", "none", "host"), True),
    "UTSMode": ("uts", ("", "private", "host"), False),
    "CgroupnsMode": ("cgroup namespace", ("", "private", "host"), False),
}


def _namespace(key: str, value: str) -> str:
    kind, allowed, joinable = _NAMESPACES[key]
    if value in allowed:
        return "" if value == "private" and key != "CgroupnsMode" else value
    if joinable and value.startswith("container:") and value != "container:":
        if key == "IpcMode":
            # the peer's /dev/shm is mounted in its own mount namespace only: half would not be shared
            raise NotSupported(
                f"--ipc={value} is not supported: the /dev/shm of another container cannot be shared",
                "give both containers one volume with -v NAME:/dev/shm, or use --ipc=host",
            )
        return value
    raise InvalidArgument(f"invalid {kind} mode: {value}" if kind != "ipc" else f"invalid IPC mode: {value}")


def host_config(options: ContainerOptions) -> tuple[dict[str, Any], list[str]]:
    """(Docker's HostConfig, warnings)."""
    if options.userns not in ("", "host"):
        raise NotSupported(
            f"--userns={options.userns} is not supported: containers share the user namespace of pyd",
            "use --userns=host or leave it out",
        )
    if options.log_driver not in ("json-file", "none"):
        raise NotSupported(
            f"logger: no log driver named '{options.log_driver}' is registered", "use json-file or none"
        )
    log = _log_config(options)
    host: dict[str, Any] = {
        "Binds": list(options.volumes) or None,
        "LogConfig": {"Type": options.log_driver, "Config": log},
        "NetworkMode": "bridge" if options.network in ("", "default") else options.network,
        "PortBindings": {},
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "AutoRemove": options.remove,
        "VolumeDriver": options.volume_driver,
        "VolumesFrom": list(options.volumes_from) or None,
        "CapAdd": capabilities.normalize(options.cap_add, "CapAdd") or None,
        "CapDrop": capabilities.normalize(options.cap_drop, "CapDrop") or None,
        "CgroupnsMode": _namespace("CgroupnsMode", options.cgroupns),
        "Dns": list(options.dns),
        "DnsOptions": list(options.dns_options),
        "DnsSearch": list(options.dns_search),
        "ExtraHosts": list(options.add_hosts) or None,
        "GroupAdd": list(options.groups) or None,
        "IpcMode": _namespace("IpcMode", options.ipc),
        "PidMode": _namespace("PidMode", options.pid),
        "UTSMode": _namespace("UTSMode", options.uts),
        "UsernsMode": options.userns,
        "OomScoreAdj": options.oom_score_adj,
        "Privileged": options.privileged,
        "PublishAllPorts": options.publish_all,
        "ReadonlyRootfs": options.read_only,
        "SecurityOpt": list(options.security_opts) or None,
        "Tmpfs": {text.partition(":")[0]: text.partition(":")[2] for text in options.tmpfs} or None,
        "ShmSize": options.shm_size if options.shm_size is not None else defaults.SHM_SIZE,
        "Sysctls": dict(options.sysctls) or None,
        "Runtime": "pyd",
        "Isolation": "",
        "CgroupParent": options.cgroup_parent,
        "CpuShares": options.cpu_shares,
        "Memory": options.memory,
        "NanoCpus": round(options.cpus * 1e9),
        "BlkioWeight": options.blkio_weight,
        "BlkioWeightDevice": [_weight(text) for text in options.blkio_weight_devices],
        "BlkioDeviceReadBps": [_rate(text, True) for text in options.device_read_bps],
        "BlkioDeviceWriteBps": [_rate(text, True) for text in options.device_write_bps],
        "BlkioDeviceReadIOps": [_rate(text, False) for text in options.device_read_iops],
        "BlkioDeviceWriteIOps": [_rate(text, False) for text in options.device_write_iops],
        "CpuPeriod": options.cpu_period,
        "CpuQuota": options.cpu_quota,
        "CpuRealtimePeriod": options.cpu_rt_period,
        "CpuRealtimeRuntime": options.cpu_rt_runtime,
        "CpusetCpus": options.cpuset_cpus,
        "CpusetMems": options.cpuset_mems,
        "Devices": [devices.parse(text) for text in options.devices],
        "DeviceCgroupRules": [devices.check_rule(text) for text in options.device_cgroup_rules] or None,
        "MemoryReservation": options.memory_reservation,
        "MemorySwap": options.memory_swap,
        "MemorySwappiness": options.memory_swappiness,
        "OomKillDisable": options.oom_kill_disable,
        "PidsLimit": options.pids_limit,
        "Ulimits": [resources.parse_ulimit(text) for text in options.ulimits],
        "Init": options.init,
        "Annotations": dict(options.annotations) or None,
        "MaskedPaths": None if options.privileged else list(defaults.MASKED_PATHS),
        "ReadonlyPaths": None if options.privileged else list(defaults.READONLY_PATHS),
    }
    if not -1000 <= options.oom_score_adj <= 1000:
        raise InvalidArgument(
            f"Invalid value {options.oom_score_adj}, range for oom score adj is [-1000, 1000]"
        )
    if host["ShmSize"] <= 0:
        raise InvalidArgument("SHM size can not be less than 0")
    warnings = resources.check(host)
    security = spec.security_options(options.security_opts)
    if security.get("seccomp") not in (None, "default", "unconfined"):
        from pyd.runtime import seccomp

        seccomp.load(str(security["seccomp"]), ())  # refuse a bad file now, not at the start
    spec.check_sysctls(options.sysctls, host)
    limits = capabilities.bounding()
    wanted = capabilities.select(options.cap_add, options.cap_drop, options.privileged)
    missing = [name for name in wanted if name not in limits]
    if missing:
        warnings.append(
            f"This host does not let pyd give {', '.join(missing)}: the container starts without."
        )
    if options.publish or options.publish_all:
        host["PortBindings"] = port_bindings(options.publish)
    return host, warnings


def port_bindings(publish: Sequence[str]) -> dict[str, list[dict[str, str]]]:
    """Docker's PortBindings: {"80/tcp": [{"HostIp", "HostPort"}]}; a range of host ports stays
    "8000-8010".
    """
    from pyd.network import ports

    bindings: dict[str, list[dict[str, str]]] = {}
    for mapping in ports.parse_all(publish):
        port = str(mapping.host_port or "")
        if mapping.host_last != mapping.host_port:
            port += f"-{mapping.host_last}"
        address = "" if mapping.host_ip == "0.0.0.0" else mapping.host_ip  # noqa: S104
        bindings.setdefault(mapping.key, []).append({"HostIp": address, "HostPort": port})
    return bindings


def _log_config(options: ContainerOptions) -> dict[str, str]:
    for name, value in options.log_opts.items():
        if name not in LOG_OPTIONS or options.log_driver == "none":
            raise InvalidArgument(
                f"unknown log opt '{name}' for {options.log_driver} log driver",
                f"known are {' and '.join(LOG_OPTIONS)} of json-file",
            )
        if name == "max-file" and not re.fullmatch(r"[1-9][0-9]{0,4}", value, re.ASCII):
            raise InvalidArgument(f"invalid value for max-file: {value}")
    log_size(options.log_opts)
    if options.log_driver == "none":
        return {}
    return {"max-size": LOG_SIZE, "max-file": str(defaults.LOG_FILES), **options.log_opts}


def log_size(log_opts: Mapping[str, str]) -> int:
    """Bytes of one log file; -1 is no bound."""
    text = log_opts.get("max-size")
    if text is None:
        return defaults.LOG_SIZE
    try:
        value = parse_size(text)
    except ValueError as error:
        raise InvalidArgument(f"invalid value for max-size: {error}") from None
    if value == 0 or value < -1:
        raise InvalidArgument(f"invalid value for max-size: {text}")
    return value


def _rate(text: str, is_bytes: bool) -> dict[str, Any]:
    path, colon, value = text.rpartition(":")
    try:
        rate = parse_size(value) if is_bytes else int(value)
    except ValueError:
        rate = -1
    if not colon or not path.startswith("/dev/") or rate < 0:
        form = (
            "The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. "
            "Unit is optional and can be kb, mb, or gb"
        )
        raise InvalidArgument(f"invalid rate for device: {text}. {form}")
    return {"Path": path, "Rate": rate}


def _weight(text: str) -> dict[str, Any]:
    path, colon, value = text.rpartition(":")
    if not colon or not path.startswith("/dev/") or not value.isdigit() or not 10 <= int(value) <= 1000:
        raise InvalidArgument(f"invalid weight for device: {text}: <device-path>:<10 to 1000>")
    return {"Path": path, "Weight": int(value)}
