//! A directory tree reached by descriptors only: no path leads through a symbolic link, above the root or into
//! another mount, whatever the tree holds.
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::stat::{FileStat, Mode, fstatat, mkdirat};
use pyd_sys::path::{open_beneath, open_in_root};

use crate::error::{Error, Result, show};
use crate::name::{is_within, split};

/// Open directories kept. Archives go through a tree in order, so a few serve nearly every entry, and the number of
/// descriptors does not depend on the layer.
const CACHED: usize = 16;

const PIN: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

pub struct Tree {
    root: Arc<OwnedFd>,
    /// Links lead to where they would if the root were `/`; without, there must be none.
    follow: bool,
    /// Most recently used last.
    cache: Vec<(Vec<u8>, Arc<OwnedFd>)>,
}

/// A parent directory and the name in it.
pub struct Place<'a> {
    pub parent: Arc<OwnedFd>,
    pub base: &'a [u8],
    /// The whole path, for messages.
    pub path: &'a [u8],
}

impl Tree {
    pub fn open(root: &Path) -> Result<Self> {
        let root = open(root, PIN, Mode::empty())
            .map_err(|errno| Error::kernel("open", root.as_os_str().as_bytes(), errno))?;
        Ok(Self {
            root: Arc::new(root),
            follow: false,
            cache: Vec::with_capacity(CACHED),
        })
    }

    /// A tree with files of others in it, whose links to directories are theirs.
    pub fn open_following(root: &Path) -> Result<Self> {
        Ok(Self {
            follow: true,
            ..Self::open(root)?
        })
    }

    pub fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// The existing directory `path`; None when it or a parent of it does not exist.
    pub fn directory(&mut self, path: &[u8]) -> Result<Option<Arc<OwnedFd>>> {
        if path.is_empty() {
            return Ok(Some(Arc::clone(&self.root)));
        }
        if let Some(index) = self.cache.iter().rposition(|(cached, _)| cached == path) {
            // Rotating keeps the order of use; at most CACHED small moves.
            self.cache[index..].rotate_left(1);
            return Ok(self
                .cache
                .last()
                .map(|(_, directory)| Arc::clone(directory)));
        }
        // Usually the parent is cached and one component is left to walk.
        let (above, below) = match self
            .cache
            .iter()
            .rfind(|(cached, _)| cached == split(path).0)
        {
            Some((_, parent)) => (Arc::clone(parent), split(path).1),
            None => (Arc::clone(&self.root), path),
        };
        let opened = if self.follow {
            open_in_root(self.root.as_fd(), path, PIN)
        } else {
            open_beneath(above.as_fd(), below, PIN)
        };
        match opened {
            Ok(directory) => {
                let directory = Arc::new(directory);
                if self.cache.len() == CACHED {
                    self.cache.remove(0);
                }
                self.cache.push((path.to_vec(), Arc::clone(&directory)));
                Ok(Some(directory))
            }
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(in_the_way(path, errno)),
        }
    }

    /// Like `directory`, makes what is missing. `made` is told each directory that was made.
    pub fn make_directories(
        &mut self,
        path: &[u8],
        made: &mut impl FnMut(&[u8]),
    ) -> Result<Arc<OwnedFd>> {
        if let Some(directory) = self.directory(path)? {
            return Ok(directory);
        }
        // From the top: the depth of a path must not become the depth of a recursion.
        let ends = (0..path.len())
            .filter(|&at| path[at] == b'/')
            .chain([path.len()]);
        for end in ends {
            let path = &path[..end];
            if self.directory(path)?.is_some() {
                continue;
            }
            let (parent, base) = split(path);
            let Some(parent) = self.directory(parent)? else {
                return Err(Error::kernel("mkdir", path, Errno::ENOENT));
            };
            mkdirat(&parent, base, Mode::from_bits_truncate(0o755))
                .map_err(|errno| failed("mkdir", path, errno))?;
            made(path);
        }
        self.directory(path)?
            .ok_or_else(|| Error::kernel("open", path, Errno::ENOENT))
    }

    /// Close all directories but those that were used last, `kept` of them.
    pub fn shrink(&mut self, kept: usize) {
        let all = self.cache.len();
        self.cache.drain(..all.saturating_sub(kept));
    }

    /// Forget what is cached of a directory that is about to be removed.
    pub fn forget(&mut self, path: &[u8]) {
        if self.follow {
            // It may have other names.
            self.cache.clear();
        }
        self.cache.retain(|(cached, _)| !is_within(cached, path));
    }

    /// Where `path` is, when its parent exists.
    pub fn place<'a>(&mut self, path: &'a [u8]) -> Result<Option<Place<'a>>> {
        let (parent, base) = split(path);
        let place = |parent| Place { parent, base, path };
        Ok(self.directory(parent)?.map(place))
    }
}

impl Place<'_> {
    /// lstat; None when nothing is there.
    pub fn stat(&self) -> Result<Option<FileStat>> {
        match fstatat(&self.parent, self.base, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(failed("stat", self.path, errno)),
        }
    }

    pub fn error(&self, op: &'static str, errno: Errno) -> Error {
        failed(op, self.path, errno)
    }

    /// A path for system calls that take no directory descriptor (lsetxattr). It passes through no other link.
    pub fn proc_path(&self) -> Result<std::ffi::CString> {
        use std::os::fd::AsRawFd;
        let prefix = format!("/proc/self/fd/{}/", self.parent.as_raw_fd());
        std::ffi::CString::new([prefix.as_bytes(), self.base].concat())
            .map_err(|_| failed("open", self.path, Errno::EINVAL))
    }
}

/// Failures that the names in a layer cause are the layer's fault, all others the system's.
pub fn failed(op: &'static str, path: &[u8], errno: Errno) -> Error {
    match errno {
        Errno::ENAMETOOLONG => Error::corrupt(format!(
            "layer entry {} has a name that is too long",
            show(path)
        )),
        Errno::ELOOP | Errno::ENOTDIR | Errno::EXDEV if op != "link" => in_the_way(path, errno),
        errno => Error::kernel(op, path, errno),
    }
}

fn in_the_way(path: &[u8], errno: Errno) -> Error {
    match errno {
        // O_DIRECTORY with RESOLVE_NO_SYMLINKS: ELOOP for a link before the end, either for one at the end.
        Errno::ELOOP | Errno::ENOTDIR | Errno::EXDEV => Error::corrupt(format!(
            "layer entry in {} goes through a symbolic link or a file, which would lead it out of its place",
            show(path)
        )),
        Errno::ENAMETOOLONG => Error::corrupt(format!(
            "layer entry {} has a name that is too long",
            show(path)
        )),
        errno => Error::kernel("open", path, errno),
    }
}
