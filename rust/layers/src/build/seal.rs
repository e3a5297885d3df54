//! The upper directory of an overlay becomes a layer for itself: what only the overlay needed goes away, times become
//! those of every other build, and the digest of its tar is known without writing one.
//!
//! Nobody else may have the directory: the step that wrote into it has ended. First the directories are put in order,
//! then one pass (`pass`) over everything cleans the files and hashes what a tar of them would be.
use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use pyd_sys::path::open_beneath;

use super::pass::Pass;
use super::touch::{Name, time_of};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::extract::Unsettled;
use crate::listing::{Listed, Type, list};
use crate::name::split;
use crate::overlay::is_whiteout;
use crate::pack::Overlay;
use crate::pack::archive::clamped;
use crate::pack::changes::same_directory;
use crate::pack::pinned::{Pinned, kind_of};
use crate::pack::union::{Parts, Union, check_length};
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
    progress: &Progress,
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
    let directories = seal.walk(progress)?;
    let inherited = Unsettled {
        implied: vec![Vec::new()],
        ..Unsettled::default()
    };
    settle_layer(&inherited, &overlay.upper, &overlay.lowers)?;
    seal.directories(directories, &mut below)?;
    Pass::new(&seal.root, epoch, clamp, progress).run()
}

/// Sets every time of modification in a sealed layer that is later than `epoch` to `epoch`.
pub fn reclamp(directory: &Path, epoch: i64, progress: &Progress) -> Result<()> {
    let seal = Seal {
        root: pin(directory)?,
        epoch: Some(epoch),
        clean: None,
    };
    let directories = seal.walk(progress)?;
    seal.directories(directories, &mut Union::open(&[])?)
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
    /// Mount points that are not below, for a layer that is cleaned: files are then left to the pass. None: times of
    /// everything are set, and nothing else.
    clean: Option<HashSet<Vec<u8>>>,
}

/// A piece of work.
enum Piece {
    Directory(Vec<u8>),
    Names {
        directory: Arc<OwnedFd>,
        path: Arc<[u8]>,
        names: Vec<Listed>,
    },
}

/// Directories as they were before anything was removed from them.
type Found = Vec<(Vec<u8>, FileStat)>;

impl Seal {
    /// On all cores.
    fn walk(&self, progress: &Progress) -> Result<Found> {
        let start = vec![Piece::Directory(Vec::new())];
        let parts = spread(start, Found::new, |found, piece, more| {
            progress.check()?;
            match piece {
                Piece::Directory(path) => self.list(path, found, more),
                Piece::Names {
                    directory,
                    path,
                    names,
                } => names
                    .iter()
                    .try_for_each(|listed| self.object(&directory, &path, listed, more)),
            }
        })?;
        Ok(parts.into_iter().flatten().collect())
    }

    fn list(&self, path: Vec<u8>, found: &mut Found, more: &mut Vec<Piece>) -> Result<()> {
        check_length(&path)?;
        let failed = |op| {
            let path = path.clone();
            move |errno| Error::kernel(op, &path, errno)
        };
        let directory = self.open(&path)?;
        let stat = fstat(&directory).map_err(failed("stat"))?;
        let mut names = list(directory.as_fd()).map_err(failed("readdir"))?;
        if self.clean.is_some() {
            let own = Name {
                directory: &directory,
                parent: &path,
                name: b".",
            };
            own.remove_notes()?;
        }
        found.push((path.clone(), stat));
        let (directory, path) = (Arc::new(directory), Arc::<[u8]>::from(path));
        if names.len() <= BATCH {
            return names
                .iter()
                .try_for_each(|listed| self.object(&directory, &path, listed, more));
        }
        while !names.is_empty() {
            let rest = names.split_off(names.len().min(BATCH));
            more.push(Piece::Names {
                directory: Arc::clone(&directory),
                path: Arc::clone(&path),
                names: std::mem::replace(&mut names, rest),
            });
        }
        Ok(())
    }

    fn object(
        &self,
        directory: &OwnedFd,
        parent: &[u8],
        listed: &Listed,
        more: &mut Vec<Piece>,
    ) -> Result<()> {
        let name = Name {
            directory,
            parent,
            name: &listed.name,
        };
        if listed.is_directory {
            more.push(Piece::Directory(name.path()));
            return Ok(());
        }
        if let Some(mount_points) = &self.clean {
            let is_mount_point = !mount_points.is_empty() && mount_points.contains(&name.path());
            let says_kind = listed.kind.is_some_and(|kind| kind != Type::Socket);
            if says_kind && !is_mount_point {
                return Ok(());
            }
        }
        let Some(stat) = name.stat()? else {
            return Ok(());
        };
        match kind_of(&stat) {
            SFlag::S_IFDIR => more.push(Piece::Directory(name.path())),
            kind => match &self.clean {
                Some(mount_points) => {
                    let is_empty = kind == SFlag::S_IFREG && stat.st_size == 0;
                    if kind == SFlag::S_IFSOCK || (is_empty && mount_points.contains(&name.path()))
                    {
                        name.remove()?;
                    }
                }
                None if is_whiteout(&stat) => {}
                None => {
                    let wanted = clamped(time_of(&stat), self.epoch);
                    if wanted != time_of(&stat) {
                        name.set_time(wanted)?;
                    }
                }
            },
        }
        Ok(())
    }

    /// Removes directories that say nothing and sets times, children before parents.
    fn directories(&self, mut directories: Found, below: &mut Union) -> Result<()> {
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
            let opened = self.open(parent)?;
            let name = Name {
                directory: &opened,
                parent,
                name: if base.is_empty() { b"." } else { base },
            };
            if same.contains(path) && name.remove_directory()? {
                continue;
            }
            let Some(now) = name.stat()? else {
                continue;
            };
            // The root has the time of the root below by now.
            let before = if path.is_empty() { &now } else { before };
            let wanted = clamped(time_of(before), self.epoch);
            if time_of(&now) != wanted {
                name.set_time(wanted)?;
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
        let before = below.lookup(around, path)?;
        let Some((_, before)) = before.filter(|(_, before)| before.is_directory()) else {
            return Ok(());
        };
        let Some(now) = Pinned::open(self.open(parent)?, base, path)? else {
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

    fn open(&self, path: &[u8]) -> Result<OwnedFd> {
        open_directory(&self.root, path)
    }
}

/// The directory `path` ("" is the root) for reading.
pub fn open_directory(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd> {
    let name: &[u8] = if path.is_empty() { b"." } else { path };
    open_beneath(root.as_fd(), name, OFlag::O_RDONLY | OFlag::O_DIRECTORY)
        .map_err(|errno| Error::kernel("open", path, errno))
}
