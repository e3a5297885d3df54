//! Processes by descriptor: `pidfd_open(2)`, `pidfd_send_signal(2)`, `waitid(2)` with `P_PIDFD`.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::unistd::Pid;

/// A descriptor for the process; `ESRCH` when there is none.
pub fn open(pid: Pid) -> nix::Result<OwnedFd> {
    // SAFETY: takes two integers; a non-negative result is a new descriptor (close-on-exec by definition).
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
    // SAFETY: just made, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Sends a signal by number, so that real-time signals are possible; 0 only checks.
pub fn send_signal(pidfd: impl AsFd, signal: i32) -> nix::Result<()> {
    let fd = pidfd.as_fd().as_raw_fd();
    // SAFETY: a valid descriptor and integers; a null siginfo means what kill(2) would send.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            fd,
            signal,
            std::ptr::null::<u8>(),
            0,
        )
    })?;
    Ok(())
}
