//! Bytes that wait until a descriptor takes them.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::uio::writev;

/// Memory that an empty queue may keep.
const KEEP: usize = 4096;

/// First in, first out. The bound is the owner's: it stops filling when [`Queue::len`] is too much.
#[derive(Debug, Default)]
pub struct Queue(VecDeque<u8>);

impl Queue {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn clear(&mut self) {
        self.0 = VecDeque::new();
    }

    /// Appends, without trying to write.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    /// Writes `parts` to `fd`, or queues what it does not take now, behind what waits already.
    pub fn send(&mut self, fd: impl AsFd, parts: [&[u8]; 2]) -> Result<(), Errno> {
        let mut sent = 0;
        if self.is_empty() {
            sent = match writev(&fd, &parts.map(IoSlice::new)) {
                Ok(n) => n,
                Err(Errno::EAGAIN | Errno::EINTR) => 0,
                Err(errno) => return Err(errno),
            };
        }
        for part in parts {
            let skip = sent.min(part.len());
            sent -= skip;
            self.push(&part[skip..]);
        }
        Ok(())
    }

    /// Writes as much as `fd` takes without blocking.
    pub fn flush(&mut self, fd: impl AsFd) -> Result<(), Errno> {
        while !self.is_empty() {
            let (front, back) = self.0.as_slices();
            match writev(&fd, &[IoSlice::new(front), IoSlice::new(back)]) {
                Ok(n) => drop(self.0.drain(..n)),
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        if self.0.capacity() > KEEP {
            self.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn order_survives_a_full_socket() {
        let (sender, mut receiver) = UnixStream::pair().unwrap();
        sender.set_nonblocking(true).unwrap();
        let mut queue = Queue::default();
        let mut want = Vec::new();
        for number in 0..2000u32 {
            let payload = [number as u8; 999];
            queue
                .send(&sender, [&number.to_be_bytes(), &payload])
                .unwrap();
            want.extend_from_slice(&number.to_be_bytes());
            want.extend_from_slice(&payload);
        }
        assert!(!queue.is_empty());
        let mut got = Vec::new();
        while got.len() < want.len() {
            let mut piece = [0; 10_000];
            let n = receiver.read(&mut piece).unwrap();
            got.extend_from_slice(&piece[..n]);
            queue.flush(&sender).unwrap();
        }
        assert!(got == want && queue.is_empty());
        assert!(queue.0.capacity() <= KEEP);
    }

    #[test]
    fn a_closed_peer_is_an_error() {
        let (sender, receiver) = UnixStream::pair().unwrap();
        drop(receiver);
        let mut queue = Queue::default();
        assert_eq!(queue.send(&sender, [b"a", b"b"]), Err(Errno::EPIPE));
        queue.push(b"c");
        assert_eq!(queue.flush(&sender), Err(Errno::EPIPE));
    }
}
