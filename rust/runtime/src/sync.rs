//! The conversation of a parent with the process it makes: which step may begin, what went wrong, the pty.
//!
//! A sequenced-packet socket pair: packets keep their borders, a descriptor can travel, and because both ends are
//! close-on-exec, the end of the stream tells the parent that `execve` has happened.

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use pyd_sys::fdpass;

use crate::error::{Error, Result};
use crate::weakness;

/// One end of the conversation.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    /// Parent: whether the child has said that it is in its groups.
    joined: Cell<bool>,
}

/// What the parent tells the child, always in this order; a step that is not needed is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The user namespace has its id maps.
    Mapped = 1,
    /// systemd has made the unit, with the child in it.
    Grouped = 2,
    /// Hooks have run and the network is there.
    Prepared = 3,
    /// The command may start.
    Start = 4,
}

/// What the child tells the parent.
#[derive(Debug)]
pub enum Report {
    /// Everything is made; only the start is missing.
    Ready,
    /// Something was left out.
    Warning(String),
    /// The master of the container's terminal.
    Console(OwnedFd),
    /// The listener of the seccomp filter that the child has just loaded.
    Listener(OwnedFd),
    /// Pid of a grandchild that is the parent's child (`CLONE_PARENT`).
    Pid(i32),
    /// The child has failed and ends.
    Failed(Error),
    /// The child has executed its command, or is dead.
    Closed,
}

/// The largest packet. What is longer is shortened by its sender: cut off by the kernel it could mean something else
/// (CVE-2021-43784 was such a length).
const PACKET: usize = 32 * 1024;
/// Bytes of each text of an error that is too long; JSON may make six of one, and there are three texts.
const TEXT: usize = 1500;
/// Of these at most, bytes of a shortened text's end.
const END: usize = 300;

