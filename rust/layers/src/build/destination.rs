//! The root of a container as a build step finds it, to write into: an overlay that is attached nowhere, or just the
//! upper directory when nothing is below. Links of the image are resolved by hand, inside this root: every call to the
//! kernel gets a path without any.
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstatat, mkdirat};
use pyd_sys::overlay::{Refusal, Stack, appends_layers, mount_overlay};
use pyd_sys::path::open_beneath;

use crate::error::{Error, Result};
use crate::metadata;
use crate::name::{join, split};
use crate::progress::Progress;
use crate::remove::remove_tree;
use crate::rights::Rights;
use crate::tar::{Entry, Kind};
use crate::tree::Place;

const MAX_LINKS: usize = 40;

/// Directories of an overlay that is written to.
#[derive(Clone, Debug)]
pub struct Layers {
    /// Top first. Empty: the upper directory is all there is.
    pub lowers: Vec<PathBuf>,
    pub upper: PathBuf,
    /// On the file system of `upper`, for overlayfs; empty before and after.
    pub work: PathBuf,
}

/// What directories are given that have to be made.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    /// Seconds since 1970; None: the time is that of the clock.
    pub epoch: Option<i64>,
}

pub struct Destination {
    root: OwnedFd,
    as_made: Made,
    rights: Rights,
    /// Made so far, parents first.
    made: Vec<Vec<u8>>,
    /// Dropped after `root`: fields go in this order.
    _scratch: Scratch,
}

/// What overlayfs leaves in its work directory: a volatile one a mark that keeps it from being mounted again.
struct Scratch(Option<PathBuf>);

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // What is left is in the way of a second mount, which then says so.
            let _ = remove_tree(path, &Progress::default());
        }
    }
}

impl Destination {
    pub fn open(layers: &Layers, as_made: Made) -> Result<Self> {
        let (root, scratch) = if layers.lowers.is_empty() {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let path = layers.upper.as_os_str().as_bytes();
            let root = open(&layers.upper, flags, Mode::empty())
                .map_err(|errno| Error::kernel("open", path, errno))?;
            (root, None)
        } else {
            (mounted(layers)?, Some(layers.work.join("work")))
        };
        Ok(Self {
            root,
            as_made,
            rights: Rights::of_this_thread(),
            made: Vec::new(),
            _scratch: Scratch(scratch),
        })
    }

    pub fn rights(&self) -> Rights {
        self.rights
    }

    pub fn has_made(&self) -> bool {
        !self.made.is_empty()
    }

    /// The directory `path`, which has no links in it (as `directories` and `file` give it).
    pub fn directory(&self, path: &[u8]) -> Result<OwnedFd> {
        let name: &[u8] = if path.is_empty() { b"." } else { path };
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        open_beneath(self.root.as_fd(), name, flags)
            .map_err(|errno| Error::kernel("open", &absolute(path), errno))
    }

