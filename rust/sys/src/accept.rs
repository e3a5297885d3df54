//! `accept4(2)` with an owned result.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// The next connection of a listening socket, close-on-exec and non-blocking.
pub fn accept(listener: impl AsFd) -> nix::Result<OwnedFd> {
    // SAFETY: a null address asks for none, and the listener is open for the time of the call.
    let fd = unsafe {
        libc::accept4(
            listener.as_fd().as_raw_fd(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
        )
    };
    Errno::result(fd)?;
    // SAFETY: the kernel has just made this descriptor for us and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
