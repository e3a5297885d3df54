//! Host ports, reserved by a bound socket for as long as the container runs.
//!
//! The kernel's own "address in use" is the only arbiter that knows every process of the host. A TCP port listens as
//! well, because what NAT does not catch (IPv6, hosts without nftables) arrives at this socket and is proxied.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
    sockopt,
};

use std::os::fd::AsRawFd;

use crate::error::{Error, Result};
use crate::network::{Network, Port, Proto};

/// A reserved host port and where it leads.
#[derive(Debug)]
pub struct Listener {
    pub socket: OwnedFd,
    pub proto: Proto,
    pub host: SocketAddr,
    pub target: SocketAddrV4,
}

/// Reserve all ports of the network, or none.
pub fn reserve(network: &Network, container_id: &str) -> Result<Vec<Listener>> {
    let mut listeners = Vec::with_capacity(network.ports.len() * 2);
    for port in &network.ports {
        let target = SocketAddrV4::new(network.address, port.container_port);
        for host in addresses(port) {
            match open(port.proto, host) {
                Ok(socket) => listeners.push(Listener {
                    socket,
                    proto: port.proto,
                    host,
                    target,
                }),
                // IPv6 is the half that 0.0.0.0 asks for without saying so: a host without it is served by IPv4 alone.
                Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL)
                    if host.is_ipv6() && port.host_ip.is_ipv4() => {}
                Err(errno) => return Err(refused(port.proto, host, container_id, errno)),
            }
        }
    }
    Ok(listeners)
}

fn addresses(port: &Port) -> Vec<SocketAddr> {
    let mut found = vec![SocketAddr::new(port.host_ip, port.host_port)];
    if port.host_ip.is_unspecified() && port.host_ip.is_ipv4() {
        found.push(SocketAddr::new(
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            port.host_port,
        ));
    }
    found
}

fn open(proto: Proto, host: SocketAddr) -> nix::Result<OwnedFd> {
    let family = if host.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let kind = match proto {
        Proto::Tcp => SockType::Stream,
        Proto::Udp => SockType::Datagram,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, kind, flags, None)?;
    if host.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    match proto {
        // Connections of a former container in TIME_WAIT must not hold the port; two listeners still exclude each
        // other. With UDP the option would let two share it.
        Proto::Tcp => setsockopt(&fd, sockopt::ReuseAddr, &true)?,
        // The answer must come from the address that was asked.
        Proto::Udp if host.is_ipv4() => setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)?,
        Proto::Udp => setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)?,
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(host))?;
    if proto == Proto::Tcp {
        listen(&fd, Backlog::new(512)?)?;
    }
    Ok(fd)
}

fn refused(proto: Proto, host: SocketAddr, container_id: &str, errno: Errno) -> Error {
    let endpoint = container_id.get(..12).unwrap_or(container_id);
    let port = host.port();
    let protocol = match proto {
        Proto::Tcp => "TCP",
        Proto::Udp => "UDP",
    };
    let (cause, hint) = match errno {
        Errno::EADDRINUSE => (
            format!(
                "Bind for {}:{port} failed: port is already allocated",
                host.ip()
            ),
            Some(format!(
                "another container or process uses {protocol} port {port} (see `pyd ps`, `ss -lpn`): stop it, or publish on another port"
            )),
        ),
        Errno::EADDRNOTAVAIL => (
            format!("listen {host}: bind: cannot assign requested address"),
            Some(format!("{} is not an address of this host", host.ip())),
        ),
        Errno::EACCES => (
            format!("listen {host}: bind: permission denied"),
            Some(
                "ports below net.ipv4.ip_unprivileged_port_start need root or CAP_NET_BIND_SERVICE"
                    .to_owned(),
            ),
        ),
        errno => (format!("listen {host}: {}", errno.desc()), None),
    };
    Error {
        op: "bind".to_owned(),
        path: host.to_string(),
        errno: errno as i32,
        message: format!(
            "driver failed programming external connectivity on endpoint {endpoint}: {cause}"
        ),
        hint,
    }
}
