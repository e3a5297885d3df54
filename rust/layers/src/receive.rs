//! Bytes from a connection into a partial, without a detour through Python.
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::buffer::Buffer;
use crate::error::Result;
use crate::partial::{Closed, Partial};
use crate::progress::Progress;

const BUFFER: usize = 256 << 10;
/// Bytes that must come in the time of one's patience: a byte now and then would otherwise hold us for ever.
const LEAST: u64 = 4096;
/// How late a reader that has failed, or a cancel, is noticed while nothing comes.
pub const LOOK: u16 = 100; // milliseconds

/// Why no more is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All that was to come.
    Whole,
    /// The other side has closed.
    Eof,
    /// Nothing came for too long, or next to nothing.
    Stalled,
    Failed(Errno),
    /// The partial takes no more.
    Closed,
}

/// Reads up to `length` bytes, which belong at `offset`, from a stream socket (blocking or not). Returns how many came.
pub fn receive(
    partial: &Partial,
    socket: &OwnedFd,
    mut offset: u64,
    length: u64,
    patience: Duration,
    progress: &Progress,
) -> Result<(u64, End)> {
    let mut buffer = Buffer::new(BUFFER);
    let (start, end) = (offset, offset + length);
    let (mut since, mut before) = (Instant::now(), start);
    while offset < end {
        progress.check()?;
        if since.elapsed() > patience {
            if offset - before < LEAST {
                return Ok((offset - start, End::Stalled));
            }
            (since, before) = (Instant::now(), offset);
        }
        let wanted = usize::try_from(end - offset).map_or(BUFFER, |left| left.min(BUFFER));
        match wait(socket, LOOK.into()) {
            Ok(true) => {}
            Ok(false) if partial.closed() => return Ok((offset - start, End::Closed)),
            Ok(false) => continue,
            Err(errno) => return Ok((offset - start, End::Failed(errno))),
        }
        match nix::unistd::read(socket, &mut buffer[..wanted]) {
            Ok(0) => return Ok((offset - start, End::Eof)),
            Ok(read) => {
                if let Err(Closed) = partial.store(offset, &buffer[..read])? {
                    return Ok((offset - start, End::Closed));
                }
                offset += read as u64;
                progress.add(read as u64);
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Ok((offset - start, End::Failed(errno))),
        }
    }
    Ok((offset - start, End::Whole))
}

/// Whether there is something to read, or the end.
pub fn wait(socket: &OwnedFd, patience: PollTimeout) -> nix::Result<bool> {
    let mut polled = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    match poll(&mut polled, patience) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(errno) => Err(errno),
    }
}
