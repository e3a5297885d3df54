"""The network side of a start: an endpoint from the driver, and the three files that describe it inside."""

from __future__ import annotations

import os

from pyd.errors import Conflict, PydError, from_os_error
from pyd.record import replace
from pyd.store import ContainerRecord, NetworkRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.engine.engine import Engine
    from pyd.network.endpoint import Endpoint, NetworkOptions
    from pyd.network.ports import PortMapping


def options_of(config: dict[str, Any], host: dict[str, Any], hostname: str = "") -> NetworkOptions:
    """NetworkOptions of a container; `hostname` only where the user gave one."""
    from pyd.network.endpoint import NetworkOptions

    return NetworkOptions(
        mode=host["NetworkMode"],
        ports=tuple(_ports(config, host)),
        exposed=tuple(config.get("ExposedPorts") or ()),
        hostname=hostname,
        domainname=config.get("Domainname") or "",
        mac=config.get("MacAddress") or "",
        dns=tuple(host.get("Dns") or ()),
        dns_search=tuple(host.get("DnsSearch") or ()),
        dns_options=tuple(host.get("DnsOptions") or ()),
        extra_hosts=tuple(host.get("ExtraHosts") or ()),
    )


def _ports(config: dict[str, Any], host: dict[str, Any]) -> list[PortMapping]:
    """Published ports again as the user wrote them."""
    if not host.get("PortBindings") and not host.get("PublishAllPorts"):
        return []
    from pyd.network import ports

    specs = []
    for key, bindings in host["PortBindings"].items():
        for binding in bindings:
            address = binding["HostIp"]
            address = f"[{address}]" if ":" in address else address
            specs.append(
                f"{address}:{binding['HostPort']}:{key}" if address else f"{binding['HostPort']}:{key}"
            )
    found = ports.parse_all(specs)
    if host.get("PublishAllPorts"):
        found += ports.publish_all(config.get("ExposedPorts") or (), found)
    return found


def check(config: dict[str, Any], host: dict[str, Any], hostname: str) -> None:
    """Refuse at create what the network cannot do."""
    mode = host["NetworkMode"]
    if mode not in ("none", "host"):
        from pyd.network.driver import driver_for

        options = options_of(config, host, hostname)
        if mode.startswith("container:"):
            # what the image exposes is not what the user asked for
            options = replace(options, exposed=())
        driver_for(mode).check(options)
    for text in host.get("ExtraHosts") or ():
        from pyd.network import hosts

        hosts.parse_extra_host(text)


def connect(engine: Engine, record: ContainerRecord) -> Endpoint:
    """The endpoint of a container that is about to start, its address claimed in the store."""
    from pyd.network.endpoint import Endpoint, Site

    mode = record.host["NetworkMode"]
    if mode == "none":
        return Endpoint(network="none")
    from pyd.network.driver import driver_for

    options = options_of(record.config, record.host)
    driver = driver_for(mode)
    if mode == "host":
        # no site is needed, and none is looked for
        return Endpoint(
            network="host",
            namespace="",
            gateway="127.0.0.1",
            warnings=("Published ports are discarded when using host network mode",) if options.ports else (),
        )
    if mode.startswith("container:"):
        peer = engine.running(mode.partition(":")[2], "join network of")
        site = Site(engine.config.bridge, _no_subnet(), peer_id=peer.id, peer_pid=peer.pid)
        return driver.connect(options, site)
    from pyd.network import ipam

    network = default_network(engine)
    subnet = ipam.Subnet.parse(network.config["subnet"])
    address = engine.store.networks.claim(
        network.id, record.id, ipam.candidates(subnet), durable=not record.auto_remove
    )
    taken = (
        frozenset(_taken_ports(engine)) if any(not port.host_port for port in options.ports) else frozenset()
    )
    return driver.connect(options, Site(engine.config.bridge, subnet, address=address, taken=taken))


def _no_subnet() -> Any:
    from pyd.network.ipam import Subnet

    return Subnet(0, 32, 0)


