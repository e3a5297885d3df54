//! One connection: first a request line, then perhaps frames in both directions.

use std::os::fd::OwnedFd;

use nix::sys::epoll::EpollFlags;
use nix::unistd::read;
use serde::Serialize;

use super::frames::{self, Decoder};
use super::poll::{Poll, Token, Watch};
use super::queue::Queue;

/// A client that has this many bytes waiting stops the process that writes them.
pub const FULL: usize = 1 << 20;

/// What a connection is for at the moment.
#[derive(Debug)]
pub enum Phase {
    /// The request line is incomplete.
    Asking(Vec<u8>),
    /// Frames of a process come and go.
    Attached(Attachment),
    /// Waits for the end of the process with this number.
    Waiting(u32),
    /// Keeps the container frozen until it goes.
    Holding,
    /// Gets what is queued and is then closed.
    Leaving,
}

/// An attached client's share of a process.
#[derive(Debug)]
pub struct Attachment {
    /// The process's number.
    pub process: u32,
    /// Whether it gets stdout and stderr.
    pub outputs: [bool; 2],
    /// Whether its stdin frames count.
    pub stdin: bool,
    pub decoder: Decoder,
}

#[derive(Debug)]
pub struct Client {
    pub socket: OwnedFd,
    pub phase: Phase,
    out: Queue,
    watch: Watch,
    /// The client will send nothing more.
    pub said_all: bool,
    /// The client reads nothing more; bytes that it sent before may still wait in the socket.
    pub gone: bool,
}

impl Client {
    pub fn new(number: u32, socket: OwnedFd, phase: Phase) -> Client {
        Client {
            socket,
            phase,
            out: Queue::default(),
            watch: Watch::new(Token::Client(number)),
            said_all: false,
            gone: false,
        }
    }

    /// The attachment to process `number`, if this client has one.
    pub fn attached_to(&self, number: u32) -> Option<&Attachment> {
        match &self.phase {
            Phase::Attached(attachment) if attachment.process == number => Some(attachment),
            _ => None,
        }
    }

    /// Whether output must wait for this client.
    pub fn is_full(&self) -> bool {
        self.out.len() >= FULL
    }

    /// Sends a line as it is.
    pub fn line(&mut self, line: &[u8]) {
        self.send([line, &[]]);
    }

    /// Sends a frame.
    pub fn frame(&mut self, stream: u8, payload: &[u8]) {
        self.send([&frames::header(stream, payload.len()), payload]);
    }

    /// Sends a control frame.
    pub fn control(&mut self, value: &impl Serialize) {
        self.frame(
            frames::CONTROL,
            &serde_json::to_vec(value).unwrap_or_default(),
        );
    }

    fn send(&mut self, parts: [&[u8]; 2]) {
        if !self.gone && self.out.send(&self.socket, parts).is_err() {
            self.lost();
        }
    }

    /// Writes what waits.
    pub fn flush(&mut self) {
        if self.out.flush(&self.socket).is_err() {
            self.lost();
        }
    }

    /// Nobody will read what is queued.
    pub fn lost(&mut self) {
        self.gone = true;
        self.out.clear();
    }

    /// Whether the connection has nothing left to do.
    pub fn is_over(&self) -> bool {
        match self.phase {
            Phase::Leaving => self.gone || self.out.is_empty(),
            Phase::Asking(_) => self.said_all,
            // What a client sent before it went, stdin above all, is taken first.
            Phase::Attached(_) => self.gone && self.said_all,
            Phase::Waiting(_) => self.gone,
            Phase::Holding => self.gone || self.said_all,
        }
    }

    /// Registers for what can be done now; `stdin_full`: its process takes no more stdin at the moment.
    pub fn watch(&mut self, poll: &Poll, stdin_full: bool) {
        let mut flags = EpollFlags::empty();
        let reads = match &self.phase {
            Phase::Attached(attachment) => !(attachment.stdin && stdin_full),
            Phase::Leaving => false,
            _ => true,
        };
        if reads && !self.said_all {
            flags |= EpollFlags::EPOLLIN;
        }
        if !self.out.is_empty() {
            flags |= EpollFlags::EPOLLOUT;
        }
        // With nothing to do but a hang-up already known, being watched would only wake the loop for nothing.
        let wanted = (!self.gone || !flags.is_empty()).then_some(flags);
        if poll.set(&self.socket, &mut self.watch, wanted).is_err() {
            self.lost();
            self.said_all = true;
        }
    }

    /// Reads and forgets what the client sent: closing an AF_UNIX socket with unread bytes makes the peer see
    /// ECONNRESET where it should see the end.
    pub fn discard_input(&mut self, scratch: &mut [u8]) {
        for _ in 0..64 {
            if !matches!(read(&self.socket, scratch), Ok(1..)) {
                return;
            }
        }
    }
}
