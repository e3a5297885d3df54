"""The flags that `run` and `create` share, in the order of their subjects, and what they mean for the
engine.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from pyd import errors
from pyd.cli.command import BOOL, FLOAT, INT, LIST, SIZE, TEXT, Args, Option, UsageError, refuse_content_trust
from pyd.engine.options import ContainerOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LATER = "restart policies and health checks come with a later version"
_NETWORKS = "networks of your own come with a later version"
_STOP = "it comes with a later version"

CREATE: tuple[Option, ...] = (
    Option("attach", LIST, "Attach to stdin, stdout or stderr", short="a", metavar="stream"),
    Option("tty", BOOL, "Allocate a pseudo-terminal", short="t"),
    Option("interactive", BOOL, "Keep stdin open", short="i"),
    Option("name", TEXT, "Name of the container"),
    Option("env", LIST, "Environment variable: NAME=value, or NAME for the caller's value", short="e"),
    Option("env-file", LIST, "Read environment variables from a file", metavar="file"),
    Option("workdir", TEXT, "Working directory in the container", short="w"),
    Option("user", TEXT, "User: name or uid, with :group or :gid", short="u"),
    Option("group-add", LIST, "Additional group"),
    Option("entrypoint", TEXT, "Overwrite the ENTRYPOINT of the image"),
    Option("hostname", TEXT, "Host name of the container", short="h"),
    Option("domainname", TEXT, "NIS domain name of the container"),
    Option("label", LIST, "Metadata: key=value", short="l"),
    Option("label-file", LIST, "Read labels from a file", metavar="file"),
    Option("annotation", LIST, "OCI annotation: key=value"),
    Option("rm", BOOL, "Remove the container when it ends"),
    Option("init", BOOL, "Run a small init as PID 1 that reaps processes and forwards signals"),
    Option("stop-signal", TEXT, "Signal to stop the container"),
    Option("stop-timeout", INT, "Seconds to wait before it is killed, -1 = for ever"),
    Option(
        "rootfs",
        TEXT,
        "A directory instead of an image; DIR:O = with a throw-away upper layer",
        metavar="dir[:O]",
    ),
    Option("pull", TEXT, "Pull the image: always, missing or never", default="missing"),
    Option("platform", TEXT, "Platform of the image, such as linux/arm64"),
    Option("quiet", BOOL, "No progress of a pull", short="q"),
    Option("cidfile", TEXT, "Write the id of the container to a file", metavar="file"),
    Option(
        "disable-content-trust",
        BOOL,
        "Signatures are not verified yet: =false is refused",
        default=True,
    ),
    # files
    Option("volume", LIST, "Mount: [SOURCE:]TARGET[:ro,rshared,nocopy,…]", short="v"),
    Option("mount", LIST, "Mount: type=bind|volume|tmpfs,src=…,dst=…"),
    Option("tmpfs", LIST, "Mount a tmpfs: TARGET[:size=…,mode=…]"),
    Option("volumes-from", LIST, "Mount the volumes of another container"),
    Option("volume-driver", TEXT, "Volume driver (local)"),
    Option("read-only", BOOL, "Root file system read-only"),
    Option("shm-size", SIZE, "Size of /dev/shm"),
    Option("device", LIST, "Give a device of the host: HOST[:CONTAINER][:rwm]"),
    Option("device-cgroup-rule", LIST, 'Allow devices: "c 1:3 rwm"'),
    Option("gpus", TEXT, "GPUs", later="give the devices with --device"),
    Option("storage-opt", LIST, "Storage driver option", later=_STOP),
    # network
    Option("network", TEXT, "none, host, bridge or container:NAME", default="default"),
    Option("net", TEXT, "The same as --network"),
    Option("publish", LIST, "Publish a port: [IP:][HOST:]CONTAINER[/tcp|udp]", short="p"),
    Option("publish-all", BOOL, "Publish all exposed ports to free ports", short="P"),
    Option("expose", LIST, "Expose a port or a range"),
    Option("add-host", LIST, "Line in /etc/hosts: NAME:IP or NAME:host-gateway"),
    Option("dns", LIST, "Name server"),
    Option("dns-search", LIST, "Search domain"),
    Option("dns-option", LIST, "Option of resolv.conf"),
    Option("dns-opt", LIST, "The same as --dns-option"),
    Option("mac-address", TEXT, "MAC address"),
    Option("ip", TEXT, "IPv4 address", later=_NETWORKS),
    Option("ip6", TEXT, "IPv6 address", later=_NETWORKS),
    Option("network-alias", LIST, "Alias in the network", later=_NETWORKS),
    Option("net-alias", LIST, "Alias in the network", later=_NETWORKS),
    Option("link", LIST, "Link to another container", later=_NETWORKS),
    Option("link-local-ip", LIST, "Link-local address", later=_NETWORKS),
    # isolation
    Option("privileged", BOOL, "All capabilities and devices, nothing masked, no seccomp"),
    Option("cap-add", LIST, "Add a capability"),
    Option("cap-drop", LIST, "Drop a capability"),
    Option(
        "security-opt", LIST, "no-new-privileges, seccomp=unconfined|FILE, apparmor=…, systempaths=unconfined"
    ),
    Option("pid", TEXT, "PID namespace: host or container:NAME"),
    Option("ipc", TEXT, "IPC namespace: private, shareable, none or host"),
    Option("uts", TEXT, "UTS namespace: host"),
    Option("userns", TEXT, "User namespace: host"),
    Option("cgroupns", TEXT, "Cgroup namespace: private or host"),
    Option("cgroup-parent", TEXT, "Parent cgroup"),
    Option("sysctl", LIST, "Kernel parameter of its namespaces: name=value"),
    Option("ulimit", LIST, "Limit: name=soft[:hard]"),
    Option("isolation", TEXT, "Isolation technology", values=("", "default", "process")),
    Option("runtime", TEXT, "OCI runtime", values=("", "pyd", "pyd-runtime")),
    # resources
    Option("memory", SIZE, "Memory limit", short="m"),
    Option("memory-swap", SIZE, "Limit of memory plus swap, -1 = no limit"),
    Option("memory-reservation", SIZE, "Soft memory limit"),
    Option("memory-swappiness", INT, "Swappiness (0 to 100)"),
    Option("kernel-memory", SIZE, "Kernel memory limit", later="Linux has dropped it, leave it out"),
    Option("cpus", FLOAT, "Number of CPUs, such as 1.5"),
    Option("cpu-shares", INT, "CPU shares (relative weight)", short="c"),
    Option("cpu-period", INT, "CFS period in microseconds"),
    Option("cpu-quota", INT, "CFS quota in microseconds"),
    Option("cpu-rt-period", INT, "Real-time period in microseconds"),
    Option("cpu-rt-runtime", INT, "Real-time runtime in microseconds"),
    Option("cpuset-cpus", TEXT, "CPUs that may be used: 0-3, 0,1"),
    Option("cpuset-mems", TEXT, "Memory nodes that may be used"),
    Option("pids-limit", INT, "Number of processes, -1 = no limit"),
    Option("blkio-weight", INT, "Block I/O weight (10 to 1000)"),
    Option("blkio-weight-device", LIST, "Weight of a device: /dev/sda:500"),
    Option("device-read-bps", LIST, "Bytes per second read from a device: /dev/sda:1mb"),
    Option("device-write-bps", LIST, "Bytes per second written to a device"),
    Option("device-read-iops", LIST, "Reads per second from a device"),
    Option("device-write-iops", LIST, "Writes per second to a device"),
    Option("oom-kill-disable", BOOL, "Do not kill on out of memory"),
    Option("oom-score-adj", INT, "OOM score adjustment (-1000 to 1000)", default=0),
    # logs
    Option("log-driver", TEXT, "json-file or none", default="json-file"),
    Option("log-opt", LIST, "Option of the log driver: max-size=20m, max-file=5"),
    # later
    Option("restart", TEXT, "Restart policy", later=_LATER),
    Option("health-cmd", TEXT, "Health check", later=_LATER),
    Option("health-interval", TEXT, "Health check", later=_LATER),
    Option("health-retries", TEXT, "Health check", later=_LATER),
    Option("health-start-period", TEXT, "Health check", later=_LATER),
    Option("health-start-interval", TEXT, "Health check", later=_LATER),
    Option("health-timeout", TEXT, "Health check", later=_LATER),
    Option("no-healthcheck", BOOL, "Ignore the health check of the image: pyd runs none yet"),
    Option("use-api-socket", BOOL, "API socket", later=_STOP),
)


def container_options(args: Args, *, detach: bool = False) -> ContainerOptions:
    """The ContainerOptions of a command line of `run` or `create`."""
    refuse_content_trust(args)
    rootfs = args.text("rootfs") or ""
    image, command = ("", args.rest) if rootfs else (args.rest[0], args.rest[1:])
    if not image and not rootfs:
        raise UsageError("invalid reference format")
    entrypoint = args.text("entrypoint")
    env = [line for path in args.all("env-file") for line in env_file(path)] + args.all("env")
    labels = [line for path in args.all("label-file") for line in _lines(path)] + args.all("label")
    network = args.text("network") if args.given("network") else args.text("net") or "default"
    restart = args.given("rm") and args.given("restart")
    if restart:
        raise UsageError("conflicting options: cannot specify both --restart and --rm")
    return ContainerOptions(
        image=image,
        rootfs=rootfs,
        command=tuple(command),
        entrypoint=None if entrypoint is None else (entrypoint,) if entrypoint else (),
        env=tuple(env),
        user=args.text("user") or "",
        groups=tuple(args.all("group-add")),
        workdir=args.text("workdir") or "",
        tty=args.flag("tty"),
        interactive=args.flag("interactive"),
        attach=tuple(args.all("attach")),
        detach=detach,
        name=args.text("name") or "",
        hostname=args.text("hostname") or "",
        domainname=args.text("domainname") or "",
        labels=pairs(labels, "label"),
        annotations=pairs(args.all("annotation"), "annotation"),
        stop_signal=args.text("stop-signal") or "",
        stop_timeout=args.int("stop-timeout"),
        remove=args.flag("rm"),
        init=args.flag("init"),
        pull=args.text("pull") or "missing",
        platform=args.text("platform") or os.environ.get("DOCKER_DEFAULT_PLATFORM", ""),
        volumes=tuple(args.all("volume")),
        mounts=tuple(args.all("mount")),
        tmpfs=tuple(args.all("tmpfs")),
        volumes_from=tuple(args.all("volumes-from")),
        volume_driver=args.text("volume-driver") or "",
        read_only=args.flag("read-only"),
        shm_size=args.int("shm-size"),
        devices=tuple(args.all("device")),
        device_cgroup_rules=tuple(args.all("device-cgroup-rule")),
        network=network or "default",
        publish=tuple(args.all("publish")),
        publish_all=args.flag("publish-all"),
        expose=tuple(args.all("expose")),
        add_hosts=tuple(args.all("add-host")),
        dns=tuple(args.all("dns")),
        dns_search=tuple(args.all("dns-search")),
        dns_options=tuple(args.all("dns-option") + args.all("dns-opt")),
        mac_address=args.text("mac-address") or "",
        privileged=args.flag("privileged"),
        cap_add=tuple(args.all("cap-add")),
        cap_drop=tuple(args.all("cap-drop")),
        security_opts=tuple(args.all("security-opt")),
        pid=args.text("pid") or "",
        ipc=args.text("ipc") or "",
        uts=args.text("uts") or "",
        userns=args.text("userns") or "",
        cgroupns=args.text("cgroupns") or "",
        cgroup_parent=args.text("cgroup-parent") or "",
        sysctls=pairs(args.all("sysctl"), "sysctl", needs_value=True),
        ulimits=tuple(args.all("ulimit")),
        **_resources(args),
        log_driver=args.text("log-driver") or "json-file",
        log_opts=pairs(args.all("log-opt"), "log-opt", needs_value=True),
    )


def _resources(args: Args) -> dict[str, Any]:
    return {
        "memory": args.int("memory") or 0,
        "memory_swap": args.int("memory-swap") or 0,
        "memory_reservation": args.int("memory-reservation") or 0,
        "memory_swappiness": args.int("memory-swappiness"),
        "cpus": args.float("cpus") or 0.0,
        "cpu_shares": args.int("cpu-shares") or 0,
        "cpu_period": args.int("cpu-period") or 0,
        "cpu_quota": args.int("cpu-quota") or 0,
        "cpu_rt_period": args.int("cpu-rt-period") or 0,
        "cpu_rt_runtime": args.int("cpu-rt-runtime") or 0,
        "cpuset_cpus": args.text("cpuset-cpus") or "",
        "cpuset_mems": args.text("cpuset-mems") or "",
        "pids_limit": args.int("pids-limit"),
        "blkio_weight": args.int("blkio-weight") or 0,
        "blkio_weight_devices": tuple(args.all("blkio-weight-device")),
        "device_read_bps": tuple(args.all("device-read-bps")),
        "device_write_bps": tuple(args.all("device-write-bps")),
        "device_read_iops": tuple(args.all("device-read-iops")),
        "device_write_iops": tuple(args.all("device-write-iops")),
        "oom_kill_disable": args.flag("oom-kill-disable"),
        "oom_score_adj": args.int("oom-score-adj") or 0,
    }


def pairs(texts: Sequence[str], option: str, *, needs_value: bool = False) -> dict[str, str]:
    """["a=b", "c"] to {"a": "b", "c": ""}."""
    result = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or (needs_value and not equals):
            raise UsageError(f'invalid argument "{text}" for "--{option}" flag: must be name=value')
        result[name] = value
    return result


def _lines(path: str) -> list[str]:
    """Lines of a file that are neither empty nor comments. Blanks at the start go, nothing is unquoted."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        cause = os.strerror(error.errno or 0).lower()
        raise errors.InvalidArgument(f"open {path}: {cause}") from error
    except UnicodeDecodeError as error:
        raise errors.InvalidArgument(f"{path} contains invalid utf8 bytes") from error
    lines = (line.lstrip() for line in text.removeprefix("\ufeff").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def env_file(path: str) -> list[str]:
    lines = _lines(path)
    for line in lines:
        name = line.partition("=")[0]
        if not name:
            raise errors.InvalidArgument(f"no variable name on line '{line}' of {path}")
        if any(character.isspace() for character in name):
            raise errors.InvalidArgument(f"variable '{name}' of {path} contains whitespaces")
    return lines
