//! Removing a tree that somebody hostile may have made: by descriptors, never out of it, however deep.
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, open, openat, renameat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use pyd_sys::inode::clear_immutable;
use pyd_sys::path::open_beneath;

use crate::error::{Error, Result};
use crate::listing::{Listed, list, open_directory};
use crate::name::join;
use crate::progress::Progress;

/// Directories open at once. Deeper ones are moved up to the top first, so neither descriptors nor the stack run out
/// on a chain of a million directories.
const MAX_DEPTH: usize = 64;
/// Directories whose children are spread over threads.
const MAX_SPREAD: usize = 256;

/// Removes `path`, a file or a tree. Missing is fine. Goes on after a failure and reports the first.
pub fn remove_tree(path: &Path, progress: &Progress) -> Result<()> {
    let shown = path.as_os_str().as_bytes();
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::Invalid(format!(
            "cannot remove {}: it has no name",
            path.display()
        )));
    };
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let parent = match open(parent, flags, Mode::empty()) {
        Ok(parent) => parent,
        Err(Errno::ENOENT) => return Ok(()),
        Err(errno) => return Err(Error::kernel("open", shown, errno)),
    };
    let name = name.as_bytes();
    let subtrees = spread(&parent, name);
    let threads = std::thread::available_parallelism()
        .map_or(2, usize::from)
        .clamp(1, 4);
    if subtrees.len() > 1 && threads > 1 {
        let jobs = Mutex::new(subtrees.iter());
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let Some((parent, name)) =
                            jobs.lock().ok().and_then(|mut jobs| jobs.next())
                        else {
                            return;
                        };
                        // What fails here fails again below, where it is reported.
                        let _ = Removal::new(name, progress).run(parent, name);
                    }
                });
            }
        });
    }
    progress.check()?;
    Removal::new(shown, progress).run(&parent, name)
}

/// Removes what `name` in `parent` is. `path` is for messages.
pub fn remove_at(parent: &OwnedFd, name: &[u8], path: &[u8]) -> Result<()> {
    Removal::new(path, &Progress::default()).run(parent, name)
}

/// Directories of the second and third level. Removing them takes most of the time, and file systems lock by
/// directory, so that threads do not wait for each other.
fn spread(parent: &OwnedFd, name: &[u8]) -> Vec<(OwnedFd, Vec<u8>)> {
    let mut level = match open_directory(parent.as_fd(), name) {
        Ok(root) => vec![root],
        Err(_) => return Vec::new(),
    };
    let mut subtrees = Vec::new();
    for depth in 0..3 {
        let mut next = Vec::new();
        for directory in level {
            let Ok(listed) = list(directory.as_fd()) else {
                continue;
            };
            for child in listed.into_iter().filter(|child| child.is_directory) {
                if depth == 2 || next.len() >= MAX_SPREAD {
                    if let Ok(directory) = directory.try_clone()
                        && subtrees.len() < MAX_SPREAD
                    {
                        subtrees.push((directory, child.name));
                    }
                } else if let Ok(child) = open_directory(directory.as_fd(), &child.name) {
                    next.push(child);
                }
            }
        }
        level = next;
    }
    subtrees
}

struct Removal<'a> {
    /// Of the top, for messages.
    path: &'a [u8],
    progress: &'a Progress,
    stack: Vec<Frame>,
    moved: u64,
    first_error: Option<Error>,
}

/// A directory whose content is being removed.
struct Frame {
    directory: Arc<OwnedFd>,
    name: Vec<u8>,
    left: Vec<Listed>,
}

impl<'a> Removal<'a> {
    fn new(path: &'a [u8], progress: &'a Progress) -> Self {
        Self {
            path,
            progress,
            stack: Vec::new(),
            moved: 0,
            first_error: None,
        }
    }

    fn run(mut self, parent: &OwnedFd, name: &[u8]) -> Result<()> {
        match self.unlink(parent, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => return Ok(()),
            Err(Errno::EISDIR) => {}
            Err(errno) => return Err(Error::kernel("unlink", self.path, errno)),
        }
        self.descend(parent, name.to_vec());
        while let Some(frame) = self.stack.last_mut() {
            self.progress.check()?;
            let Some(entry) = frame.left.pop() else {
                self.ascend(parent);
                continue;
            };
            let directory = Arc::clone(&frame.directory);
            let is_directory = entry.is_directory
                || match self.unlink(&directory, &entry.name, UnlinkatFlags::NoRemoveDir) {
                    Ok(()) => false,
                    Err(Errno::EISDIR) => true,
                    Err(errno) => {
                        self.failed("unlink", &entry.name, errno);
                        false
                    }
                };
            if is_directory {
                self.descend(&directory, entry.name);
            }
        }
        self.first_error.map_or(Ok(()), Err)
    }

