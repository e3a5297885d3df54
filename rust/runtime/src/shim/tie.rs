//! A container that ends with its starter (`tied` in shim.json): a step of a build must not outlive the build,
//! whatever kills that.
//!
//! The starter's sign of life is the connection of `--attach-fd`, which the kernel closes for a process that is killed.
//! A starter that only has no more stdin to send shuts down its own direction; the socket then has no hang-up
//! (EPOLLRDHUP without EPOLLHUP), and that is no end.

use std::os::fd::{AsFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::monitor::Monitor;

/// Whether the other end of the socket has been closed.
pub fn is_cut(socket: &OwnedFd) -> bool {
    // A hang-up is reported whether asked for or not (poll(2)).
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|count| count > 0)
}

impl Monitor {
    /// Kills a tied container whose starter is gone. What follows is as after any other death.
    pub(super) fn end_with_starter(&mut self) {
        let Some(number) = self.tied else {
            return;
        };
        if self.finished || self.clients.get(&number).is_some_and(|c| !c.gone) {
            return;
        }
        self.tied = None;
        // Every process at once, thawed where a freezer would keep them alive; and the first one by its descriptor,
        // because a host may give the container no group by which it could be found.
        let _ = self.kill(libc::SIGKILL, true);
        let _ = self.kill(libc::SIGKILL, false);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn only_a_closed_socket_is_cut() {
        let (starter, ours) = UnixStream::pair().unwrap();
        let ours = OwnedFd::from(ours);
        assert!(!is_cut(&ours));
        starter.shutdown(Shutdown::Write).unwrap();
        assert!(!is_cut(&ours));
        drop(starter);
        assert!(is_cut(&ours));
    }
}
