//! Properties of the calling process for which neither std nor nix has a safe call.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;

/// Marks every descriptor from `first` on close-on-exec (`close_range(2)`): nothing that somebody forgot to mark
/// reaches a container (CVE-2024-21626).
pub fn close_on_exec_from(first: u32) -> nix::Result<()> {
    // SAFETY: only sets a flag on descriptors; closes none.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    })?;
    Ok(())
}

/// Closes every descriptor from `first` on but those in `keep`.
///
/// For the child of a clone that ends in `execve` or `_exit`: whoever owned a descriptor in the parent has a copy here
/// that must not be used, nor dropped, afterwards.
pub fn close_all_but(first: u32, keep: &[RawFd]) -> nix::Result<()> {
    let mut keep: Vec<u32> = keep.iter().filter_map(|&fd| fd.try_into().ok()).collect();
    keep.sort_unstable();
    let mut next = first;
    for fd in keep.into_iter().filter(|&fd| fd >= first) {
        if fd > next {
            close_range(next, fd - 1)?;
        }
        next = fd + 1;
    }
    close_range(next, u32::MAX)
}

fn close_range(first: u32, last: u32) -> nix::Result<()> {
    // SAFETY: numbers only; the caller gives up every descriptor in the range (see `close_all_but`).
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
    Ok(())
}

/// Kind of the namespace that the descriptor refers to, as its `CLONE_NEW*` flag; an error for any other file.
pub fn namespace_kind(namespace: impl AsFd) -> nix::Result<i32> {
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    // SAFETY: valid descriptor; the request takes no argument.
    Errno::result(unsafe { libc::ioctl(namespace.as_fd().as_raw_fd(), NS_GET_NSTYPE) })
}

/// Replaces the program by the file that the descriptor refers to (`execveat(2)` with `AT_EMPTY_PATH`). Returns the
/// reason when it could not.
pub fn exec_file(file: impl AsFd, arguments: &[CString], environment: &[CString]) -> Errno {
    let (argv, envp) = (pointers(arguments), pointers(environment));
    // SAFETY: both arrays end with a null pointer and their strings outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_fd().as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Errno::last()
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|s| s.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

/// Sets the I/O scheduling class (1 realtime, 2 best effort, 3 idle) and priority of the caller (`ioprio_set(2)`).
pub fn set_io_priority(class: i32, priority: i32) -> nix::Result<()> {
    const IOPRIO_WHO_PROCESS: i32 = 1;
    // SAFETY: integers only.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_ioprio_set,
            IOPRIO_WHO_PROCESS,
            0,
            class << 13 | priority,
        )
    })?;
    Ok(())
}

/// Argument of `sched_setattr(2)` (`struct sched_attr`, version 0).
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub struct SchedAttr {
    pub size: u32,
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

/// Sets the CPU scheduling policy of the caller.
pub fn set_scheduler(mut attributes: SchedAttr) -> nix::Result<()> {
    attributes.size = size_of::<SchedAttr>() as u32;
    // SAFETY: the struct is of the size that it states.
    Errno::result(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) })?;
    Ok(())
}

/// Sets the supplementary groups of the only thread; an empty slice drops them all.
pub fn set_groups(groups: &[u32]) -> nix::Result<()> {
    // SAFETY: pointer and length of one slice of gid_t.
    Errno::result(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })?;
    Ok(())
}

/// Sets the three user ids of the only thread.
pub fn set_uid(uid: u32) -> nix::Result<()> {
    // SAFETY: integers only.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })?;
    Ok(())
}

/// Sets the three group ids of the only thread.
pub fn set_gid(gid: u32) -> nix::Result<()> {
    // SAFETY: integers only.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    Ok(())
}

/// Joins a new, unnamed session keyring, so that the container does not possess the caller's keys.
pub fn new_session_keyring() -> nix::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: i32 = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_JOIN_SESSION_KEYRING,
            std::ptr::null::<u8>(),
            0,
            0,
            0,
        )
    })?;
    Ok(())
}

/// Gives every signal its default action and blocks none: what a parent ignores or blocks would otherwise stay so
/// in the program that is executed (Rust's runtime ignores SIGPIPE).
pub fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL installs no handler; numbers that cannot be changed (SIGKILL) only give an error.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // An empty set is always valid.
    let _ = nix::sys::signal::SigSet::empty().thread_set_mask();
}

/// [`reset_signals`] in the child that `command` makes: `std` lets it inherit the mask.
pub fn reset_signals_in(command: &mut Command) {
    // SAFETY: signal and sigprocmask are async-signal-safe and nothing is allocated between fork and exec.
    unsafe {
        command.pre_exec(|| {
            reset_signals();
            Ok(())
        })
    };
}

/// Sets the NIS domain name of the calling process's uts namespace.
pub fn set_domain_name(name: &str) -> nix::Result<()> {
    // SAFETY: pointer and length of one string.
    Errno::result(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) })?;
    Ok(())
}

/// Sets the NUMA memory policy of the caller (`set_mempolicy(2)`): mode with its flags, and the nodes as a bit mask,
/// empty for none.
pub fn set_memory_policy(mode: i32, nodes: &[u64]) -> nix::Result<()> {
    let mask = match nodes {
        [] => std::ptr::null(),
        nodes => nodes.as_ptr(),
    };
    // The kernel reads one bit less than it is told.
    let bits = match nodes.len() {
        0 => 0,
        words => words * u64::BITS as usize + 1,
    };
    // SAFETY: null with no bits, or a slice of the bits that are passed along (the last one is not read).
    Errno::result(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) })?;
    Ok(())
}
