//! Taking ended children off the kernel's list.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::unistd::Pid;

/// One ended child of the caller, whichever ended, with its status; `None` when none has ended or none exists.
/// Orphans that a subreaper inherited and children made with other exit signals are among them (`__WALL`).
///
/// `nix::sys::wait::waitpid` cannot be used for this: a child killed by a real-time signal is reaped by it, but
/// reported as EINVAL without its pid.
pub fn any() -> nix::Result<Option<(Pid, ExitStatus)>> {
    loop {
        let mut status = 0;
        // SAFETY: the pointer is to a local int that the call fills.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) };
        match Errno::result(pid) {
            Ok(0) | Err(Errno::ECHILD) => return Ok(None),
            Ok(pid) => return Ok(Some((Pid::from_raw(pid), ExitStatus::from_raw(status)))),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Sends a signal by number, real-time ones too, to a child that was not reaped yet: until then its pid is nobody
/// else's. Works where a seccomp profile or an old kernel refuses pidfds.
pub fn signal_child(child: Pid, signal: i32) -> nix::Result<()> {
    // SAFETY: integers only.
    Errno::result(unsafe { libc::kill(child.as_raw(), signal) })?;
    Ok(())
}
