//! A conversation with the kernel: send a batch, collect what became of each request.

use std::io;

use pyd_sys::netlink::{Family, Socket};

use crate::error::{Error, Result};
use crate::message::{Answer, Batch, Outcome, answers};

/// The kernel fills a datagram of a dump up to the reader's buffer, and needs 8 KiB (NLMSG_GOODSIZE) at least.
const DATAGRAM: usize = 16 * 1024;

#[derive(Debug)]
pub struct Kernel {
    socket: Socket,
    what: &'static str,
}

impl Kernel {
    /// rtnetlink of the calling thread's network namespace.
    pub fn route() -> Result<Self> {
        Self::open(Family::Route, "rtnetlink")
    }

    /// nftables and conntrack of the calling thread's network namespace.
    pub fn netfilter() -> Result<Self> {
        Self::open(Family::Netfilter, "nfnetlink")
    }

    fn open(family: Family, what: &'static str) -> Result<Self> {
        let socket =
            Socket::open(family).map_err(|error| Error::io("open socket", what, &error))?;
        Ok(Self { socket, what })
    }

    /// Send the batch and return which requests were refused; objects that come back go to `each`.
    pub fn request(&mut self, batch: &Batch, mut each: impl FnMut(u16, &[u8])) -> Result<Outcome> {
        let what = self.what;
        let failed = |error: io::Error| Error::io("request", what, &error);
        let mut buffer = vec![0; DATAGRAM];
        self.socket.send(batch.bytes()).map_err(failed)?;
        let mut outcome = Outcome::default();
        // All answers are queued when send returns: an empty queue is the end.
        while let Some(datagram) = self.socket.receive(&mut buffer, false).map_err(failed)? {
            for answer in answers(datagram) {
                match answer {
                    Answer::Result { errno: 0, .. } => {}
                    Answer::Result {
                        sequence,
                        errno,
                        reason,
                    } => outcome.refused(sequence, errno, reason),
                    Answer::Object { kind, body } => each(kind, body),
                    Answer::Done { errno: 0 } => {}
                    Answer::Done { errno } => outcome.refused(0, errno, None),
                }
            }
        }
        Ok(outcome)
    }
}
