//! `splice(2)`: bytes from descriptor to descriptor without a copy through user space. One of both is a pipe.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

/// Move at most `length` bytes; never blocks. 0 is the end of `from`, `WouldBlock` means that either side must wait.
///
/// A socket whose peer is gone raises SIGPIPE, which Rust programs ignore from their start.
pub fn splice(from: impl AsFd, to: impl AsFd, length: usize) -> io::Result<usize> {
    // SAFETY: both descriptors are open for the time of the call; null offsets are what pipes and sockets need.
    let moved = unsafe {
        libc::splice(
            from.as_fd().as_raw_fd(),
            ptr::null_mut(),
            to.as_fd().as_raw_fd(),
            ptr::null_mut(),
            length,
            libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK,
        )
    };
    if moved < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(moved as usize)
    }
}
