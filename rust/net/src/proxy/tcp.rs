//! One proxied TCP connection: two sockets, and a pipe only while bytes are under way.

use std::io::ErrorKind;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::socket::{
    AddressFamily, Shutdown, SockFlag, SockType, SockaddrIn, connect, getpeername, getsockopt,
    setsockopt, shutdown, socket, sockopt,
};
use nix::unistd::pipe2;
use pyd_sys::accept::accept;
use pyd_sys::splice::splice;

use crate::reserve::Listener;

/// Bytes that one splice may move: what a pipe holds.
const PIPE: usize = 64 * 1024;
/// Rounds per direction and call; then others get their turn.
const ROUNDS: usize = 16;

#[derive(Debug)]
pub struct Connection {
    client: OwnedFd,
    server: OwnedFd,
    connecting: bool,
    request: Direction,
    answer: Direction,
}

impl Connection {
    /// The next client of the listener, with a connection to the container under way.
    pub fn accept(listener: &Listener, epoll: &Epoll, token: u64) -> nix::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let client = accept(&listener.socket)?;
        let server = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
        match connect(server.as_raw_fd(), &SockaddrIn::from(listener.target)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            // Not one of accept's errnos, which mean that the listener has to wait.
            Err(_) => return Err(Errno::ECONNREFUSED),
        }
        for side in [&client, &server] {
            // Small writes must not wait for each other: either end decided on them already.
            let _ = setsockopt(side, sockopt::TcpNoDelay, &true);
            epoll.add(side, EpollEvent::new(interest(), token))?;
        }
        Ok(Self {
            client,
            server,
            connecting: true,
            request: Direction::default(),
            answer: Direction::default(),
        })
    }

    /// Move what can be moved. False when the connection is over.
    pub fn pump(&mut self, epoll: &Epoll, token: u64) -> bool {
        if self.connecting {
            match getsockopt(&self.server, sockopt::SocketError) {
                Ok(0) => {}
                _ => return false,
            }
            // No error is not yet a connection: only a peer is.
            if getpeername::<SockaddrIn>(self.server.as_raw_fd()).is_err() {
                return true;
            }
            self.connecting = false;
        }
        let request = self.request.pump(&self.client, &self.server);
        let answer = self.answer.pump(&self.server, &self.client);
        match (request, answer) {
            (Flow::Broken, _) | (_, Flow::Broken) => false,
            (Flow::Ended, Flow::Ended) => false,
            (Flow::Unfinished, _) | (_, Flow::Unfinished) => {
                // Edges were consumed with work left: setting the interest anew reports the present state once more.
                let mut event = EpollEvent::new(interest(), token);
                [&self.client, &self.server]
                    .iter()
                    .all(|side| epoll.modify(side, &mut event).is_ok())
            }
            _ => true,
        }
    }
}

fn interest() -> EpollFlags {
    EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET
}

/// How far one call got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// A socket has to become ready first.
    Waiting,
    /// There was more to do than one call may.
    Unfinished,
    /// The end was passed on.
    Ended,
    /// One of the sockets failed.
    Broken,
}

/// One direction of a connection, with what is between its sockets.
#[derive(Debug, Default)]
struct Direction {
    pipe: Option<(OwnedFd, OwnedFd)>,
    held: usize,
    end_seen: bool,
    end_sent: bool,
}

impl Direction {
    fn pump(&mut self, from: &OwnedFd, to: &OwnedFd) -> Flow {
        if self.end_sent {
            return Flow::Ended;
        }
        for _ in 0..ROUNDS {
            let mut dry = self.end_seen;
            if !self.end_seen && self.held < PIPE {
                match self.fill(from) {
                    Ok(0) => {
                        self.end_seen = true;
                        dry = true;
                    }
                    Ok(_) => {}
                    // A pipe with something in it may have refused for want of slots, and the socket have more.
                    Err(ErrorKind::WouldBlock) => dry = self.held == 0,
                    Err(_) => return Flow::Broken,
                }
            }
            match self.drain(to) {
                Ok(()) => {}
                Err(ErrorKind::WouldBlock) => return Flow::Waiting,
                Err(_) => return Flow::Broken,
            }
            if dry {
                // An idle connection costs two descriptors, not six.
                self.pipe = None;
                if !self.end_seen {
                    return Flow::Waiting;
                }
                self.end_sent = true;
                return match shutdown(to.as_raw_fd(), Shutdown::Write) {
                    Ok(()) => Flow::Ended,
                    Err(_) => Flow::Broken,
                };
            }
        }
        Flow::Unfinished
    }

    fn fill(&mut self, from: &OwnedFd) -> Result<usize, ErrorKind> {
        if self.pipe.is_none() {
            let flags = OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
            self.pipe = Some(pipe2(flags).map_err(|_| ErrorKind::OutOfMemory)?);
        }
        let Some((_, entry)) = &self.pipe else {
            return Ok(0);
        };
        let moved = splice(from, entry, PIPE - self.held).map_err(|error| error.kind())?;
        self.held += moved;
        Ok(moved)
    }

    fn drain(&mut self, to: &OwnedFd) -> Result<(), ErrorKind> {
        while self.held > 0
            && let Some((exit, _)) = &self.pipe
        {
            self.held -= splice(exit, to, self.held).map_err(|error| error.kind())?;
        }
        Ok(())
    }
}
