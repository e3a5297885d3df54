"""`inspect` of a container: Docker's JSON (API v1.4x, ContainerInspect)."""

from __future__ import annotations

from pyd.store import ContainerRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.engine.engine import Engine


def inspect(engine: Engine, record: ContainerRecord, *, size: bool = False) -> dict[str, Any]:
    paths = engine.config.paths
    directory = paths.container(record.id)
    own = record.host["pyd"]
    host = {key: value for key, value in record.host.items() if key != "pyd"}
    config = record.config
    arguments = [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]
    document: dict[str, Any] = {
        "Id": record.id,
        "Created": record.created,
        "Path": arguments[0] if arguments else "",
        "Args": arguments[1:],
        "State": state(record),
        "Image": record.image_id,
        "ResolvConfPath": f"{directory}/resolv.conf",
        "HostnamePath": f"{directory}/hostname",
        "HostsPath": f"{directory}/hosts",
        "LogPath": paths.log(record.id) if host["LogConfig"]["Type"] == "json-file" else "",
        "Name": f"/{record.name}",
        "RestartCount": record.restart_count,
        "Driver": "overlay",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": _execs(engine, record),
        "HostConfig": host,
        "GraphDriver": _graph(engine, record),
        "Mounts": [mount(point) for point in own["mounts"]],
        "Config": config,
        "NetworkSettings": network_settings(record),
    }
    if own["rootfs"]:
        document["Rootfs"] = own["rootfs"]["path"]
    if size:
        from pyd.runtime import host as kernel

        document["SizeRw"] = kernel.usage(f"{directory}/diff")
        document["SizeRootFs"] = document["SizeRw"] + image_size(engine, record)
    return document


def image_size(engine: Engine, record: ContainerRecord) -> int:
    from pyd.errors import NotFound

    if not record.image_id:
        return 0
    try:
        return engine.store.images.resolve(record.image_id).size
    except NotFound:
        return 0


def state(record: ContainerRecord) -> dict[str, Any]:
    return {
        "Status": record.state,
        "Running": record.state in ("running", "paused"),
        "Paused": record.state == "paused",
        "Restarting": False,
        "OOMKilled": record.oom_killed,
        "Dead": record.state == "dead",
        "Pid": record.pid,
        "ExitCode": record.exit_code,
        "Error": record.error,
        "StartedAt": record.started_at,
        "FinishedAt": record.finished_at,
    }


def _execs(engine: Engine, record: ContainerRecord) -> list[str] | None:
    from pyd.errors import PydError

    if record.state not in ("running", "paused"):
        return None
    try:
        answer = engine.task(record).call("state")
    except PydError:
        return None
    return [one["id"] for one in answer.get("execs") or () if one.get("running")] or None


def _graph(engine: Engine, record: ContainerRecord) -> dict[str, Any]:
    """What overlayfs is given; nothing is mounted in the host's mount table, so there is no MergedDir."""
    from pyd.engine.start import readable_layers

    layers = readable_layers(engine, record)
    if len(layers) == 1:
        return {"Name": "plain", "Data": {"RootDir": layers[0]}}
    work = f"{engine.config.paths.container(record.id)}/work"
    return {
        "Name": "overlay2",
        "Data": {"LowerDir": ":".join(layers[1:]), "UpperDir": layers[0], "WorkDir": work},
    }


def mount(point: dict[str, Any]) -> dict[str, Any]:
    """Docker's MountPoint of a mount of ours."""
    result = {
        "Type": point["Type"],
        "Source": "" if point["Type"] == "tmpfs" else point["Source"],
        "Destination": point["Destination"],
        "Mode": point.get("Mode") or "",
        "RW": point["RW"],
        "Propagation": point.get("Propagation") or "",
    }
    if point["Type"] == "volume":
        result = {"Type": "volume", "Name": point["Name"], **result, "Driver": "local"}
    return result


def network_settings(record: ContainerRecord) -> dict[str, Any]:
    network = record.network
    address, prefix = network.get("address") or "", network.get("prefix") or 0
    gateway, mac = network.get("gateway") or "", network.get("mac") or ""
    mode = record.host["NetworkMode"]
    networks = {}
    if not mode.startswith("container:"):
        networks[mode] = {
            "IPAMConfig": None,
            "Links": None,
            "Aliases": None,
            "MacAddress": mac,
            "NetworkID": network.get("id") or "",
            "EndpointID": network.get("endpoint") or "",
            "Gateway": gateway,
            "IPAddress": address,
            "IPPrefixLen": prefix,
            "IPv6Gateway": "",
            "GlobalIPv6Address": "",
            "GlobalIPv6PrefixLen": 0,
            "DriverOpts": None,
            "DNSNames": None,
        }
    running = record.state in ("running", "paused")
    return {
        "Bridge": "",
        "SandboxID": record.id if running else "",
        "SandboxKey": f"/proc/{record.pid}/ns/net" if running else "",
        "Ports": ports(record),
        "EndpointID": network.get("endpoint") or "",
        "Gateway": gateway,
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "IPAddress": address,
        "IPPrefixLen": prefix,
        "IPv6Gateway": "",
        "MacAddress": mac,
        "Networks": networks,
    }


def ports(record: ContainerRecord) -> dict[str, list[dict[str, str]] | None]:
    """Docker's port map of a running container: null for what is only exposed."""
    if not record.network:
        return {}
    result: dict[str, list[dict[str, str]] | None] = dict.fromkeys(record.config.get("ExposedPorts") or ())
    for port in record.network.get("ports") or ():
        key = f"{port['container_port']}/{port['proto']}"
        bindings = result.get(key) or []
        bindings.append({"HostIp": port["host_ip"], "HostPort": str(port["host_port"])})
        result[key] = bindings
    return result
