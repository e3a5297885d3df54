"""Limits: Docker's HostConfig to the runtime spec's linux.resources (config-linux.md), checked on the way
in.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence

from pyd.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MINIMUM_MEMORY = 6 << 20
_RLIMITS = frozenset(
    "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
)


def check(host: Mapping[str, Any]) -> list[str]:
    """Refuse limits that cannot be meant. Gives back warnings."""
    memory, swap = host.get("Memory") or 0, host.get("MemorySwap") or 0
    if memory < 0 or 0 < memory < _MINIMUM_MEMORY:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if swap > 0 and memory <= 0:
        raise InvalidArgument("You should always set the Memory limit when using Memoryswap limit, see usage")
    if 0 < swap < memory:
        raise InvalidArgument("Minimum memoryswap limit should be larger than memory limit, see usage")
    reservation = host.get("MemoryReservation") or 0
    if 0 < memory < reservation:
        raise InvalidArgument("Minimum memory limit can not be less than memory reservation limit, see usage")
    swappiness = host.get("MemorySwappiness")
    if swappiness is not None and not -1 <= swappiness <= 100:
        raise InvalidArgument(f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")
    cpus = (host.get("NanoCpus") or 0) / 1e9
    if cpus and (host.get("CpuPeriod") or host.get("CpuQuota")):
        raise InvalidArgument("Conflicting options: Nano CPUs and CPU Period/Quota cannot both be set")
    available = os.cpu_count() or 1
    if cpus < 0 or cpus > available:
        raise InvalidArgument(
            f"Range of CPUs is from 0.01 to {available}.00, as there are only {available} CPUs available"
        )
    if 0 < cpus < 0.01:
        raise InvalidArgument(f"Range of CPUs is from 0.01 to {available}.00")
    period, quota = host.get("CpuPeriod") or 0, host.get("CpuQuota") or 0
    if period and not 1000 <= period <= 1_000_000:
        raise InvalidArgument(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    if 0 < quota < 1000:
        raise InvalidArgument("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    weight = host.get("BlkioWeight") or 0
    if weight and not 10 <= weight <= 1000:
        raise InvalidArgument("Range of blkio weight is from 10 to 1000")
    for key in ("CpusetCpus", "CpusetMems"):
        _check_list(str(host.get(key) or ""), key)
    if host.get("OomKillDisable") and not memory:
        return [
            "OOM killer is disabled for the container, but no memory limit is set: "
            "the host can run out of memory."
        ]
    return []


def _check_list(text: str, key: str) -> None:
    for part in text.split(",") if text else ():
        ends = part.split("-")
        if (
            len(ends) > 2
            or not all(end.isascii() and end.isdigit() for end in ends)
            or int(ends[0]) > int(ends[-1])
        ):
            raise InvalidArgument(f"Invalid value {text} for {key[:6].lower()} {key[6:].lower()}")


def linux_resources(host: Mapping[str, Any]) -> dict[str, Any]:
    """The `linux.resources` object without device rules."""
    resources: dict[str, Any] = {}
    memory = _compact(
        limit=host.get("Memory"),
        swap=_swap(host),
        reservation=host.get("MemoryReservation"),
        disableOOMKiller=host.get("OomKillDisable"),
    )
    swappiness = host.get("MemorySwappiness")
    if swappiness is not None and swappiness >= 0:
        memory["swappiness"] = swappiness
    period, quota = host.get("CpuPeriod"), host.get("CpuQuota")
    if host.get("NanoCpus"):
        period, quota = 100_000, int(host["NanoCpus"] * 100_000 // 1_000_000_000)
    cpu = _compact(
        shares=host.get("CpuShares"),
        quota=quota,
        period=period,
        realtimeRuntime=host.get("CpuRealtimeRuntime"),
        realtimePeriod=host.get("CpuRealtimePeriod"),
        cpus=host.get("CpusetCpus"),
        mems=host.get("CpusetMems"),
    )
    pids = host.get("PidsLimit")
    block = _compact(
        weight=host.get("BlkioWeight"),
        weightDevice=[
            {**_device(x["Path"]), "weight": x["Weight"]} for x in host.get("BlkioWeightDevice") or ()
        ],
        throttleReadBpsDevice=_throttle(host.get("BlkioDeviceReadBps")),
        throttleWriteBpsDevice=_throttle(host.get("BlkioDeviceWriteBps")),
        throttleReadIOPSDevice=_throttle(host.get("BlkioDeviceReadIOps")),
        throttleWriteIOPSDevice=_throttle(host.get("BlkioDeviceWriteIOps")),
    )
    if memory:
        resources["memory"] = memory
    if cpu:
        resources["cpu"] = cpu
    if pids:
        resources["pids"] = {"limit": pids}
    if block:
        resources["blockIO"] = block
    return resources


def _swap(host: Mapping[str, Any]) -> int | None:
    """Memory plus swap: twice the memory unless it is given; -1 is no limit."""
    memory, swap = host.get("Memory") or 0, host.get("MemorySwap") or 0
    if memory > 0 and swap == 0:
        return int(memory) * 2
    return swap or None


def _compact(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value}


def _throttle(devices: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    return [{**_device(entry["Path"]), "rate": entry["Rate"]} for entry in devices or ()]


def _device(path: str) -> dict[str, int]:
    try:
        found = os.stat(path)
    except OSError as error:
        raise InvalidArgument(f"{path}: {os.strerror(error.errno or 0).lower()}") from error
    if not stat.S_ISBLK(found.st_mode):
        raise InvalidArgument(f"{path} is not a block device")
    return {"major": os.major(found.st_rdev), "minor": os.minor(found.st_rdev)}


def parse_ulimit(text: str) -> dict[str, Any]:
    """ "nofile=1024:2048" to {"Name", "Soft", "Hard"}; -1 is unlimited."""
    name, equals, value = text.partition("=")
    soft_text, colon, hard_text = value.partition(":")
    if not equals or not value:
        raise InvalidArgument(f"invalid ulimit argument: {text}")
    if name not in _RLIMITS:
        raise InvalidArgument(f"invalid ulimit type: {name}")
    try:
        soft = int(soft_text)
        hard = int(hard_text) if colon else soft
    except ValueError:
        raise InvalidArgument(f"invalid ulimit argument: {text}: limits are whole numbers") from None
    if soft < -1 or hard < -1:
        raise InvalidArgument(f"invalid ulimit argument: {text}: limits are -1 (none) or more")
    if hard != -1 and (soft > hard or soft == -1):
        raise InvalidArgument(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    return {"Name": name, "Soft": soft, "Hard": hard}


def rlimits(ulimits: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """process.rlimits. What exceeds the host's hard limit is clamped by the runtime.

    Open files: as many as the host allows, up to what Docker's daemon gives (1,048,576), not the caller's
    1,024.
    """
    import resource

    result = []
    if not any(limit["Name"] == "nofile" for limit in ulimits):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        count = 1 << 20 if hard == resource.RLIM_INFINITY else min(hard, 1 << 20)
        result.append({"type": "RLIMIT_NOFILE", "soft": count, "hard": count})
    for limit in ulimits:
        soft, hard = (2**64 - 1 if value == -1 else value for value in (limit["Soft"], limit["Hard"]))
        result.append({"type": f"RLIMIT_{limit['Name'].upper()}", "soft": soft, "hard": hard})
    return result
