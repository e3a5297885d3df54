//! One object of a tree, pinned by a descriptor: what is said and read about it is about one and the same inode,
//! whatever a running container puts under its name meanwhile. Nothing but a regular file is ever opened: opening a
//! device or a FIFO does something to the host.
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use pyd_sys::xattr;

use crate::error::{Error, Result, show};
use crate::overlay;

pub struct Pinned {
    fd: OwnedFd,
    pub stat: FileStat,
}

/// Attributes of an object, sorted by name: overlayfs' own apart from the others.
#[derive(Default)]
pub struct Attributes {
    pub kept: Vec<(Vec<u8>, Vec<u8>)>,
    /// Nothing of the layers below shows through this directory.
    pub opaque: bool,
    /// An empty file that stands for a whiteout (Linux 6.7, for overlays inside overlays).
    pub whiteout: bool,
}

impl Pinned {
    /// None when there is nothing of that name (any more).
    pub fn open(parent: impl AsFd, name: &[u8], path: &[u8]) -> Result<Option<Self>> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = match openat(parent, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(Error::kernel("open", path, errno)),
        };
        let stat = fstat(&fd).map_err(|errno| Error::kernel("stat", path, errno))?;
        Ok(Some(Self { fd, stat }))
    }

    pub fn kind(&self) -> SFlag {
        kind_of(&self.stat)
    }

    pub fn is_directory(&self) -> bool {
        self.kind() == SFlag::S_IFDIR
    }

    /// Whether it hides the name in the layers below. `path` is for messages.
    pub fn is_whiteout(&self, path: &[u8]) -> Result<bool> {
        if overlay::is_whiteout(&self.stat) {
            return Ok(true);
        }
        let may_be = self.kind() == SFlag::S_IFREG && self.stat.st_size == 0;
        Ok(may_be && self.attributes(path)?.whiteout)
    }

    /// Refuses what only overlayfs itself can resolve.
    pub fn attributes(&self, path: &[u8]) -> Result<Attributes> {
        let link = self.link();
        let mut names = match xattr::list(&link) {
            Ok(names) => names,
            Err(Errno::EOPNOTSUPP) => return Ok(Attributes::default()),
            Err(errno) => return Err(Error::kernel("listxattr", path, errno)),
        };
        names.sort_unstable();
        let mut found = Attributes::default();
        for name in names {
            let overlay = [&b"trusted.overlay."[..], b"user.overlay."]
                .iter()
                .find_map(|prefix| name.strip_prefix(*prefix));
            match overlay {
                Some(b"redirect" | b"metacopy") => {
                    return Err(Error::Unsupported(format!(
                        "{} was moved or copied in part by overlayfs (attribute {}), which a layer cannot say: \
                         mount without redirect_dir and metacopy",
                        show(path),
                        show(&name)
                    )));
                }
                Some(b"whiteout") => found.whiteout = true,
                Some(b"opaque") => found.opaque |= self.attribute(&name) == Some(b"y".to_vec()),
                Some(_) => {}
                None if crate::metadata::is_kept(&name) => {
                    // Gone since the list was made, or not for us to read.
                    if let Some(value) = self.attribute(&name) {
                        found.kept.push((name, value));
                    }
                }
                None => {}
            }
        }
        Ok(found)
    }

    /// For reading. Only for regular files.
    pub fn read(&self, path: &[u8]) -> Result<File> {
        debug_assert!(self.kind() == SFlag::S_IFREG);
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        open(self.link().as_c_str(), flags, Mode::empty())
            .map(File::from)
            .map_err(|errno| Error::kernel("open", path, errno))
    }

    /// Target of a symbolic link.
    pub fn target(&self, path: &[u8]) -> Result<Vec<u8>> {
        use std::os::unix::ffi::OsStringExt;
        readlinkat(&self.fd, c"")
            .map(OsStringExt::into_vec)
            .map_err(|errno| Error::kernel("readlink", path, errno))
    }

    fn attribute(&self, name: &[u8]) -> Option<Vec<u8>> {
        xattr::get(&self.link(), &CString::new(name).ok()?).ok()
    }

    /// The link of the kernel's own that leads to just this object.
    fn link(&self) -> CString {
        let text = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        CString::new(text).unwrap_or_default()
    }
}

pub fn kind_of(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}
