//! The upper directory of an overlay becomes a layer for itself: what only the overlay needed goes away, times become
//! those of every other build, and the digest of its tar is known without writing one.
//!
//! Nobody else may have the directory: the step that wrote into it has ended.
use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, UtimensatFlags, fstat, fstatat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, unlinkat};
use pyd_sys::inode::clear_immutable;
use pyd_sys::path::open_beneath;
use pyd_sys::xattr;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::extract::Unsettled;
use crate::listing::list;
use crate::name::{join, split};
use crate::overlay::{is_bookkeeping, is_whiteout};
use crate::pack::archive::clamped;
use crate::pack::changes::same_directory;
use crate::pack::pinned::{Pinned, kind_of};
use crate::pack::union::{Parts, Union, check_length};
use crate::pack::{Contents, Overlay, hash_layer};
use crate::progress::Progress;
use crate::settle::settle_layer;
use crate::threads::spread;

/// Names of one directory that are one piece of work.
const BATCH: usize = 256;

#[derive(Clone, Debug)]
pub struct SealedLayer {
    pub diff_id: Digest,
    /// Of the tar.
    pub plain_size: u64,
    /// Of regular files, hard links once, and of the targets of symbolic links: as when a layer is unpacked.
    pub unpacked_size: u64,
    /// Of the tar; 0 when nothing was changed.
    pub entries: u64,
}

/// Makes `overlay.upper` a snapshot that alone, without those below it, packs to the digest that is returned.
///
/// Gone are sockets, mount points that were made for a mount (`ignored`), directories that are as they are below and in
/// which nothing changed, immutable flags, and attributes in which overlayfs keeps notes. Whiteouts and opaque
/// directories stay as they are. The root becomes that of the layer below, for a layer does not describe it. Times of
/// modification later than `epoch` become `epoch`; without `clamp` the files keep theirs, and the digest is the same.
/// Not fsynced.
pub fn seal_layer(
    overlay: &Overlay,
    epoch: i64,
    clamp: bool,
    progress: &Arc<Progress>,
) -> Result<SealedLayer> {
    let mut below = Union::open(&overlay.lowers)?;
    let mut mount_points = HashSet::new();
    for path in &overlay.ignored {
        if below.find(path)?.is_none() {
            mount_points.insert(path.clone());
        }
    }
    let seal = Seal {
        root: pin(&overlay.upper)?,
        epoch: clamp.then_some(epoch),
        clean: Some(mount_points),
    };
    let found = seal.files(progress)?;
    let inherited = Unsettled {
        implied: vec![Vec::new()],
        ..Unsettled::default()
    };
    settle_layer(&inherited, &overlay.upper, &overlay.lowers)?;
    seal.directories(found.directories, &mut below)?;
    let alone = Overlay {
        upper: overlay.upper.clone(),
        ..Overlay::default()
    };
    let packed = hash_layer(Contents::Changes(alone), Some(epoch), progress)?;
    Ok(SealedLayer {
        diff_id: packed.diff_id,
        plain_size: packed.plain_size,
        unpacked_size: found.size,
        entries: packed.entries,
    })
}

/// Sets every time of modification in a sealed layer that is later than `epoch` to `epoch`.
pub fn reclamp(directory: &Path, epoch: i64, progress: &Progress) -> Result<()> {
    let seal = Seal {
        root: pin(directory)?,
        epoch: Some(epoch),
        clean: None,
    };
    let found = seal.files(progress)?;
    seal.directories(found.directories, &mut Union::open(&[])?)
}

fn pin(directory: &Path) -> Result<OwnedFd> {
    use std::os::unix::ffi::OsStrExt;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(directory, flags, Mode::empty())
        .map_err(|errno| Error::kernel("open", directory.as_os_str().as_bytes(), errno))
}

struct Seal {
    root: OwnedFd,
    /// None: times stay.
    epoch: Option<i64>,
    /// Mount points that are not below, if there is more to do than to set times.
    clean: Option<HashSet<Vec<u8>>>,
}

/// A piece of work.
enum Piece {
    Directory(Vec<u8>),
    Names {
        directory: Arc<OwnedFd>,
        path: Arc<[u8]>,
        names: Vec<Vec<u8>>,
    },
}

#[derive(Default)]
struct Found {
    size: u64,
    /// Sizes of files with several names.
    linked: HashMap<(u64, u64), u64>,
    /// As they were before anything was removed from them.
    directories: Vec<(Vec<u8>, FileStat)>,
}

