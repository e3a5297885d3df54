//! Descriptors that belong to another language in the same process.
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

/// A descriptor of our own for what `number` refers to, fcntl(2) F_DUPFD_CLOEXEC: whatever its owner does to the
/// number meanwhile, this one stays open. `EBADF` when nothing is open there.
pub fn duplicate(number: RawFd) -> nix::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC touches no memory; a number that is not open gives EBADF.
    let fd = Errno::result(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: the call has just made `fd`, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
