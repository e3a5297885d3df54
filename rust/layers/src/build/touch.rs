//! Changes to files of a layer that is being sealed, whatever flags they have.
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, UtimensatFlags, fstatat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, unlinkat};
use pyd_sys::inode::clear_immutable;
use pyd_sys::xattr;

use crate::error::{Error, Result};
use crate::name::join;
use crate::overlay::is_bookkeeping;
use crate::pack::pinned::kind_of;

/// A name in an open directory, whose path is only for messages.
#[derive(Clone, Copy)]
pub struct Name<'a> {
    pub directory: &'a OwnedFd,
    pub parent: &'a [u8],
    pub name: &'a [u8],
}

impl Name<'_> {
    pub fn path(&self) -> Vec<u8> {
        join(self.parent, self.name)
    }

    /// None when there is nothing of that name.
    pub fn stat(&self) -> Result<Option<FileStat>> {
        match fstatat(self.directory, self.name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(Error::kernel("stat", &self.path(), errno)),
        }
    }

    pub fn remove(&self) -> Result<()> {
        self.forced("unlink", || {
            unlinkat(self.directory, self.name, UnlinkatFlags::NoRemoveDir)
        })
    }

    /// False when something is in it.
    pub fn remove_directory(&self) -> Result<bool> {
        let removed = self.forced("rmdir", || {
            unlinkat(self.directory, self.name, UnlinkatFlags::RemoveDir)
        });
        match removed {
            Ok(()) => Ok(true),
            Err(Error::Kernel {
                errno: Errno::ENOTEMPTY | Errno::EEXIST,
                ..
            }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Access time too, as when a layer is unpacked.
    pub fn set_time(&self, (seconds, nanoseconds): (i64, u32)) -> Result<()> {
        let time = TimeSpec::new(seconds, nanoseconds.into());
        let flags = UtimensatFlags::NoFollowSymlink;
        self.forced("utimens", || {
            utimensat(self.directory, self.name, &time, &time, flags)
        })
    }

    /// Removes what overlayfs notes down about an object: where it comes from, what is in it.
    pub fn remove_notes(&self) -> Result<()> {
        let link = self.link();
        let failed = |op| move |errno| Error::kernel(op, &self.path(), errno);
        let names = match xattr::llist(&link) {
            Ok(names) => names,
            Err(Errno::EOPNOTSUPP) => return Ok(()),
            Err(errno) => return Err(failed("listxattr")(errno)),
        };
        for name in names.iter().filter(|name| is_bookkeeping(name)) {
            let Ok(name) = CString::new(name.as_slice()) else {
                continue;
            };
            match xattr::lremove(&link, &name) {
                Ok(()) | Err(Errno::ENODATA) => {}
                // Without the right to remove it, it stays; nothing reads it.
                Err(Errno::EPERM) => {}
                Err(errno) => return Err(failed("removexattr")(errno)),
            }
        }
        Ok(())
    }

    /// For system calls that take no directory descriptor; it passes through no other link.
    fn link(&self) -> CString {
        let prefix = format!("/proc/self/fd/{}/", self.directory.as_raw_fd());
        CString::new([prefix.as_bytes(), self.name].concat()).unwrap_or_default()
    }

    /// A flag that makes a file or its directory immutable has no place in a layer: it goes where it is in the way.
    fn forced(&self, op: &'static str, action: impl Fn() -> nix::Result<()>) -> Result<()> {
        let mut result = action();
        if result == Err(Errno::EPERM) {
            let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            // Others must not be opened: a device does something, and they have no flags.
            let is_safe = |stat| matches!(kind_of(&stat), SFlag::S_IFREG | SFlag::S_IFDIR);
            if self.stat()?.is_some_and(is_safe)
                && let Ok(file) = openat(self.directory, self.name, flags, Mode::empty())
            {
                let _ = clear_immutable(file.as_fd());
            }
            let _ = clear_immutable(self.directory.as_fd());
            result = action();
        }
        result.map_err(|errno| Error::kernel(op, &self.path(), errno))
    }
}

pub fn time_of(stat: &FileStat) -> (i64, u32) {
    (
        stat.st_mtime,
        u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
    )
}