    fn descend(&mut self, parent: &OwnedFd, name: Vec<u8>) {
        if self.stack.len() >= MAX_DEPTH && self.lift(parent, &name) {
            return;
        }
        let open = || {
            let directory = open_directory(parent.as_fd(), &name)?;
            Ok((list(directory.as_fd())?, Arc::new(directory)))
        };
        let opened = match open() {
            Err(Errno::EACCES) => {
                if !self.stack.is_empty() {
                    // Without x on the parent nothing in it can be opened.
                    let _ = unlock_pinned(parent);
                }
                unlock(parent, &name).and_then(|()| open())
            }
            other => other,
        };
        match opened {
            Ok((left, directory)) => self.stack.push(Frame {
                directory,
                name,
                left,
            }),
            Err(Errno::ENOENT) => {}
            Err(errno) => self.failed("open", &name, errno),
        }
    }

    /// Move a directory from the bottom of the stack to its top, to be removed from there.
    fn lift(&mut self, parent: &OwnedFd, name: &[u8]) -> bool {
        let Some(top) = self.stack.first_mut() else {
            return false;
        };
        self.moved += 1;
        // A name that the tree may have as well must not be replaced: rename does not replace a directory that is
        // not empty, and an empty one is no loss here.
        let target = format!(".pyd-removed-{}", self.moved).into_bytes();
        if renameat(parent, name, &*top.directory, target.as_slice()).is_err() {
            return false;
        }
        top.left.push(Listed {
            name: target,
            is_directory: true,
            kind: None,
        });
        true
    }

    fn ascend(&mut self, outside: &OwnedFd) {
        let Some(frame) = self.stack.pop() else {
            return;
        };
        let result = match self.stack.last() {
            Some(above) => self.unlink(&above.directory, &frame.name, UnlinkatFlags::RemoveDir),
            None => self.unlink(outside, &frame.name, UnlinkatFlags::RemoveDir),
        };
        if let Err(errno) = result {
            // ENOTEMPTY after a failure inside says nothing new.
            if self.first_error.is_none() || errno != Errno::ENOTEMPTY {
                self.failed("rmdir", &frame.name, errno);
            }
        }
    }

    fn unlink(&self, parent: &OwnedFd, name: &[u8], flags: UnlinkatFlags) -> nix::Result<()> {
        match unlinkat(parent, name, flags) {
            Err(Errno::ENOENT) => Ok(()),
            Err(errno @ (Errno::EPERM | Errno::EACCES)) => {
                if release(parent, name, !self.stack.is_empty()) {
                    unlinkat(parent, name, flags)
                } else {
                    Err(errno)
                }
            }
            other => other,
        }
    }

    fn failed(&mut self, op: &'static str, name: &[u8], errno: Errno) {
        if self.first_error.is_none() {
            let mut path = self.path.to_vec();
            for frame in self.stack.iter().skip(1) {
                path = join(&path, &frame.name);
            }
            if !self.stack.is_empty() {
                path = join(&path, name);
            }
            self.first_error = Some(Error::kernel(op, &path, errno));
        }
    }
}

/// A directory without permissions for its owner: give them, through a descriptor that is surely that directory.
fn unlock(parent: &OwnedFd, name: &[u8]) -> nix::Result<()> {
    let directory = open_beneath(parent.as_fd(), name, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    unlock_pinned(&directory)
}

fn unlock_pinned(directory: &OwnedFd) -> nix::Result<()> {
    let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
    fchmodat(
        AT_FDCWD,
        path.as_str(),
        Mode::S_IRWXU,
        FchmodatFlags::FollowSymlink,
    )
}

/// Why may a name not be unlinked? The directory or the file is immutable, or the directory is not writable for its
/// owner. Says whether trying again makes sense. `inside`: the directory is part of what is removed, so it may be
/// changed.
fn release(parent: &OwnedFd, name: &[u8], inside: bool) -> bool {
    let mut changed = inside && unlock_pinned(parent).is_ok();
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let names = [&b"."[..], name];
    for name in &names[usize::from(!inside)..] {
        // Devices and FIFOs have no such flags, and opening a device may do something: look first.
        let is_plain =
            nix::sys::stat::fstatat(parent, *name, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| matches!(stat.st_mode & 0o170_000, 0o100_000 | 0o040_000));
        if is_plain && let Ok(file) = openat(parent, *name, flags, Mode::empty()) {
            changed |= clear_immutable(file.as_fd()).unwrap_or(false);
        }
    }
    changed
}
