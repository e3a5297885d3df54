"""What the flags of a build allow its RUN steps: memory, ulimits and the like; directories of the host."""

from __future__ import annotations

from pyd.errors import InvalidArgument
from pyd.runtime.defaults import SHM_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.build.request import BuildRequest

_LIMITS = (
    *("ExtraHosts", "ShmSize", "Ulimits", "Memory", "MemorySwap", "CpuShares", "CpuPeriod", "CpuQuota"),
    *("CpusetCpus", "CpusetMems", "CgroupParent", "SecurityOpt"),
)


def job_limits(request: BuildRequest) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(what of a HostConfig the RUNs of a build get, entries of config.json for its `-v`).

    Raises InvalidArgument, and what `docker run` says of the same flags.
    """
    if not _is_limited(request):
        # the rest is as of any container; what reads the flags is not imported for nothing
        return {"ShmSize": SHM_SIZE}, []
    from pyd.engine import describe, mountpoints
    from pyd.engine.options import ContainerOptions
    from pyd.runtime import mounts

    options = ContainerOptions(
        image="build",
        command=("build",),
        network=request.network,
        add_hosts=request.add_hosts,
        shm_size=request.shm_size,
        ulimits=request.ulimits,
        memory=request.memory,
        memory_swap=request.memory_swap,
        cpu_shares=request.cpu_shares,
        cpu_period=request.cpu_period,
        cpu_quota=request.cpu_quota,
        cpuset_cpus=request.cpuset_cpus,
        cpuset_mems=request.cpuset_mems,
        cgroup_parent=request.cgroup_parent,
        security_opts=request.security_opts,
    )
    host_config = describe.host_config(options)[0]
    limits = {key: host_config[key] for key in _LIMITS}
    requests = [mounts.parse_volume(text) for text in request.volumes]
    for one in requests:
        if one["Type"] != "bind":
            raise InvalidArgument(
                f"invalid volume {one['Destination']!r}: a build mounts directories of this machine only",
                "give it as /host/directory:/target[:ro]",
            )
    mountpoints.check_binds(requests)
    return limits, mounts.oci(requests)


def _is_limited(request: BuildRequest) -> bool:
    return request.shm_size is not None or any(
        (
            request.network not in ("", "default", "none", "host"),
            *(request.add_hosts, request.ulimits, request.security_opts, request.volumes),
            *(request.memory, request.memory_swap, request.cpu_shares, request.cpu_period, request.cpu_quota),
            *(request.cpuset_cpus, request.cpuset_mems, request.cgroup_parent),
        )
    )
