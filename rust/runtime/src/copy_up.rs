//! `tmpcopyup`: a tmpfs that begins with what the directory below it holds (podman's and crun's extension).

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, fstatat, mkdirat, mknodat};
use nix::unistd::{Gid, Uid, fchownat, symlinkat};
use pyd_sys::path::open_beneath;

use crate::error::{Error, Result};

/// Directories inside directories that are copied.
const DEPTH: usize = 128;

/// Copies everything below `from` to `to`; symbolic links are copied, never followed.
pub fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    // `from` is pinned by O_PATH, which cannot be listed.
    let from = open_beneath(from, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY)
        .map_err(|e| Error::os("mounts", "tmpcopyup: open", e))?;
    copy_level(from.as_fd(), to, DEPTH).map_err(|e| Error::os("mounts", "tmpcopyup", e))
}

fn copy_level(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: usize) -> nix::Result<()> {
    let below = depth.checked_sub(1).ok_or(Errno::ELOOP)?;
    let mut listing = Dir::openat(from, ".", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    for entry in listing.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777);
        match entry.file_type() {
            Some(Type::Directory) => {
                mkdirat(to, name, Mode::from_bits_truncate(0o700))?;
                let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
                let (inner_from, inner_to) = (
                    open_beneath(from, name, flags)?,
                    open_beneath(to, name, flags)?,
                );
                copy_level(inner_from.as_fd(), inner_to.as_fd(), below)?;
            }
            Some(Type::File) => {
                let mut source = File::from(open_beneath(
                    from,
                    name,
                    OFlag::O_RDONLY | OFlag::O_NONBLOCK,
                )?);
                let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
                let mut made =
                    File::from(openat(to, name, flags, Mode::from_bits_truncate(0o600))?);
                std::io::copy(&mut source, &mut made)
                    .map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)))?;
            }
            Some(Type::Symlink) => symlinkat(readlinkat(from, name)?.as_os_str(), to, name)?,
            _ => {
                let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
                mknodat(
                    to,
                    name,
                    kind,
                    Mode::from_bits_truncate(0o600),
                    stat.st_rdev,
                )?;
            }
        }
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        fchownat(to, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        // After the change of owner, which clears set-user-id.
        if entry.file_type() != Some(Type::Symlink) {
            fchmodat(to, name, mode, FchmodatFlags::FollowSymlink)?;
        }
    }
    Ok(())
}
