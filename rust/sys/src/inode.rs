//! What concerns one open file: its writeback and its inode flags.
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// Start writing a range to disk without waiting, sync_file_range(2) with SYNC_FILE_RANGE_WRITE. Not durability: it
/// only leaves less for a later fsync. File systems that cannot are fine.
pub fn start_writeback(fd: BorrowedFd<'_>, offset: u64, length: u64) {
    let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else {
        return;
    };
    // SAFETY: takes a descriptor that is open during the call, and integers.
    unsafe {
        libc::sync_file_range(fd.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE);
    }
}

const IMMUTABLE: libc::c_long = 0x10; // FS_IMMUTABLE_FL, linux/fs.h
const APPEND_ONLY: libc::c_long = 0x20; // FS_APPEND_FL

/// Clear the immutable and append-only flags, ioctl_iflags(2). Says whether one was set.
pub fn clear_immutable(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut flags: libc::c_long = 0;
    // SAFETY: FS_IOC_GETFLAGS writes at most one long (the kernel writes an int) to `flags`, which lives here.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), libc::FS_IOC_GETFLAGS, &raw mut flags) })?;
    if flags & (IMMUTABLE | APPEND_ONLY) == 0 {
        return Ok(false);
    }
    flags &= !(IMMUTABLE | APPEND_ONLY);
    // SAFETY: FS_IOC_SETFLAGS reads one integer from `flags`, which lives here.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), libc::FS_IOC_SETFLAGS, &raw const flags) })?;
    Ok(true)
}

/// Let `to`, an empty file, share the content of `from`: ioctl_ficlone(2). Only within one file system that can.
pub fn clone_content(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: FICLONE takes a descriptor by value; both are open during the call.
    Errno::result(unsafe { libc::ioctl(to.as_raw_fd(), libc::FICLONE, from.as_raw_fd()) }).map(drop)
}
