"""pyd update."""

from __future__ import annotations

from pyd.cli.command import Args, Command, UsageError
from pyd.cli.main import each, warn
from pyd.cli.options import CREATE
from pyd.engine.engine import Engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# flag -> key of HostConfig
_KEYS = {
    "blkio-weight": "BlkioWeight",
    "cpu-period": "CpuPeriod",
    "cpu-quota": "CpuQuota",
    "cpu-rt-period": "CpuRealtimePeriod",
    "cpu-rt-runtime": "CpuRealtimeRuntime",
    "cpu-shares": "CpuShares",
    "cpuset-cpus": "CpusetCpus",
    "cpuset-mems": "CpusetMems",
    "memory": "Memory",
    "memory-reservation": "MemoryReservation",
    "memory-swap": "MemorySwap",
    "pids-limit": "PidsLimit",
    "cpus": "NanoCpus",
}


def update(args: Args) -> int:
    changes: dict[str, Any] = {}
    for flag, key in _KEYS.items():
        if args.given(flag):
            value = args.values[flag]
            changes[key] = round(value * 1e9) if flag == "cpus" else value
    if not changes:
        raise UsageError("you must provide one or more flags when using this command", exit_code=1)
    engine = Engine()

    def one(name: str) -> str:
        for warning in engine.containers.update(name, changes):
            warn(warning)
        return name

    return each(args, one)


COMMANDS = {
    "update": Command(
        "update",
        update,
        "Change limits of containers, running ones at once.",
        tuple(
            option for option in CREATE if option.name in _KEYS or option.name in ("restart", "kernel-memory")
        ),
        usage="CONTAINER [CONTAINER...]",
        least=1,
        most=None,
        completes="containers",
    ),
}
