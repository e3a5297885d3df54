//! Descriptors that a program got from whoever started it.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;

static CLAIMED: AtomicBool = AtomicBool::new(false);

/// Takes the descriptors `numbers` (3 or more, ascending) from the starter, marks them close-on-exec and closes
/// every other one above 2: a pipe that the user's shell leaked must not stay open as long as a container runs.
///
/// Works once in a process and belongs at the beginning of `main`, before anything else is open; `EALREADY` later.
pub fn claim(numbers: &[RawFd]) -> nix::Result<Vec<OwnedFd>> {
    if numbers.first().is_some_and(|&first| first < 3) || !numbers.is_sorted_by(|a, b| a < b) {
        return Err(Errno::EINVAL);
    }
    if CLAIMED.swap(true, Ordering::Relaxed) {
        return Err(Errno::EALREADY);
    }
    let mut next = 3;
    let mut claimed = Vec::with_capacity(numbers.len());
    for &number in numbers {
        close_range(next, number - 1)?;
        // SAFETY: F_SETFD only sets a flag; a number that is not open gives EBADF.
        Errno::result(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
        // SAFETY: open (just checked), inherited and not owned by anything in this process: this function runs
        // once (CLAIMED) and `numbers` has no number twice.
        claimed.push(unsafe { OwnedFd::from_raw_fd(number) });
        next = number + 1;
    }
    close_range(next, RawFd::MAX)?;
    Ok(claimed)
}

/// A descriptor of our own (close-on-exec) for what the caller's number refers to; `EBADF` when it is not open.
pub fn duplicate(number: RawFd) -> nix::Result<OwnedFd> {
    // SAFETY: takes integers only; a number that is not open gives EBADF.
    let fd = Errno::result(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: the kernel just returned this descriptor and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn close_range(first: RawFd, last: RawFd) -> nix::Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: only inherited descriptors are open, as `claim` demands, so nobody's descriptor is closed.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
    Ok(())
}
