//! `clone3(2)`: a child in new namespaces and in its cgroup from its first instruction.

use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::Pid;

/// Flags of `clone(2)` that make a namespace; `CLONE_NEWTIME` is not among them (`unshare` only, for children).
pub const NEW_NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u64;

/// The libc crate's constant does not fit its type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// How a child is made.
#[derive(Debug, Default)]
pub struct Clone3<'a> {
    /// `CLONE_NEW*` flags.
    pub namespaces: u64,
    /// Directory of a cgroup of version 2 in which the child starts (`CLONE_INTO_CGROUP`).
    pub cgroup: Option<BorrowedFd<'a>>,
    /// The child becomes a sibling: the caller's parent is its parent (`CLONE_PARENT`).
    pub sibling: bool,
}

/// A process that was just made.
#[derive(Debug)]
pub struct Spawned {
    /// Pid as the caller's pid namespace shows it.
    pub pid: Pid,
    /// Refers to the process even when the pid is used again.
    pub pidfd: OwnedFd,
}

impl Clone3<'_> {
    /// Runs `child` in a new process, which ends with the returned exit status.
    ///
    /// The child is a copy of a process that must have one thread: a lock that another thread held would stay
    /// locked in it for ever. [`single_threaded`] tells; this function refuses with `EDEADLK` otherwise.
    pub fn spawn(&self, child: impl FnOnce() -> i32) -> nix::Result<Spawned> {
        if !single_threaded() {
            return Err(Errno::EDEADLK);
        }
        let mut pidfd: libc::c_int = -1;
        let mut flags = self.namespaces | libc::CLONE_PIDFD as u64;
        if self.cgroup.is_some() {
            flags |= CLONE_INTO_CGROUP;
        }
        if self.sibling {
            flags |= libc::CLONE_PARENT as u64;
        }
        // SAFETY: clone_args is plain data, for which all zeroes is a valid value.
        let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
        args.flags = flags;
        args.pidfd = &raw mut pidfd as u64;
        // With CLONE_PARENT the kernel takes the signal of the caller and refuses another one (EINVAL).
        args.exit_signal = if self.sibling {
            0
        } else {
            libc::SIGCHLD as u64
        };
        args.cgroup = self.cgroup.map_or(0, |fd| fd.as_raw_fd() as u64);
        // SAFETY: without CLONE_VM the child works on a copy of this stack and memory, as after fork; the process
        // has one thread (checked above), so no lock is held by a thread that the child lacks.
        let pid = unsafe {
            libc::syscall(
                libc::SYS_clone3,
                &raw const args,
                size_of::<libc::clone_args>(),
            )
        };
        if pid == 0 {
            let status =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(125);
            // SAFETY: _exit ends the child without running the parent's atexit handlers or flushing its buffers.
            unsafe { libc::_exit(status) }
        }
        Errno::result(pid)?;
        // SAFETY: the kernel has stored a new descriptor there that nobody else owns (CLONE_PIDFD).
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        Ok(Spawned {
            pid: Pid::from_raw(pid as i32),
            pidfd,
        })
    }
}

/// Runs `child` in a new process by the C library's `fork`, whose handlers make `malloc` usable in the child of a
/// process with several threads. The child ends with the returned exit status.
pub fn fork_threaded(child: impl FnOnce() -> i32) -> nix::Result<Spawned> {
    // SAFETY: glibc's fork resets the allocator's locks in the child; `child` takes no other lock of this process.
    let pid = Errno::result(unsafe { libc::fork() })?;
    if pid == 0 {
        let status = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(125);
        // SAFETY: as in `spawn`.
        unsafe { libc::_exit(status) }
    }
    let pid = Pid::from_raw(pid);
    // Not reaped yet and our child, so the number cannot have been used again.
    Ok(Spawned {
        pid,
        pidfd: crate::pidfd::open(pid)?,
    })
}

/// Whether this process has one thread.
#[must_use]
pub fn single_threaded() -> bool {
    // Asked of the kernel and not of /proc, which is the container's once its mount namespace was joined: unshare(2)
    // of threads does nothing for one thread and is refused to several.
    match unshare(CloneFlags::CLONE_THREAD) {
        Ok(()) => true,
        Err(Errno::EINVAL) => false,
        // The seccomp filter of an outer container. The task directory has two links more than threads.
        Err(_) => fs::metadata("/proc/self/task").is_ok_and(|meta| meta.nlink() <= 3),
    }
}
