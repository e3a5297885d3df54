//! Network namespaces: be in another one for a moment, and the loopback interface of a new one.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::Mode;

/// The network namespace of a process, kept alive by the descriptor.
pub fn of_process(pid: i32) -> io::Result<OwnedFd> {
    Ok(open(
        format!("/proc/{pid}/ns/net").as_str(),
        OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?)
}

/// The network namespace of the calling thread.
pub fn current() -> io::Result<OwnedFd> {
    Ok(open(
        "/proc/thread-self/ns/net",
        OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?)
}

/// Run `job` with the calling thread inside `target`, then bring the thread back.
///
/// Only this thread moves, so other threads of the process never notice. A thread that cannot come back would act on
/// the container's network as if it were the host's, so the process ends then.
pub fn inside<T>(target: impl AsFd, job: impl FnOnce() -> T) -> io::Result<T> {
    struct Return(OwnedFd);
    impl Drop for Return {
        fn drop(&mut self) {
            if setns(&self.0, CloneFlags::CLONE_NEWNET).is_err() {
                std::process::abort();
            }
        }
    }
    let home = Return(current()?);
    setns(target, CloneFlags::CLONE_NEWNET)?;
    let result = job();
    drop(home);
    Ok(result)
}

/// Bring `lo` of the calling thread's namespace up. The kernel adds 127.0.0.1/8 and ::1 itself.
pub fn loopback_up() -> io::Result<()> {
    // SAFETY: no pointers; the result is checked before it becomes an owned descriptor.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: fd was just opened and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: ifreq is plain data for which zeros are a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which lives across the call.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