def default_network(engine: Engine) -> NetworkRecord:
    """The row of the default bridge; its subnet is chosen once and then kept."""
    from pyd.engine.names import new_id
    from pyd.errors import NetworkNotFound
    from pyd.network import ipam
    from pyd.runtime import host

    store, wanted = engine.store.networks, engine.config.subnet
    try:
        network = store.get("bridge")
        same = wanted is None or str(ipam.Subnet.parse(wanted)) == str(
            ipam.Subnet.parse(network.config["subnet"])
        )
        if same and network.config["bridge"] == engine.config.bridge:
            return network
        store.delete(network.id)
    except NetworkNotFound:
        pass
    except Conflict as error:
        raise Conflict(
            f"the default bridge has subnet {network.config['subnet']} and containers on it, not {wanted}",
            "remove those containers, or unset PYD_SUBNET and PYD_BRIDGE",
        ) from error
    subnet = ipam.default_subnet(host.bridge_subnet(engine.config.bridge), wanted, host.subnets())
    config = {"bridge": engine.config.bridge, "subnet": f"{subnet.gateway}/{subnet.prefix}"}
    return store.ensure(NetworkRecord(id=new_id(), name="bridge", config=config))


def _taken_ports(engine: Engine) -> set[tuple[str, int]]:
    return {
        (str(port["proto"]), int(port["host_port"]))
        for record in engine.store.containers.list()
        for port in record.network.get("ports") or ()
    }


def document(engine: Engine, endpoint: Endpoint) -> dict[str, Any]:
    """What the container's row keeps about its endpoint while it runs."""
    result: dict[str, Any] = {"name": endpoint.network}
    if endpoint.address:
        result.update(
            id=engine.store.networks.get("bridge").id,
            endpoint=os.urandom(32).hex(),
            address=endpoint.address,
            prefix=endpoint.prefix,
            gateway=endpoint.gateway,
            mac=endpoint.mac,
            ports=[port.document() for port in endpoint.ports],
        )
    return result


FILES = ("hostname", "hosts", "resolv.conf")


def write_files(
    engine: Engine, record: ContainerRecord, endpoint: Endpoint, directory: str = ""
) -> dict[str, str]:
    """Write hostname, hosts and resolv.conf: {path in the container: path on the host}. `directory`: where,
    if not in that of the container.
    """
    from pyd.network import hosts, resolv

    if endpoint.share_with:
        directory = engine.config.paths.container(endpoint.share_with)
        return {f"/etc/{name}": f"{directory}/{name}" for name in FILES}
    directory = directory or engine.config.paths.container(record.id)
    hostname = record.config.get("Hostname") or ""
    base = None
    if endpoint.host_network:
        base = _read("/etc/hosts")
    texts = {
        "hostname": hosts.hostname_file(hostname),
        "hosts": hosts.hosts_file(
            hostname,
            endpoint.address,
            record.host.get("ExtraHosts") or (),
            domainname=record.config.get("Domainname") or "",
            gateway=endpoint.gateway,
            base=base,
        ),
        "resolv.conf": resolv.resolv_conf(
            resolv.read_host(),
            dns=record.host.get("Dns") or (),
            search=record.host.get("DnsSearch") or (),
            options=record.host.get("DnsOptions") or (),
            host_network=endpoint.host_network,
        ),
    }
    for name, text in texts.items():
        path = f"{directory}/{name}"
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            with open(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(text)
        except OSError as error:
            raise from_os_error(error, f"writing {path}") from error
    return {f"/etc/{name}": f"{directory}/{name}" for name in texts}


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return None


def release(engine: Engine, record: ContainerRecord) -> None:
    """Give the address back when the container has ended."""
    if record.host["NetworkMode"] not in ("none", "host"):
        try:
            engine.store.networks.release(record.id, durable=not record.auto_remove)
        except PydError:
            pass  # the address is freed when the container is removed, or at its next end