impl Seal {
    /// Everything but directories, on all cores.
    fn files(&self, progress: &Progress) -> Result<Found> {
        let start = vec![Piece::Directory(Vec::new())];
        let parts = spread(start, Found::default, |found, piece, more| {
            progress.check()?;
            match piece {
                Piece::Directory(path) => self.list(path, found, more),
                Piece::Names {
                    directory,
                    path,
                    names,
                } => {
                    for name in names {
                        self.object(&directory, &path, &name, found, more)?;
                    }
                    Ok(())
                }
            }
        })?;
        let mut all = Found::default();
        for part in parts {
            all.size += part.size;
            all.linked.extend(part.linked);
            all.directories.extend(part.directories);
        }
        all.size += all.linked.values().sum::<u64>();
        Ok(all)
    }

    fn list(&self, path: Vec<u8>, found: &mut Found, more: &mut Vec<Piece>) -> Result<()> {
        check_length(&path)?;
        let failed = |op| {
            let path = path.clone();
            move |errno| Error::kernel(op, &path, errno)
        };
        let name: &[u8] = if path.is_empty() { b"." } else { &path };
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let directory = open_beneath(self.root.as_fd(), name, flags).map_err(failed("open"))?;
        let stat = fstat(&directory).map_err(failed("stat"))?;
        let listed = list(directory.as_fd()).map_err(failed("readdir"))?;
        if self.clean.is_some() {
            remove_notes(&link_to(&directory, b""), &path)?;
        }
        found.directories.push((path.clone(), stat));
        let names: Vec<_> = listed.into_iter().map(|listed| listed.name).collect();
        let (directory, path) = (Arc::new(directory), Arc::from(path));
        if names.len() <= BATCH {
            for name in names {
                self.object(&directory, &path, &name, found, more)?;
            }
            return Ok(());
        }
        more.extend(names.chunks(BATCH).map(|names| Piece::Names {
            directory: Arc::clone(&directory),
            path: Arc::clone(&path),
            names: names.to_vec(),
        }));
        Ok(())
    }

