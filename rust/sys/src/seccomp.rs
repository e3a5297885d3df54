//! Loading a seccomp filter (seccomp(2)).

use std::os::fd::{FromRawFd, OwnedFd};

use nix::Result;
use nix::errno::Errno;

pub use libc::sock_filter as Instruction;

/// `SECCOMP_FILTER_FLAG_*` of linux/seccomp.h.
pub const FLAG_TSYNC: u32 = 1;
pub const FLAG_LOG: u32 = 1 << 1;
pub const FLAG_SPEC_ALLOW: u32 = 1 << 2;
pub const FLAG_NEW_LISTENER: u32 = 1 << 3;
/// TSYNC reports a failing thread as ESRCH, because with NEW_LISTENER a positive answer is a descriptor.
pub const FLAG_TSYNC_ESRCH: u32 = 1 << 4;
pub const FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// `SECCOMP_RET_USER_NOTIF`.
pub const RET_USER_NOTIF: u32 = 0x7fc0_0000;

const SET_MODE_FILTER: libc::c_ulong = 1;
const GET_ACTION_AVAIL: libc::c_ulong = 2;

/// Installs `program` on the calling thread; gives the listener with [`FLAG_NEW_LISTENER`].
///
/// Needs no_new_privs or CAP_SYS_ADMIN. Allocates nothing: for use between clone and execve.
pub fn load(program: &[Instruction], flags: u32) -> Result<Option<OwnedFd>> {
    let program = libc::sock_fprog {
        len: program.len().try_into().map_err(|_| Errno::EINVAL)?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: `program` points to `len` instructions that outlive the call; the kernel copies and checks them.
    let answer = Errno::result(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SET_MODE_FILTER,
            libc::c_ulong::from(flags),
            &program,
        )
    })?;
    if flags & FLAG_NEW_LISTENER == 0 {
        // A positive answer is the thread that TSYNC could not bring along.
        return if answer == 0 {
            Ok(None)
        } else {
            Err(Errno::ESRCH)
        };
    }
    // SAFETY: with NEW_LISTENER the kernel answers a new descriptor (close-on-exec) that nobody else owns.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(answer as i32) }))
}

/// Whether the kernel has filters at all and knows this action (`SECCOMP_RET_*`).
pub fn action_available(action: u32) -> bool {
    // SAFETY: the kernel reads one u32 behind a valid pointer.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            GET_ACTION_AVAIL,
            0 as libc::c_ulong,
            &action,
        )
    })
    .is_ok()
}

/// Whether the kernel knows a filter flag: a null program is refused with EFAULT only after the flags were checked.
pub fn flag_available(flag: u32) -> bool {
    // SAFETY: the program is null on purpose; the kernel answers EFAULT and installs nothing.
    let answer = Errno::result(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SET_MODE_FILTER,
            libc::c_ulong::from(flag),
            std::ptr::null::<libc::c_void>(),
        )
    });
    answer == Err(Errno::EFAULT)
}
