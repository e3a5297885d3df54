//! Proxied UDP: a flow is a client and the socket that stands for it towards the container.

use std::collections::HashMap;
use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, SockaddrIn,
    SockaddrStorage, connect, recv, recvmsg, send, sendmsg, socket,
};

use crate::reserve::Listener;

/// How long an answer may come after the last datagram, as docker-proxy.
const LIFETIME: Duration = Duration::from_secs(90);
/// A flood from spoofed sources must not take all descriptors of the shim.
const MOST: usize = 256;
const DATAGRAM: usize = 64 * 1024;

/// Who talks to whom: listener, client, and the address of the host that the client asked.
type Key = (usize, SocketAddr, IpAddr);

#[derive(Debug)]
struct Flow {
    key: Key,
    socket: OwnedFd,
    used: Instant,
}

#[derive(Debug, Default)]
pub struct Flows {
    by_id: HashMap<u64, Flow>,
    by_key: HashMap<Key, u64>,
    buffer: Vec<u8>,
}

/// What became of one datagram.
#[derive(Debug, PartialEq, Eq)]
pub enum Forwarded {
    New,
    Known,
    Nothing,
}

impl Flows {
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Pass one datagram of a client on; `id` and `token` are for the flow, should it be a new one.
    pub fn forward(
        &mut self,
        index: usize,
        listeners: &[Listener],
        id: u64,
        token: u64,
        epoll: &Epoll,
    ) -> Forwarded {
        self.buffer.resize(DATAGRAM, 0);
        let listener = &listeners[index];
        let (length, client, asked) = match receive(listener, &mut self.buffer) {
            Ok(received) => received,
            Err(Errno::EAGAIN) => return Forwarded::Nothing,
            // An ICMP error of an earlier answer, or an address of another family: this datagram is lost, as UDP may.
            Err(_) => return Forwarded::Known,
        };
        let key = (index, client, asked);
        let known = self.by_key.get(&key).copied();
        let id = known.unwrap_or(id);
        if known.is_none() {
            if self.by_id.len() >= MOST {
                self.drop_oldest();
            }
            let Ok(socket) = towards(listener) else {
                return Forwarded::Known;
            };
            if epoll
                .add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, token))
                .is_err()
            {
                return Forwarded::Known;
            }
            self.by_key.insert(key, id);
            let used = Instant::now();
            self.by_id.insert(id, Flow { key, socket, used });
        }
        if let Some(flow) = self.by_id.get_mut(&id) {
            flow.used = Instant::now();
            let _ = send(
                flow.socket.as_raw_fd(),
                &self.buffer[..length],
                MsgFlags::empty(),
            );
        }
        if known.is_some() {
            Forwarded::Known
        } else {
            Forwarded::New
        }
    }

    /// Bring the container's answers back to the client of a flow.
    pub fn answer(&mut self, id: u64, listeners: &[Listener]) {
        self.buffer.resize(DATAGRAM, 0);
        let Some(flow) = self.by_id.get_mut(&id) else {
            return;
        };
        for _ in 0..MOST {
            match recv(flow.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
                Ok(length) => {
                    flow.used = Instant::now();
                    let (index, client, asked) = flow.key;
                    reply(&listeners[index], &self.buffer[..length], client, asked);
                }
                // Nobody listens in the container: the client learns it by silence.
                Err(Errno::ECONNREFUSED) => {}
                Err(_) => return,
            }
        }
    }

    pub fn expire(&mut self) {
        let by_key = &mut self.by_key;
        self.by_id.retain(|_, flow| {
            let alive = flow.used.elapsed() < LIFETIME;
            if !alive {
                by_key.remove(&flow.key);
            }
            alive
        });
        if self.by_id.is_empty() {
            *self = Self::default();
        }
    }

    fn drop_oldest(&mut self) {
        let oldest = self.by_id.iter().min_by_key(|(_, flow)| flow.used);
        if let Some(id) = oldest.map(|(id, _)| *id)
            && let Some(flow) = self.by_id.remove(&id)
        {
            self.by_key.remove(&flow.key);
        }
    }
}

fn receive(listener: &Listener, buffer: &mut [u8]) -> nix::Result<(usize, SocketAddr, IpAddr)> {
    let mut control = cmsg_space!(libc::in6_pktinfo);
    let mut parts = [IoSliceMut::new(buffer)];
    let fd = listener.socket.as_raw_fd();
    let message =
        recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut control), MsgFlags::empty())?;
    let client = message.address.and_then(|from| socket_address(&from));
    let asked = message.cmsgs()?.find_map(|found| match found {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(IpAddr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(IpAddr::from(info.ipi6_addr.s6_addr)),
        _ => None,
    });
    let client = client.ok_or(Errno::EAFNOSUPPORT)?;
    Ok((message.bytes, client, asked.unwrap_or(listener.host.ip())))
}

fn reply(listener: &Listener, datagram: &[u8], client: SocketAddr, asked: IpAddr) {
    let fd = listener.socket.as_raw_fd();
    let to = SockaddrStorage::from(client);
    let parts = [IoSlice::new(datagram)];
    // A datagram that cannot be delivered is lost, as UDP may.
    let _ = match asked {
        IpAddr::V4(address) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr {
                    s_addr: u32::from_ne_bytes(address.octets()),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            let control = [ControlMessage::Ipv4PacketInfo(&info)];
            sendmsg(fd, &parts, &control, MsgFlags::empty(), Some(&to))
        }
        IpAddr::V6(address) => {
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: address.octets(),
                },
                ipi6_ifindex: 0,
            };
            let control = [ControlMessage::Ipv6PacketInfo(&info)];
            sendmsg(fd, &parts, &control, MsgFlags::empty(), Some(&to))
        }
    };
}

fn towards(listener: &Listener) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
    connect(fd.as_raw_fd(), &SockaddrIn::from(listener.target))?;
    Ok(fd)
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(v4), _) => Some(SocketAddr::new(v4.ip().into(), v4.port())),
        // With its scope, or a link-local client could not be answered.
        (_, Some(v6)) => Some(SocketAddr::V6((*v6).into())),
        _ => None,
    }
}
