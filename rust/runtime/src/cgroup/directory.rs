//! One group of one hierarchy: a directory of the kernel, held by descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::dir::{Dir as Listing, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{Mode, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, read, unlinkat, write};

use super::layout::Hierarchy;
use crate::error::{Error, Result};

/// Marks the parent directories that pyd made itself, and so may remove: one that the user made (`--cgroup-parent`)
/// carries limits that must outlive the last container in it. The sticky bit means nothing else to a control group, and
/// unlike an extended attribute it is there from the first instant and needs no privilege.
const MADE_BY_PYD: Mode = Mode::S_ISVTX;

/// How long exiting processes may keep a directory busy.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(10);

/// The directory of one container in one hierarchy.
#[derive(Debug)]
pub(crate) struct Dir {
    /// The mount point.
    root: OwnedFd,
    /// From the mount point, without a leading slash.
    path: String,
    fd: OwnedFd,
    /// Whether this process made the directory above as well, so that it need not ask for the mark.
    made_parent: bool,
    /// Absolute, for messages.
    pub(crate) label: String,
}

/// The group below the mount point that `path` means: absolute from the mount point, relative from the own group.
pub(crate) fn resolve(hierarchy: &Hierarchy, path: &str) -> String {
    let full = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{}/{path}", hierarchy.own)
    };
    full.split('/')
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("/")
}

