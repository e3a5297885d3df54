//! The user-space proxy: what arrives at a reserved host port because NAT does not catch it.
//!
//! No thread: a shim clones children, and a child must not find a lock that another thread held. All is one epoll,
//! itself pollable, that the shim's loop serves when it is ready; each call does a bounded amount of work.

mod tcp;
mod udp;

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::error::{Error, Result};
use crate::network::Proto;
use crate::reserve::Listener;

/// How often old UDP flows are looked for and a listener without descriptors is tried again.
const TICK: Duration = Duration::from_secs(5);
const EVENTS: usize = 64;

/// What an epoll event is about, packed into its 64 bits: kind in the lowest two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Listener(usize),
    Connection(u64),
    Flow(u64),
    Timer,
}

impl Token {
    fn pack(self) -> u64 {
        match self {
            Token::Listener(index) => (index as u64) << 2,
            Token::Connection(id) => id << 2 | 1,
            Token::Flow(id) => id << 2 | 2,
            Token::Timer => 3,
        }
    }

    fn unpack(bits: u64) -> Self {
        match bits & 3 {
            0 => Token::Listener((bits >> 2) as usize),
            1 => Token::Connection(bits >> 2),
            2 => Token::Flow(bits >> 2),
            _ => Token::Timer,
        }
    }
}

#[derive(Debug)]
pub struct Proxy {
    epoll: Epoll,
    listeners: Vec<Listener>,
    connections: HashMap<u64, tcp::Connection>,
    flows: udp::Flows,
    timer: Option<TimerFd>,
    paused: Vec<usize>,
    next: u64,
}

impl Proxy {
    pub fn new(listeners: Vec<Listener>) -> Result<Self> {
        let failed = |errno: Errno| Error::kernel("epoll", "published ports", errno as i32);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(failed)?;
        for (index, listener) in listeners.iter().enumerate() {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, Token::Listener(index).pack());
            epoll.add(&listener.socket, event).map_err(failed)?;
        }
        Ok(Self {
            epoll,
            listeners,
            connections: HashMap::new(),
            flows: udp::Flows::default(),
            timer: None,
            paused: Vec::new(),
            next: 0,
        })
    }

    pub fn poll_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    /// Handle what is ready now.
    pub fn serve(&mut self) {
        let mut events = [EpollEvent::empty(); EVENTS];
        let ready = self
            .epoll
            .wait(&mut events, EpollTimeout::ZERO)
            .unwrap_or(0);
        for event in &events[..ready] {
            match Token::unpack(event.data()) {
                Token::Listener(index) => match self.listeners[index].proto {
                    Proto::Tcp => self.accept(index),
                    Proto::Udp => self.receive(index),
                },
                Token::Connection(id) => self.pump(id),
                Token::Flow(id) => self.flows.answer(id, &self.listeners),
                Token::Timer => self.tick(),
            }
        }
        self.set_timer();
    }

    fn accept(&mut self, index: usize) {
        // Bounded: the level-triggered listener reports the rest again.
        for _ in 0..EVENTS {
            let id = self.next;
            match tcp::Connection::accept(
                &self.listeners[index],
                &self.epoll,
                Token::Connection(id).pack(),
            ) {
                Ok(connection) => {
                    self.next += 1;
                    self.connections.insert(id, connection);
                }
                Err(Errno::EAGAIN) => return,
                Err(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => {
                    return self.pause(index);
                }
                // The client, or this one connection, failed; the next may not.
                Err(_) => {}
            }
        }
    }

    /// Nothing can be accepted now, and the listener would report the same client for ever: look again later.
    fn pause(&mut self, index: usize) {
        let mut nothing = EpollEvent::new(EpollFlags::empty(), Token::Listener(index).pack());
        if self
            .epoll
            .modify(&self.listeners[index].socket, &mut nothing)
            .is_ok()
        {
            self.paused.push(index);
        }
    }

    fn pump(&mut self, id: u64) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !connection.pump(&self.epoll, Token::Connection(id).pack())
        {
            self.connections.remove(&id);
        }
    }

    fn receive(&mut self, index: usize) {
        for _ in 0..EVENTS {
            let id = self.next;
            let token = Token::Flow(id).pack();
            match self
                .flows
                .forward(index, &self.listeners, id, token, &self.epoll)
            {
                udp::Forwarded::New => self.next += 1,
                udp::Forwarded::Known => {}
                udp::Forwarded::Nothing => return,
            }
        }
    }

    fn tick(&mut self) {
        if let Some(timer) = &self.timer {
            // Only the expiration counter is read; the descriptor is ready, so this cannot block.
            let _ = timer.wait();
        }
        self.flows.expire();
        for index in self.paused.drain(..) {
            let mut again = EpollEvent::new(EpollFlags::EPOLLIN, Token::Listener(index).pack());
            let _ = self.epoll.modify(&self.listeners[index].socket, &mut again);
        }
    }

    /// A timer exists only while there is something to wait for: an idle shim must not wake up.
    fn set_timer(&mut self) {
        let needed = !self.flows.is_empty() || !self.paused.is_empty();
        if !needed {
            self.timer = None;
        } else if self.timer.is_none() {
            self.timer = self.start_timer().ok();
        }
    }

    fn start_timer(&self) -> nix::Result<TimerFd> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        let every = Expiration::Interval(TimeSpec::from(TICK));
        timer.set(every, TimerSetTimeFlags::empty())?;
        self.epoll.add(
            &timer,
            EpollEvent::new(EpollFlags::EPOLLIN, Token::Timer.pack()),
        )?;
        Ok(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_packing() {
        for token in [
            Token::Listener(3),
            Token::Connection(9),
            Token::Flow(1 << 40),
            Token::Timer,
        ] {
            assert_eq!(Token::unpack(token.pack()), token);
        }
    }
}
