//! The directories of layers, and what lies in one path of each.
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::stat::{FileStat, Mode, fstatat};
use pyd_sys::path::open_beneath;

use super::node::proc_path;
use crate::error::{Error, Result};
use crate::listing::list;
use crate::overlay;

/// Layers by number, each opened once. Below them no descriptor is kept, so that neither the number of layers nor the
/// depth of a tree can use them up.
pub struct Layers {
    roots: Vec<OwnedFd>,
}

/// What one layer has in a directory.
pub struct Listing {
    pub directory: OwnedFd,
    pub entries: Vec<(Vec<u8>, FileStat)>,
}

impl Layers {
    pub fn open(directories: &[PathBuf]) -> Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let opened = |path: &PathBuf| {
            open(path, flags, Mode::empty())
                .map_err(|errno| Error::kernel("open", path.as_os_str().as_bytes(), errno))
        };
        Ok(Self {
            roots: directories.iter().map(opened).collect::<Result<_>>()?,
        })
    }

    /// The directory `path` ("" is the root) of a layer, open for reading.
    pub fn directory(&self, layer: usize, path: &[u8]) -> Result<OwnedFd> {
        let name = if path.is_empty() { b"." } else { path };
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        open_beneath(self.roots[layer].as_fd(), name, flags)
            .map_err(|errno| Error::kernel("open", path, errno))
    }

    /// Everything in that directory. Names that vanish meanwhile are left out.
    pub fn list(&self, layer: usize, path: &[u8]) -> Result<Listing> {
        let directory = self.directory(layer, path)?;
        let failed = |op| move |errno| Error::kernel(op, path, errno);
        let names = list(directory.as_fd()).map_err(failed("readdir"))?;
        let mut entries = Vec::with_capacity(names.len());
        for listed in names {
            match fstatat(
                &directory,
                listed.name.as_slice(),
                AtFlags::AT_SYMLINK_NOFOLLOW,
            ) {
                Ok(stat) => entries.push((listed.name, stat)),
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(failed("stat")(errno)),
            }
        }
        Ok(Listing { directory, entries })
    }

    /// A regular file for reading.
    pub fn file(&self, layer: usize, path: &[u8]) -> Result<File> {
        // O_NONBLOCK: should it have become a fifo, nobody waits for its writer
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        open_beneath(self.roots[layer].as_fd(), path, flags)
            .map(File::from)
            .map_err(|errno| Error::kernel("open", path, errno))
    }
}

impl Listing {
    /// Whether the directory `name` in this one hides what the layers below have in it.
    pub fn is_opaque(&self, name: &[u8]) -> Result<bool> {
        let path =
            proc_path(&self.directory, name).map_err(|errno| Error::kernel("open", name, errno))?;
        Ok(overlay::is_opaque_at(&path))
    }
}
