//! The mount API of descriptors (Linux 5.2 and 5.12): a mount is made detached, changed, and only then attached, to
//! a directory that is pinned by a descriptor. No step names a path that somebody could exchange meanwhile.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// `mount_setattr(2)` attributes.
pub mod attr {
    pub const RDONLY: u64 = 0x0000_0001;
    pub const NOSUID: u64 = 0x0000_0002;
    pub const NODEV: u64 = 0x0000_0004;
    pub const NOEXEC: u64 = 0x0000_0008;
    /// The three atime modes are one field: clear it whole before setting one (relatime is 0).
    pub const ATIME_MASK: u64 = 0x0000_0070;
    pub const RELATIME: u64 = 0;
    pub const NOATIME: u64 = 0x0000_0010;
    pub const STRICTATIME: u64 = 0x0000_0020;
    pub const NODIRATIME: u64 = 0x0000_0080;
    pub const IDMAP: u64 = 0x0010_0000;
    pub const NOSYMFOLLOW: u64 = 0x0020_0000;
}

const FSOPEN_CLOEXEC: u32 = 1;
const FSMOUNT_CLOEXEC: u32 = 1;
const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;
const OPEN_TREE_CLONE: u32 = 1;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x04;
const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;
const AT_RECURSIVE: u32 = 0x8000;

/// Argument of `mount_setattr(2)` (`struct mount_attr`, 32 bytes).
#[repr(C)]
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct MountAttr {
    /// Attributes to set.
    pub set: u64,
    /// Attributes to clear.
    pub clear: u64,
    /// One of `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE`, or 0 to leave it.
    pub propagation: u64,
    /// Descriptor of a user namespace for [`attr::IDMAP`].
    pub userns: u64,
}

fn owned(result: libc::c_long) -> nix::Result<OwnedFd> {
    let fd = Errno::result(result)?;
    // SAFETY: every caller passes the result of a system call that gives a new descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// A filesystem that is being configured (`fsopen(2)`).
#[derive(Debug)]
pub struct FsContext(OwnedFd);

impl FsContext {
    /// Begins a filesystem of the named type.
    pub fn open(kind: &str) -> nix::Result<Self> {
        let kind = CString::new(kind).map_err(|_| Errno::EINVAL)?;
        // SAFETY: a NUL-terminated string that outlives the call.
        owned(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) }).map(Self)
    }

    /// Sets `key=value`.
    pub fn set(&self, key: &str, value: &str) -> nix::Result<()> {
        let value = CString::new(value).map_err(|_| Errno::EINVAL)?;
        self.config(FSCONFIG_SET_STRING, Some(key), Some(&value))
    }

    /// Sets an option that has no value.
    pub fn flag(&self, key: &str) -> nix::Result<()> {
        self.config(FSCONFIG_SET_FLAG, Some(key), None)
    }

    /// Makes the filesystem (its superblock).
    pub fn create(&self) -> nix::Result<()> {
        self.config(FSCONFIG_CMD_CREATE, None, None)
    }

    /// A detached mount of the filesystem with the attributes of [`attr`].
    pub fn mount(&self, attributes: u64) -> nix::Result<OwnedFd> {
        let (fd, attributes) = (self.0.as_raw_fd(), attributes as u32);
        // SAFETY: a valid descriptor and integers.
        owned(unsafe { libc::syscall(libc::SYS_fsmount, fd, FSMOUNT_CLOEXEC, attributes) })
    }

    /// What the filesystem had to say about a refusal ("overlay: too many lower directories, limit is 500").
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let mut text = [0u8; 512];
        let mut last = None;
        while let Ok(n) = nix::unistd::read(&self.0, &mut text) {
            if n == 0 {
                break;
            }
            let line = String::from_utf8_lossy(&text[..n]);
            // "e " errors, "w " warnings, "i " information.
            if let Some(message) = line.strip_prefix("e ") {
                last = Some(message.trim_end().to_owned());
            }
        }
        last
    }

    fn config(&self, command: u32, key: Option<&str>, value: Option<&CStr>) -> nix::Result<()> {
        let key = key
            .map(CString::new)
            .transpose()
            .map_err(|_| Errno::EINVAL)?;
        let key = key.as_ref().map_or(std::ptr::null(), |k| k.as_ptr());
        let value = value.map_or(std::ptr::null(), CStr::as_ptr);
        // SAFETY: valid descriptor; both pointers are null or NUL-terminated strings that outlive the call.
        Errno::result(unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                self.0.as_raw_fd(),
                command,
                key,
                value,
                0,
            )
        })?;
        Ok(())
    }
}

/// A detached copy of the mount tree at `path` below `dir` (`open_tree(2)` with `OPEN_TREE_CLONE`): what a bind
/// mount is made of. An empty path means `dir` itself.
pub fn clone_tree(dir: BorrowedFd<'_>, path: &CStr, recursive: bool) -> nix::Result<OwnedFd> {
    let mut flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as u32;
    if recursive {
        flags |= AT_RECURSIVE;
    }
    if path.is_empty() {
        flags |= libc::AT_EMPTY_PATH as u32;
    }
    // SAFETY: valid descriptor and a NUL-terminated string that outlives the call.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), path.as_ptr(), flags) })
}

/// Attaches a detached mount on top of the directory or file that `target` refers to.
pub fn attach(mount: impl AsFd, target: impl AsFd) -> nix::Result<()> {
    let (from, to) = (mount.as_fd().as_raw_fd(), target.as_fd().as_raw_fd());
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: two valid descriptors and two empty static strings.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            from,
            c"".as_ptr(),
            to,
            c"".as_ptr(),
            flags,
        )
    })?;
    Ok(())
}

/// Changes the attributes of the mount that `mount` refers to, and of those below it when `recursive`.
pub fn set_attributes(mount: impl AsFd, change: &MountAttr, recursive: bool) -> nix::Result<()> {
    let mut flags = libc::AT_EMPTY_PATH as u32;
    if recursive {
        flags |= AT_RECURSIVE;
    }
    let fd = mount.as_fd().as_raw_fd();
    // SAFETY: valid descriptor, static string, and a struct of the size that is passed along.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd,
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(change),
            size_of::<MountAttr>(),
        )
    })?;
    Ok(())
}