impl Dir {
    /// Makes the directory, and the missing ones above it. `prepare` is called for each parent that was made, from the
    /// top, with the hierarchy's root and the parent's path.
    pub(crate) fn create(
        hierarchy: &Hierarchy,
        path: &str,
        prepare: &mut dyn FnMut(BorrowedFd<'_>, &str) -> nix::Result<()>,
    ) -> nix::Result<Dir> {
        let root = open(
            &hierarchy.mountpoint,
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        let path = resolve(hierarchy, path);
        let mode = Mode::from_bits_truncate(0o755);
        let mut made_parent = false;
        // Another container's end may remove the common parent between two steps of this one's start: start over.
        for _ in 0..100 {
            match mkdirat(&root, path.as_str(), mode) {
                Ok(()) => {}
                Err(Errno::ENOENT) => match make_parents(root.as_fd(), &path, mode, prepare) {
                    Ok(made) => {
                        made_parent = made;
                        continue;
                    }
                    Err(Errno::ENOENT) => continue,
                    Err(errno) => return Err(errno),
                },
                // Left over from a start that was killed: its limits are not ours. A used one answers EBUSY.
                Err(Errno::EEXIST) => {
                    match unlinkat(&root, path.as_str(), UnlinkatFlags::RemoveDir) {
                        Ok(()) | Err(Errno::ENOENT) => continue,
                        Err(errno) => return Err(errno),
                    }
                }
                Err(errno) => return Err(errno),
            }
            let mut dir = Self::open_at(hierarchy, root, path)?;
            dir.made_parent = made_parent;
            return Ok(dir);
        }
        Err(Errno::EBUSY)
    }

    /// Opens the directory if it exists.
    pub(crate) fn open(hierarchy: &Hierarchy, path: &str) -> nix::Result<Option<Dir>> {
        let root = open(
            &hierarchy.mountpoint,
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        match Self::open_at(hierarchy, root, resolve(hierarchy, path)) {
            Ok(dir) => Ok(Some(dir)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    fn open_at(hierarchy: &Hierarchy, root: OwnedFd, path: String) -> nix::Result<Dir> {
        let fd = openat(
            &root,
            path.as_str(),
            OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        let label = format!("{}/{path}", hierarchy.mountpoint.display());
        Ok(Dir {
            root,
            path,
            fd,
            made_parent: false,
            label,
        })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// From the mount point.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn parent(&self) -> Option<&str> {
        self.path.rsplit_once('/').map(|(parent, _)| parent)
    }

    /// Whether the directory above is new as well: it has been prepared for this one.
    pub(crate) fn has_new_parent(&self) -> bool {
        self.made_parent
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The v1 file through which a thread puts itself into this group, by writing "0".
    ///
    /// `tasks`, not `cgroup.procs`: a thread that moves itself alone need not take the kernel's
    /// `cgroup_threadgroup_rwsem` for writing (Linux 5.5, "cgroup: Optimize single thread migration"), and the first
    /// writer after a pause waits for an RCU grace period: 8 to 12 ms of a start.
    pub(crate) fn open_tasks(&self) -> nix::Result<OwnedFd> {
        let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        // Who had the group delegated to him may have been given the other file only.
        openat(&self.fd, "tasks", flags, Mode::empty())
            .or_else(|_| openat(&self.fd, "cgroup.procs", flags, Mode::empty()))
    }

    pub(crate) fn write(&self, file: &str, value: &str) -> nix::Result<()> {
        write_at(self.fd(), file, value)
    }

    pub(crate) fn read(&self, file: &str) -> nix::Result<String> {
        read_at(self.fd(), file)
    }

    /// One setting of the user's: a refusal becomes a sentence.
    pub(crate) fn set(&self, file: &str, value: &str) -> Result<()> {
        self.write(file, value)
            .map_err(|errno| self.refused(file, value, errno))
    }

    pub(crate) fn refused(&self, file: &str, value: &str, errno: Errno) -> Error {
        let path = format!("{}/{file}", self.label);
        let error = Error::at("cgroup", "write", &path, errno)
            .context(format_args!("cannot set {file} to \"{value}\""));
        match errno {
            Errno::ENOENT => error.hint("this kernel has no such setting: leave the option out"),
            Errno::EINVAL | Errno::ERANGE => {
                error.hint("the kernel does not take this value: is it out of range, or above the parent's limit?")
            }
            Errno::EACCES | Errno::EPERM | Errno::EROFS => {
                error.hint("the control group is not writable for this user: run as root or get it delegated")
            }
            Errno::EBUSY => error.hint("the value is below what is in use now"),
            Errno::ENODEV | Errno::ENXIO => error.hint("there is no such device, or its driver has no support for this limit"),
            _ => error,
        }
    }

    /// Names of the groups directly below.
    pub(crate) fn children(&self) -> Vec<String> {
        children_at(self.fd())
    }

    pub(crate) fn child(&self, name: &str) -> nix::Result<Dir> {
        let root = self.fd.try_clone().map_err(|_| Errno::EMFILE)?;
        let fd = openat(
            &root,
            name,
            OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        Ok(Dir {
            root,
            path: name.to_owned(),
            fd,
            made_parent: false,
            label: format!("{}/{name}", self.label),
        })
    }

    /// Removes the directory and those below it, waiting for processes that are still exiting.
    pub(crate) fn remove(&self) -> Result<()> {
        let until = Instant::now() + REMOVAL_PATIENCE;
        remove_tree(self.root.as_fd(), &self.path, until).map_err(|errno| {
            Error::at("cgroup", "rmdir", &self.label, errno).hint("processes are still in it")
        })
    }

    /// Removes the parent if pyd made it and nothing is in it. Busy with another container, or already gone, is fine.
    pub(crate) fn remove_parent(&self) {
        let Some(parent) = self.parent() else {
            return;
        };
        let marked = || {
            fstatat(&self.root, parent, AtFlags::AT_SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| stat.st_mode & MADE_BY_PYD.bits() != 0)
        };
        if self.made_parent || marked() {
            let _ = unlinkat(&self.root, parent, UnlinkatFlags::RemoveDir);
        }
    }
}

/// Makes the directories above `path` that are missing; tells whether the nearest was one of them.
fn make_parents(
    root: BorrowedFd<'_>,
    path: &str,
    mode: Mode,
    prepare: &mut dyn FnMut(BorrowedFd<'_>, &str) -> nix::Result<()>,
) -> nix::Result<bool> {
    let mut made = false;
    for (end, _) in path.match_indices('/') {
        let parent = &path[..end];
        made = false;
        match mkdirat(root, parent, mode | MADE_BY_PYD) {
            Ok(()) => {
                prepare(root, parent)?;
                made = true;
            }
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(made)
}

fn remove_tree(root: BorrowedFd<'_>, path: &str, until: Instant) -> nix::Result<()> {
    let mut pause = Duration::from_micros(50);
    loop {
        match unlinkat(root, path, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::EBUSY) if Instant::now() < until => {}
            Err(errno) => return Err(errno),
        }
        // Busy because of groups below (a container that manages its own), or of processes that are exiting.
        if let Ok(fd) = openat(
            root,
            path,
            OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        ) {
            for child in children_at(fd.as_fd()) {
                remove_tree(fd.as_fd(), &child, until)?;
            }
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn children_at(dir: BorrowedFd<'_>) -> Vec<String> {
    // A new open file: the listing's position must not be shared.
    let Ok(listing) = Listing::openat(
        dir,
        ".",
        OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    ) else {
        return Vec::new();
    };
    listing
        .into_iter()
        .flatten()
        .filter(|entry| entry.file_type() == Some(Type::Directory))
        .filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned))
        .filter(|name| name != "." && name != "..")
        .collect()
}

pub(crate) fn write_at(dir: BorrowedFd<'_>, file: &str, value: &str) -> nix::Result<()> {
    let fd = openat(dir, file, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    // The kernel parses a setting per write(2): it must go in one piece.
    loop {
        match write(&fd, value.as_bytes()) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

pub(crate) fn read_at(dir: BorrowedFd<'_>, file: &str) -> nix::Result<String> {
    read_fd(&openat(
        dir,
        file,
        OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?)
}

pub(crate) fn read_fd(fd: &OwnedFd) -> nix::Result<String> {
    let mut text = Vec::new();
    let mut chunk = [0; 8192];
    loop {
        match read(fd, &mut chunk) {
            Ok(0) => return String::from_utf8(text).map_err(|_| Errno::EILSEQ),
            Ok(n) => text.extend_from_slice(&chunk[..n]),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Whether the group has this file.
pub(crate) fn has(dir: &Dir, file: &str) -> bool {
    nix::unistd::faccessat(
        &dir.fd,
        file,
        nix::unistd::AccessFlags::F_OK,
        AtFlags::empty(),
    )
    .is_ok()
}
