//! epoll with names instead of numbers, and descriptors that know how they are registered.

use std::os::fd::AsFd;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    Signals,
    Listener,
    Network,
    /// A client by its number.
    Client(u32),
    /// stdin of a process by its number.
    Input(u32),
    /// Output 0 (stdout, terminal) or 1 (stderr) of a process.
    Output(u32, u8),
}

impl Token {
    fn pack(self) -> u64 {
        let (kind, number) = match self {
            Token::Signals => (0, 0),
            Token::Listener => (1, 0),
            Token::Network => (2, 0),
            Token::Client(number) => (3, number),
            Token::Input(number) => (4, number),
            Token::Output(number, which) => (5 + u64::from(which), number),
        };
        kind << 32 | u64::from(number)
    }

    fn unpack(packed: u64) -> Token {
        let number = packed as u32;
        match packed >> 32 {
            0 => Token::Signals,
            1 => Token::Listener,
            2 => Token::Network,
            3 => Token::Client(number),
            4 => Token::Input(number),
            which => Token::Output(number, (which - 5) as u8),
        }
    }
}

/// How one descriptor is registered. Off is not the same as registered for nothing: the kernel reports a hang-up
/// always, and a hang-up that cannot be dealt with yet would turn the loop into a busy one.
#[derive(Debug)]
pub struct Watch {
    token: Token,
    flags: Option<EpollFlags>,
}

impl Watch {
    pub fn new(token: Token) -> Watch {
        Watch { token, flags: None }
    }
}

/// The set of watched descriptors.
#[derive(Debug)]
pub struct Poll(Epoll);

impl Poll {
    pub fn new() -> nix::Result<Poll> {
        Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map(Poll)
    }

    /// Watches `fd` for `flags`, or not at all; no system call when nothing changes.
    pub fn set(
        &self,
        fd: impl AsFd,
        watch: &mut Watch,
        flags: Option<EpollFlags>,
    ) -> nix::Result<()> {
        let event = |flags| EpollEvent::new(flags, watch.token.pack());
        match (watch.flags, flags) {
            (None, Some(new)) => self.0.add(fd, event(new))?,
            (Some(old), Some(new)) if old != new => self.0.modify(fd, &mut event(new))?,
            (Some(_), None) => self.0.delete(fd)?,
            _ => {}
        }
        watch.flags = flags;
        Ok(())
    }

    /// Waits up to `timeout` milliseconds, for ever without one, and fills `into`.
    pub fn wait(&self, into: &mut Vec<(Token, EpollFlags)>, timeout: Option<u16>) {
        into.clear();
        let mut events = [EpollEvent::empty(); 32];
        let timeout = timeout.map_or(EpollTimeout::NONE, EpollTimeout::from);
        // EINTR is all that epoll_wait(2) can say for valid arguments: the caller's loop comes again.
        let count = self.0.wait(&mut events, timeout).unwrap_or(0);
        into.extend(
            events[..count]
                .iter()
                .map(|event| (Token::unpack(event.data()), event.events())),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_kernel() {
        for token in [
            Token::Signals,
            Token::Listener,
            Token::Network,
            Token::Client(u32::MAX),
            Token::Input(7),
            Token::Output(u32::MAX, 0),
            Token::Output(0, 1),
        ] {
            assert_eq!(Token::unpack(token.pack()), token);
        }
    }

    #[test]
    fn a_watch_goes_on_off_and_on() {
        let poll = Poll::new().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let mut watch = Watch::new(Token::Output(3, 1));
        let mut events = Vec::new();
        drop(writer);
        poll.set(&reader, &mut watch, Some(EpollFlags::EPOLLIN))
            .unwrap();
        poll.wait(&mut events, Some(1000));
        assert_eq!(events, [(Token::Output(3, 1), EpollFlags::EPOLLHUP)]);
        poll.set(&reader, &mut watch, None).unwrap();
        poll.wait(&mut events, Some(0));
        assert!(events.is_empty());
        poll.set(&reader, &mut watch, Some(EpollFlags::EPOLLIN))
            .unwrap();
        poll.set(
            &reader,
            &mut watch,
            Some(EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT),
        )
        .unwrap();
        poll.wait(&mut events, Some(1000));
        assert_eq!(events.len(), 1);
    }
}