    pub fn place<'a>(&self, path: &'a [u8]) -> Result<Place<'a>> {
        let (parent, base) = split(path);
        Ok(Place {
            parent: Arc::new(self.directory(parent)?),
            base: if base.is_empty() { b"." } else { base },
            path,
        })
    }

    pub fn stat(&self, path: &[u8]) -> Result<Option<FileStat>> {
        let place = self.place(path)?;
        match fstatat(&place.parent, place.base, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(Error::kernel("stat", &absolute(path), errno)),
        }
    }

    /// Where the path `path` of the image leads, as a directory: what is missing is made. The last part may also be
    /// something else, which is for the caller to see.
    pub fn directories(&mut self, path: &[u8]) -> Result<Vec<u8>> {
        self.walk(path, true)
    }

    /// Where a file of that path is or would be: its directories are made where they are missing.
    pub fn file(&mut self, path: &[u8]) -> Result<Vec<u8>> {
        self.walk(path, false)
    }

    fn walk(&mut self, path: &[u8], make_last: bool) -> Result<Vec<u8>> {
        let mut links = MAX_LINKS;
        let mut left: VecDeque<Vec<u8>> = components(path).collect();
        let mut done = Vec::new();
        while let Some(name) = left.pop_front() {
            if name == b".." {
                done.truncate(split(&done).0.len());
                continue;
            }
            let parent = self.directory(&done)?;
            let here = join(&done, &name);
            match readlinkat(&parent, name.as_slice()).map(OsStringExt::into_vec) {
                Ok(target) => {
                    let too_many = || Error::kernel("resolve", path, Errno::ELOOP);
                    links = links.checked_sub(1).ok_or_else(too_many)?;
                    if target.starts_with(b"/") {
                        done.clear();
                    }
                    let target: Vec<_> = components(&target).collect();
                    for part in target.into_iter().rev() {
                        left.push_front(part);
                    }
                    continue;
                }
                Err(Errno::EINVAL) => {}
                Err(Errno::ENOENT) if make_last || !left.is_empty() => self.make(&here)?,
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(Error::kernel("readlink", &absolute(&here), errno)),
            }
            done = here;
        }
        Ok(done)
    }

    fn make(&mut self, path: &[u8]) -> Result<()> {
        let place = self.place(path)?;
        // Nobody but its maker gets into it before it has its owner.
        mkdirat(&place.parent, place.base, Mode::S_IRWXU)
            .map_err(|errno| Error::kernel("mkdir", &absolute(path), errno))?;
        let entry = Entry {
            mode: self.as_made.mode,
            uid: self.as_made.uid,
            gid: self.as_made.gid,
            ..nameless(Kind::Directory)
        };
        metadata::set_on_name(&place, &entry, Some(entry.mode), self.rights)?;
        self.made.push(path.to_vec());
        Ok(())
    }

    /// Times of the directories that were made, now that nothing is made in them any more; and the mount is gone.
    pub fn finish(self) -> Result<()> {
        if let Some(epoch) = self.as_made.epoch {
            for path in self.made.iter().rev() {
                metadata::set_time(&self.place(path)?, (epoch, 0))?;
            }
        }
        Ok(())
    }
}

pub fn nameless(kind: Kind) -> Entry {
    Entry {
        name: Vec::new(),
        link: Vec::new(),
        kind,
        mode: 0,
        uid: 0,
        gid: 0,
        mtime: (0, 0),
        size: 0,
        device: (0, 0),
        xattrs: Vec::new(),
    }
}

/// As the container says it.
pub fn absolute(path: &[u8]) -> Vec<u8> {
    [b"/", path].concat()
}

fn components(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    path.split(|&byte| byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(<[u8]>::to_vec)
}

/// Volatile: or its end would write everything that this file system has to write, not only what is ours, to disk.
fn mounted(layers: &Layers) -> Result<OwnedFd> {
    let mount = || {
        mount_overlay(&Stack {
            lower: &layers.lowers,
            upper: Some((&layers.upper, &layers.work)),
            volatile: true,
        })
    };
    let mounted = if appends_layers() {
        mount()
    } else {
        in_own_namespace(mount)
    };
    mounted.map_err(refused)
}

/// An older kernel attaches the mount for a moment: where nobody sees it, and nothing is left if we are killed.
fn in_own_namespace(
    mount: impl FnOnce() -> std::result::Result<OwnedFd, Refusal> + Send,
) -> std::result::Result<OwnedFd, Refusal> {
    use nix::mount::MsFlags;
    use nix::sched::{CloneFlags, unshare};
    let alone = || -> nix::Result<()> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
        nix::mount::mount(
            None::<&str>,
            Path::new("/"),
            None::<&str>,
            private,
            None::<&str>,
        )
    };
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            alone().map_err(|errno| Refusal {
                op: "unshare(CLONE_NEWNS)",
                path: None,
                errno,
                complaint: None,
            })?;
            mount()
        });
        match thread.join() {
            Ok(mounted) => mounted,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn refused(refusal: Refusal) -> Error {
    let path = refusal.path.unwrap_or_default();
    let shown = match refusal.complaint {
        Some(complaint) => format!("{} ({complaint})", path.display()),
        None => path.display().to_string(),
    };
    Error::kernel(refusal.op, shown.as_bytes(), refusal.errno)
}
