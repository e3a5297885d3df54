"""What the front doors ask of the engine, and what it answers: frozen values.

Strings keep the grammar of Docker's command line where that is the common language ("8080:80/tcp", "a:/b:ro",
"type=tmpfs,dst=/x"); sizes are bytes, times seconds.
"""

from __future__ import annotations

from pyd.record import Record, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ContainerOptions(Record, kw_only=True):
    """Everything that `run` and `create` can be told. None or empty means: the image's value, else Docker's
    default.
    """

    # what runs
    image: str = ""
    rootfs: str = (
        ""  # a directory instead of an image; "DIR:O" = read-only base with a throw-away upper layer
    )
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None  # () resets the image's
    env: tuple[str, ...] = ()  # "NAME=value"; "NAME" copies the caller's
    user: str = ""
    groups: tuple[str, ...] = ()
    workdir: str = ""
    tty: bool = False
    interactive: bool = False
    attach: tuple[str, ...] = ()  # stdin stdout stderr; () = the last two, and stdin if interactive
    detach: bool = False
    name: str = ""
    hostname: str = ""
    domainname: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    stop_signal: str = ""
    stop_timeout: int | None = None  # seconds, -1 = never
    remove: bool = False
    init: bool = False
    pull: str = "missing"  # missing always never
    platform: str = ""
    # files
    volumes: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()
    tmpfs: tuple[str, ...] = ()
    volumes_from: tuple[str, ...] = ()
    volume_driver: str = ""
    read_only: bool = False
    shm_size: int | None = None
    devices: tuple[str, ...] = ()
    device_cgroup_rules: tuple[str, ...] = ()
    # network
    network: str = "default"
    publish: tuple[str, ...] = ()
    publish_all: bool = False
    expose: tuple[str, ...] = ()
    add_hosts: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    mac_address: str = ""
    # isolation
    privileged: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security_opts: tuple[str, ...] = ()
    pid: str = ""
    ipc: str = ""
    uts: str = ""
    userns: str = ""
    cgroupns: str = ""
    cgroup_parent: str = ""
    sysctls: dict[str, str] = field(default_factory=dict)
    ulimits: tuple[str, ...] = ()  # "nofile=1024:2048"
    # resources
    memory: int = 0
    memory_swap: int = 0
    memory_reservation: int = 0
    memory_swappiness: int | None = None
    cpus: float = 0.0
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_rt_period: int = 0
    cpu_rt_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_limit: int | None = None
    blkio_weight: int = 0
    blkio_weight_devices: tuple[str, ...] = ()  # "/dev/sda:100"
    device_read_bps: tuple[str, ...] = ()  # "/dev/sda:1mb"
    device_write_bps: tuple[str, ...] = ()
    device_read_iops: tuple[str, ...] = ()
    device_write_iops: tuple[str, ...] = ()
    oom_kill_disable: bool = False
    oom_score_adj: int = 0
    # logs
    log_driver: str = "json-file"
    log_opts: dict[str, str] = field(default_factory=dict)


class ExecOptions(Record, kw_only=True):
    """An additional process in a running container."""

    command: tuple[str, ...]
    env: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""
    tty: bool = False
    interactive: bool = False
    detach: bool = False
    privileged: bool = False


class RunResult(Record):
    """A container that ran to its end. exit_code is 128+n after signal n. With a tty everything is in
    stdout.
    """

    exit_code: int
    stdout: bytes
    stderr: bytes
    id: str = ""


class Created(Record):
    """A new container; `warnings` are sentences for the user."""

    id: str
    name: str
    warnings: tuple[str, ...] = ()


class LogOptions(Record):
    """Which lines of the log. since and until: seconds since the epoch; tail: None = all."""

    stdout: bool = True
    stderr: bool = True
    follow: bool = False
    tail: int | None = None
    since: float | None = None
    until: float | None = None


Json = dict[str, "Any"]
