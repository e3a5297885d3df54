//! One file of a view: as much of it as two images can differ in.
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::readlinkat;
use nix::sys::stat::{FileStat, SFlag, major, minor};
use std::os::unix::ffi::OsStringExt;

use crate::error::{Error, Result};
use crate::overlay::is_overlay_attribute;
use pyd_sys::xattr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    File,
    Directory,
    Symlink,
    Fifo,
    Socket,
    Character,
    Block,
}

impl FileKind {
    pub fn of(stat: &FileStat) -> Self {
        match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFDIR => Self::Directory,
            SFlag::S_IFLNK => Self::Symlink,
            SFlag::S_IFIFO => Self::Fifo,
            SFlag::S_IFSOCK => Self::Socket,
            SFlag::S_IFCHR => Self::Character,
            SFlag::S_IFBLK => Self::Block,
            _ => Self::File,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
            Self::Character => "character device",
            Self::Block => "block device",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub kind: FileKind,
    /// Permissions with setuid, setgid and sticky: 0o7777 at most.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Bytes of a regular file, 0 for all others.
    pub size: u64,
    /// Seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// Major and minor number of a device, else zeros.
    pub device: (u64, u64),
    /// What a symbolic link says.
    pub target: Vec<u8>,
    /// By name; without those of overlayfs itself.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Node {
    /// `stat` is that of `name` in `parent`; `path` is for messages.
    pub fn read(parent: &OwnedFd, name: &[u8], path: &[u8], stat: &FileStat) -> Result<Self> {
        let kind = FileKind::of(stat);
        let target = if kind == FileKind::Symlink {
            readlinkat(parent, name)
                .map_err(|errno| Error::kernel("readlink", path, errno))?
                .into_vec()
        } else {
            Vec::new()
        };
        let device = match kind {
            FileKind::Character | FileKind::Block => (major(stat.st_rdev), minor(stat.st_rdev)),
            _ => (0, 0),
        };
        Ok(Self {
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: match kind {
                FileKind::File => stat.st_size.cast_unsigned(),
                _ => 0,
            },
            mtime: (stat.st_mtime, stat.st_mtime_nsec),
            device,
            target,
            xattrs: attributes(parent, name, path)?,
        })
    }
}

/// What a file counts for the size of its layer, as when it was unpacked: regular files and symbolic links.
pub fn size_of(stat: &FileStat) -> u64 {
    match FileKind::of(stat) {
        FileKind::File | FileKind::Symlink => stat.st_size.cast_unsigned(),
        _ => 0,
    }
}

/// A path for system calls that take no directory descriptor; it passes through no other link.
pub fn proc_path(parent: &OwnedFd, name: &[u8]) -> nix::Result<CString> {
    let prefix = format!("/proc/self/fd/{}/", parent.as_raw_fd());
    CString::new([prefix.as_bytes(), name].concat()).map_err(|_| Errno::EINVAL)
}

fn attributes(parent: &OwnedFd, name: &[u8], path: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let failed = |op| move |errno| Error::kernel(op, path, errno);
    let place = proc_path(parent, name).map_err(failed("open"))?;
    let names = match xattr::llist(&place) {
        Ok(names) => names,
        Err(Errno::EOPNOTSUPP) => return Ok(Vec::new()),
        Err(errno) => return Err(failed("listxattr")(errno)),
    };
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        if is_overlay_attribute(&name) {
            continue;
        }
        let Ok(key) = CString::new(name.clone()) else {
            continue;
        };
        match xattr::lget(&place, &key) {
            Ok(value) => found.push((name, value)),
            // Some are only for those who may read them, some only exist for some kinds of file.
            Err(Errno::ENODATA | Errno::EPERM | Errno::EOPNOTSUPP) => {}
            Err(errno) => return Err(failed("getxattr")(errno)),
        }
    }
    found.sort();
    Ok(found)
}