/// Makes the two ends: parent's, child's.
pub fn channel() -> Result<(Channel, Channel)> {
    let (a, b) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .map_err(|e| Error::os("namespaces", "socketpair", e))?;
    let end = |socket| Channel {
        socket,
        joined: Cell::new(false),
    };
    Ok((end(a), end(b)))
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Channel {
    /// Child: closes its copy of the parent's end. With it open, a parent that was killed would never show as the
    /// end of the conversation, and a half-made container would wait for ever with the shim's lock in its hands.
    pub fn close_copy(&self) {
        // The child ends in execve or _exit, so this value is never dropped there and nothing is closed twice.
        let _ = nix::unistd::close(self.socket.as_raw_fd());
    }

    /// Parent: lets the child begin a step.
    pub fn allow(&self, step: Step) -> Result<()> {
        self.write(&[step as u8])
    }

    /// Child: waits until the parent has allowed `step`; earlier permissions are passed over. `done` remembers.
    pub fn wait(&self, step: Step, done: &mut Option<Step>) -> Result<()> {
        while done.is_none_or(|last| last < step) {
            let mut byte = [0u8; 1];
            let (n, _) = self.read(&mut byte)?;
            *done = match (n, byte[0]) {
                (0, _) => {
                    return Err(Error::new(
                        "namespaces",
                        "the process that made the container is gone",
                    ));
                }
                (_, 1) => Some(Step::Mapped),
                (_, 2) => Some(Step::Grouped),
                (_, 3) => Some(Step::Prepared),
                _ => Some(Step::Start),
            };
        }
        Ok(())
    }

    /// Child: says that it is in its control groups.
    pub fn joined(&self) -> Result<()> {
        self.write(b"J")
    }

    /// Parent: waits for that, which is the first thing that the child says.
    pub fn wait_joined(&self) -> Result<()> {
        while !self.joined.get() {
            match self.packet()? {
                None => {}
                Some(Report::Failed(error)) => return Err(error),
                Some(_) => return Err(Error::new("cgroup", "the first process was killed")),
            }
        }
        Ok(())
    }

    /// Child: says that only the start is missing.
    pub fn ready(&self) -> Result<()> {
        self.write(b"R")
    }

    /// Child: names what was left out.
    pub fn warn(&self, warning: &str) -> Result<()> {
        self.write(format!("W{}", beginning(warning, PACKET - 1)).as_bytes())
    }

    /// Child: hands over the terminal.
    pub fn console(&self, master: &OwnedFd) -> Result<()> {
        fdpass::send(&self.socket, b"C", master).map_err(|e| Error::os("terminal", "sendmsg", e))
    }

    /// Child: hands over the listener of its seccomp filter. The one call that must not be reported to that listener.
    pub fn listener(&self, listener: &OwnedFd) -> Result<()> {
        fdpass::send(&self.socket, b"L", listener).map_err(|e| Error::os("seccomp", "sendmsg", e))
    }

    /// In-between process: names the grandchild.
    pub fn pid(&self, pid: i32) -> Result<()> {
        self.write(format!("P{pid}").as_bytes())
    }

    /// Child: says why it ends.
    pub fn fail(&self, error: &Error) {
        let Ok(mut text) = serde_json::to_vec(error) else {
            return;
        };
        if text.len() > PACKET && !weakness::is("long-errors-cut") {
            text = serde_json::to_vec(&shortened(error)).unwrap_or_default();
        }
        // Nobody is left to tell when the parent is gone.
        let _ = self.write(&text[..text.len().min(PACKET)]);
    }

    /// Parent: the next report of the child.
    pub fn report(&self) -> Result<Report> {
        loop {
            if let Some(report) = self.packet()? {
                return Ok(report);
            }
        }
    }

    /// One packet; what is only remembered gives nothing.
    fn packet(&self) -> Result<Option<Report>> {
        let mut packet = vec![0u8; PACKET];
        let (n, fd) = self.read(&mut packet)?;
        let text = String::from_utf8_lossy(&packet[..n]);
        Ok(Some(match (text.chars().next(), fd) {
            (None, _) => Report::Closed,
            (Some('J'), _) => {
                self.joined.set(true);
                return Ok(None);
            }
            (Some('R'), _) => Report::Ready,
            (Some('W'), _) => Report::Warning(text[1..].to_owned()),
            (Some('C'), Some(master)) => Report::Console(master),
            (Some('L'), Some(listener)) => Report::Listener(listener),
            (Some('P'), _) => Report::Pid(text[1..].parse().unwrap_or(0)),
            _ => Report::Failed(serde_json::from_str(&text).unwrap_or_else(|e| {
                Error::new("namespaces", format!("unreadable report of the child: {e}"))
            })),
        }))
    }

    /// Parent: why the child has ended, if it has said so already.
    pub fn failure(&self) -> Option<Error> {
        loop {
            let mut waiting = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            if !matches!(poll(&mut waiting, PollTimeout::ZERO), Ok(1)) {
                return None;
            }
            match self.report() {
                Ok(Report::Failed(error)) => return Some(error),
                Ok(Report::Closed) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    fn write(&self, packet: &[u8]) -> Result<()> {
        loop {
            match send(self.socket.as_raw_fd(), packet, MsgFlags::MSG_NOSIGNAL) {
                Ok(_) => return Ok(()),
                // Reset: the peer has ended with packets unread; the next call says EPIPE.
                Err(Errno::EINTR | Errno::ECONNRESET) => continue,
                Err(e) => {
                    return Err(Error::os(
                        "namespaces",
                        "send to the other side of a start",
                        e,
                    ));
                }
            }
        }
    }

    fn read(&self, buffer: &mut [u8]) -> Result<(usize, Option<OwnedFd>)> {
        loop {
            match fdpass::receive(&self.socket, buffer) {
                // A peer that has ended with packets unread resets the connection once; what it sent comes after.
                Err(Errno::EINTR | Errno::ECONNRESET) => continue,
                other => return other.map_err(|e| Error::os("namespaces", "recvmsg", e)),
            }
        }
    }
}

/// The same error with its texts shortened in the middle: an argument may have 128 KiB, and is in the message between
/// what was done and why it failed.
fn shortened(error: &Error) -> Error {
    let short = |text: &String| match text.len() > TEXT {
        true => format!("{}...{}", beginning(text, TEXT - END), end(text, END)),
        false => text.clone(),
    };
    Error {
        message: short(&error.message),
        path: error.path.as_ref().map(short),
        hint: error.hint.as_ref().map(short),
        ..error.clone()
    }
}

fn end(text: &str, bytes: usize) -> &str {
    let mut start = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

fn beginning(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_come_in_order_and_may_be_left_out() {
        let (parent, child) = channel().unwrap();
        parent.allow(Step::Prepared).unwrap();
        let mut done = None;
        child.wait(Step::Mapped, &mut done).unwrap();
        assert_eq!(done, Some(Step::Prepared));
        child.wait(Step::Prepared, &mut done).unwrap();
        drop(parent);
        assert!(child.wait(Step::Start, &mut done).is_err());
    }

    #[test]
    fn the_joining_is_remembered_whoever_reads_it() {
        let (parent, child) = channel().unwrap();
        child.joined().unwrap();
        child.pid(7).unwrap();
        assert!(matches!(parent.report().unwrap(), Report::Pid(7)));
        parent.wait_joined().unwrap();
        let (parent, child) = channel().unwrap();
        drop(child);
        assert!(parent.wait_joined().is_err());
    }

    #[test]
    fn errors_arrive_whole() {
        let (parent, child) = channel().unwrap();
        let error = Error::at("mounts", "mount", "/x", Errno::EPERM).hint("h");
        assert_eq!(parent.failure(), None);
        child.warn("first").unwrap();
        child.fail(&error);
        assert_eq!(parent.failure().as_ref(), Some(&error));
        child.fail(&error);
        drop(child);
        assert!(matches!(parent.report().unwrap(), Report::Failed(e) if e == error));
        assert!(matches!(parent.report().unwrap(), Report::Closed));
    }

    #[test]
    fn long_texts_arrive_shortened() {
        let (parent, child) = channel().unwrap();
        for text in [
            "x".repeat(200_000),
            "€".repeat(70_000),
            "\u{1}".repeat(100_000),
        ] {
            child.fail(&Error::at("exec", "stat", &text, Errno::ENOENT).exit(127));
            match parent.report().unwrap() {
                Report::Failed(error) => {
                    assert_eq!((error.exit_code, error.errno), (127, Some(2)));
                    assert!(error.message.starts_with("stat ") && error.message.contains("..."));
                    assert!(error.message.ends_with(": no such file or directory"));
                }
                other => panic!("{other:?}"),
            }
            child.warn(&text).unwrap();
            assert!(matches!(parent.report().unwrap(), Report::Warning(w) if text.starts_with(&w)));
        }
    }

    #[test]
    fn no_packet_confuses_the_next_one() {
        let (parent, child) = channel().unwrap();
        let mut state = 1u64;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        for _ in 0..5000 {
            let kind = b"RWCLPJ{\"\xe2\xff\0"[random(11) as usize];
            let length = [1, 2, 100, 5000, 40_000, 100_000][random(6) as usize];
            let mut packet: Vec<u8> = (0..length).map(|_| random(256) as u8).collect();
            packet[0] = kind;
            child.write(&packet).unwrap();
            child.ready().unwrap();
            if kind != b'J' {
                let _ = parent.report().unwrap();
            }
            assert!(matches!(parent.report().unwrap(), Report::Ready));
        }
    }
}