    fn object(
        &self,
        directory: &OwnedFd,
        parent: &[u8],
        name: &[u8],
        found: &mut Found,
        more: &mut Vec<Piece>,
    ) -> Result<()> {
        let stat = match fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(Error::kernel("stat", &join(parent, name), errno)),
        };
        if is_whiteout(&stat) {
            return Ok(());
        }
        let kind = kind_of(&stat);
        if kind == SFlag::S_IFDIR {
            more.push(Piece::Directory(join(parent, name)));
            return Ok(());
        }
        if let Some(mount_points) = &self.clean {
            let is_empty = kind == SFlag::S_IFREG && stat.st_size == 0;
            let is_mount_point =
                is_empty && !mount_points.is_empty() && mount_points.contains(&join(parent, name));
            if kind == SFlag::S_IFSOCK || is_mount_point {
                return self.remove(directory, parent, name);
            }
            remove_notes(&link_to(directory, name), &join(parent, name))?;
        }
        let size = stat.st_size.cast_unsigned();
        match kind {
            SFlag::S_IFREG | SFlag::S_IFLNK if stat.st_nlink > 1 => {
                found.linked.insert((stat.st_dev, stat.st_ino), size);
            }
            SFlag::S_IFREG | SFlag::S_IFLNK => found.size += size,
            _ => {}
        }
        let time = (stat.st_mtime, nanoseconds(&stat));
        if clamped(time, self.epoch) != time {
            self.set_time(directory, parent, name, clamped(time, self.epoch))?;
        }
        Ok(())
    }

    /// Removes directories that say nothing and sets times, children before parents.
    fn directories(
        &self,
        mut directories: Vec<(Vec<u8>, FileStat)>,
        below: &mut Union,
    ) -> Result<()> {
        directories.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let mut parts = HashMap::<Vec<u8>, Parts>::new();
        let mut same = HashSet::new();
        if let Some(mount_points) = &self.clean {
            for (path, _) in &directories {
                self.compare(path, mount_points, below, &mut parts, &mut same)?;
            }
        }
        for (path, before) in directories.iter().rev() {
            let (parent, base) = split(path);
            let base: &[u8] = if base.is_empty() { b"." } else { base };
            let opened = self.parent(parent)?;
            if same.contains(path) && self.remove_directory(&opened, parent, base)? {
                continue;
            }
            let now = fstatat(&opened, base, AtFlags::AT_SYMLINK_NOFOLLOW)
                .map_err(|errno| Error::kernel("stat", path, errno))?;
            // The root has the time of the root below by now.
            let before = if path.is_empty() { &now } else { before };
            let wanted = clamped((before.st_mtime, nanoseconds(before)), self.epoch);
            if (now.st_mtime, nanoseconds(&now)) != wanted {
                self.set_time(&opened, parent, base, wanted)?;
            }
        }
        Ok(())
    }

    /// Whether the directory `path` would say nothing if nothing were in it. Parents come before children.
    fn compare(
        &self,
        path: &[u8],
        mount_points: &HashSet<Vec<u8>>,
        below: &mut Union,
        parts: &mut HashMap<Vec<u8>, Parts>,
        same: &mut HashSet<Vec<u8>>,
    ) -> Result<()> {
        if path.is_empty() {
            parts.insert(Vec::new(), below.root());
            return Ok(());
        }
        if mount_points.contains(path) {
            same.insert(path.to_vec());
            return Ok(());
        }
        let (parent, base) = split(path);
        let Some(around) = parts.get(parent).filter(|around| !around.is_empty()) else {
            return Ok(());
        };
        let Some((_, before)) = below
            .lookup(around, path)?
            .filter(|(_, it)| it.is_directory())
        else {
            return Ok(());
        };
        let Some(now) = Pinned::open(self.parent(parent)?, base, path)? else {
            return Ok(());
        };
        if now.attributes(path)?.opaque {
            return Ok(());
        }
        if same_directory(&before, &now, path)? {
            same.insert(path.to_vec());
        }
        let inner = below.enter(around, path)?;
        parts.insert(path.to_vec(), inner);
        Ok(())
    }

    fn parent(&self, path: &[u8]) -> Result<OwnedFd> {
        let name: &[u8] = if path.is_empty() { b"." } else { path };
        open_beneath(
            self.root.as_fd(),
            name,
            OFlag::O_RDONLY | OFlag::O_DIRECTORY,
        )
        .map_err(|errno| Error::kernel("open", path, errno))
    }

    fn remove(&self, directory: &OwnedFd, parent: &[u8], name: &[u8]) -> Result<()> {
        self.forced(directory, parent, name, "unlink", || {
            unlinkat(directory, name, UnlinkatFlags::NoRemoveDir)
        })
    }

    /// False when something is in it.
    fn remove_directory(&self, directory: &OwnedFd, parent: &[u8], name: &[u8]) -> Result<bool> {
        let removed = self.forced(directory, parent, name, "rmdir", || {
            unlinkat(directory, name, UnlinkatFlags::RemoveDir)
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
    fn set_time(
        &self,
        directory: &OwnedFd,
        parent: &[u8],
        name: &[u8],
        (seconds, nanoseconds): (i64, u32),
    ) -> Result<()> {
        let time = TimeSpec::new(seconds, nanoseconds.into());
        self.forced(directory, parent, name, "utimens", || {
            utimensat(
                directory,
                name,
                &time,
                &time,
                UtimensatFlags::NoFollowSymlink,
            )
        })
    }

    /// A flag that makes a file or its directory immutable has no place in a layer: it goes where it is in the way.
    fn forced(
        &self,
        directory: &OwnedFd,
        parent: &[u8],
        name: &[u8],
        op: &'static str,
        action: impl Fn() -> nix::Result<()>,
    ) -> Result<()> {
        let mut result = action();
        if result == Err(Errno::EPERM) {
            let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            if is_regular_or_directory(directory, name)
                && let Ok(file) = openat(directory, name, flags, Mode::empty())
            {
                let _ = clear_immutable(file.as_fd());
            }
            let _ = clear_immutable(directory.as_fd());
            result = action();
        }
        result.map_err(|errno| Error::kernel(op, &join(parent, name), errno))
    }
}

/// Others must not be opened: a device does something, and they have no flags.
fn is_regular_or_directory(directory: &OwnedFd, name: &[u8]) -> bool {
    fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| matches!(kind_of(&stat), SFlag::S_IFREG | SFlag::S_IFDIR))
}

fn nanoseconds(stat: &FileStat) -> u32 {
    u32::try_from(stat.st_mtime_nsec).unwrap_or(0)
}

/// For system calls that take no directory descriptor; it passes through no other link.
fn link_to(directory: &OwnedFd, name: &[u8]) -> CString {
    let prefix = format!("/proc/self/fd/{}/", directory.as_raw_fd());
    CString::new([prefix.as_bytes(), name].concat()).unwrap_or_default()
}

/// Removes what overlayfs notes down about an object: where it comes from, what is in it.
fn remove_notes(link: &CString, path: &[u8]) -> Result<()> {
    let failed = |op| move |errno| Error::kernel(op, path, errno);
    let names = match xattr::llist(link) {
        Ok(names) => names,
        Err(Errno::EOPNOTSUPP) => return Ok(()),
        Err(errno) => return Err(failed("listxattr")(errno)),
    };
    for name in names.iter().filter(|name| is_bookkeeping(name)) {
        let Ok(name) = CString::new(name.as_slice()) else {
            continue;
        };
        match xattr::lremove(link, &name) {
            Ok(()) | Err(Errno::ENODATA) => {}
            // Without the right to remove it, it stays; nothing reads it.
            Err(Errno::EPERM) => {}
            Err(errno) => return Err(failed("removexattr")(errno)),
        }
    }
    Ok(())
}
