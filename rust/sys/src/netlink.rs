//! Netlink sockets: one request buffer out, every answer back.
//!
//! The kernel handles a netlink request inside `sendmsg(2)` of the sender: when the call returns, the acknowledgements
//! are already queued. So nothing here waits, except for the later pages of a dump.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

/// Family of the messages that the socket carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Links, addresses and routes (`rtnetlink(7)`).
    Route,
    /// nftables and connection tracking.
    Netfilter,
}

/// A netlink socket of the network namespace in which the opening thread was.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
}

impl Socket {
    /// Open a socket; the kernel answers with its own words (extended acks) where it has any.
    pub fn open(family: Family) -> io::Result<Self> {
        let protocol = match family {
            Family::Route => SockProtocol::NetlinkRoute,
            Family::Netfilter => SockProtocol::NetlinkNetFilter,
        };
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            protocol,
        )?;
        // CAP_ACK keeps the request out of its error, EXT_ACK adds the reason as text. Kernels before 4.12 know
        // neither, and their answers are parsed the same.
        for option in [libc::NETLINK_CAP_ACK, libc::NETLINK_EXT_ACK] {
            let on: libc::c_int = 1;
            // SAFETY: fd is an open socket, the value is an int that lives across the call, and its size is given.
            unsafe {
                libc::setsockopt(
                    fd.as_raw_fd(),
                    libc::SOL_NETLINK,
                    option,
                    std::ptr::from_ref(&on).cast(),
                    size_of::<libc::c_int>() as libc::socklen_t,
                );
            }
        }
        Ok(Self { fd })
    }

    /// Send whole messages to the kernel in one datagram.
    pub fn send(&self, messages: &[u8]) -> io::Result<()> {
        let kernel = NetlinkAddr::new(0, 0);
        let sent = retry(|| sendto(self.fd.as_raw_fd(), messages, &kernel, MsgFlags::empty()))?;
        if sent == messages.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::WriteZero.into())
        }
    }

    /// The next datagram, `None` when nothing is queued. With `wait`, blocks for one.
    pub fn receive<'a>(&self, buffer: &'a mut [u8], wait: bool) -> io::Result<Option<&'a [u8]>> {
        let flags = if wait {
            MsgFlags::MSG_TRUNC
        } else {
            MsgFlags::MSG_TRUNC | MsgFlags::MSG_DONTWAIT
        };
        match retry(|| recv(self.fd.as_raw_fd(), buffer, flags)) {
            // MSG_TRUNC gives the real length: a datagram that did not fit must not be parsed as if it had.
            Ok(length) if length > buffer.len() => Err(io::ErrorKind::InvalidData.into()),
            Ok(length) => Ok(Some(&buffer[..length])),
            Err(Errno::EAGAIN) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}
