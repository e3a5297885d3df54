//! Entries of one layer become files of one directory, in the form that overlayfs wants.
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, major, makedev, minor, mkdirat, mknodat};
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};

use crate::error::{Error, Result, show};
use crate::name::{Name, is_within, split};
use crate::rights::Rights;
use crate::tar::{Entry, Kind, MAX_NAME, Reader};
use crate::tree::{Place, Tree, failed};
use crate::{metadata, overlay, remove};

/// Bytes of all files of a layer: beyond any disk. The size of an image, at most 500 of these, still fits the
/// database's 63 bits.
const MAX_UNPACKED: u64 = 1 << 50;

/// What only the layers below can settle (`crate::settle`).
#[derive(Clone, Debug, Default)]
pub struct Unsettled {
    /// Directories without an entry of their own, parents before children; "" is the root.
    pub implied: Vec<Vec<u8>>,
    /// Hard links (path, target) to files that this layer does not have, in the order of the archive.
    pub links: Vec<(Vec<u8>, Vec<u8>)>,
    /// The layer hides everything below it. overlayfs does not look for `opaque` on the root of a layer.
    pub opaque_root: bool,
}

pub struct Extractor {
    tree: Tree,
    /// For an archive that is no layer, unpacked over what is there.
    plain: bool,
    rights: Rights,
    directories: HashMap<Vec<u8>, Directory>,
    /// Path -> (order, target).
    links: HashMap<Vec<u8>, (u64, Vec<u8>)>,
    opaque_root: bool,
    size: u64,
    order: u64,
}

/// What is done to a directory when everything in it is made.
enum Directory {
    /// No entry so far.
    Implied,
    /// `mode`: when the final one would keep its owner from making files in it.
    Entry {
        mtime: (i64, u32),
        mode: Option<u32>,
    },
}

impl Extractor {
    pub fn new(dest: &Path) -> Result<Self> {
        Ok(Self {
            tree: Tree::open(dest)?,
            plain: false,
            rights: Rights::of_this_thread(),
            directories: HashMap::from([(Vec::new(), Directory::Implied)]),
            links: HashMap::new(),
            opaque_root: false,
            size: 0,
            order: 0,
        })
    }

    /// Over what is in `dest`, whose links are followed on the way as if it were `/`. Names beginning with `.wh.` are
    /// names.
    pub fn over(dest: &Path) -> Result<Self> {
        Ok(Self {
            tree: Tree::open_following(dest)?,
            plain: true,
            ..Self::new(dest)?
        })
    }

    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Bytes of regular files so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn apply<R: BufRead>(&mut self, entry: &Entry, reader: &mut Reader<R>) -> Result<()> {
        let name = if self.plain {
            Name::of_plain_entry(&entry.name)?
        } else {
            Name::of_entry(&entry.name)?
        };
        match name {
            Name::Ignored => Ok(()),
            Name::Opaque(directory) => self.opaque(&directory),
            Name::Whiteout(path) => self.whiteout(&path),
            Name::Path(path) => {
                if path.is_empty() && entry.kind != Kind::Directory {
                    return Err(Error::corrupt(format!(
                        "layer entry {}: the root of a layer must be a directory",
                        show(&entry.name)
                    )));
                }
                self.links.remove(&path);
                match &entry.kind {
                    Kind::Directory => self.directory(&path, entry),
                    Kind::File => self.file(&path, entry, reader, None),
                    Kind::SparseFile(ranges) => self.file(&path, entry, reader, Some(ranges)),
                    Kind::HardLink => self.hard_link(&path, entry),
                    Kind::Symlink => self.symlink(&path, entry),
                    Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => self.node(&path, entry),
                }
            }
        }
    }

    /// Modes and times of the directories, now that nothing changes them any more.
    pub fn finish(mut self) -> Result<Unsettled> {
        let mut implied = Vec::new();
        let mut directories: Vec<_> = std::mem::take(&mut self.directories).into_iter().collect();
        // Children before parents: a parent may get a mode that keeps even its owner out. A file that has taken the
        // place of a directory leaves an entry that is skipped.
        directories.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
        for (path, directory) in directories {
            let Ok(Some(_)) = self.tree.directory(&path) else {
                continue;
            };
            match directory {
                Directory::Implied => implied.push(path),
                Directory::Entry { mtime, mode } => {
                    let path = if path.is_empty() { b".".to_vec() } else { path };
                    if let Some(place) = self.tree.place(&path)? {
                        if let Some(mode) = mode {
                            metadata::set_mode(&place, mode)?;
                        }
                        metadata::set_time(&place, mtime)?;
                    }
                }
            }
        }
        implied.reverse();
        let mut links: Vec<_> = self.links.into_iter().collect();
        links.sort_unstable_by_key(|(_, (order, _))| *order);
        Ok(Unsettled {
            implied,
            links: links
                .into_iter()
                .map(|(path, (_, target))| (path, target))
                .collect(),
            opaque_root: self.opaque_root,
        })
    }

    /// The place for a new entry; its parents are made where the archive forgot them.
    fn place<'a>(&mut self, path: &'a [u8]) -> Result<Place<'a>> {
        let (parent, base) = split(path);
        let (directories, links) = (&mut self.directories, &self.links);
        let mut is_link = false;
        let parent = self.tree.make_directories(parent, &mut |made| {
            is_link |= links.contains_key(made);
            directories.insert(made.to_vec(), Directory::Implied);
        })?;
        // A name of a file below, which is not here yet: as impossible as below a file that is.
        if is_link {
            return Err(failed("open", path, Errno::ENOTDIR));
        }
        Ok(Place { parent, base, path })
    }

    /// Remove what an earlier entry made there: the last one wins. Says whether it was a whiteout.
    fn clear(&mut self, place: &Place<'_>) -> Result<bool> {
        let Some(stat) = place.stat()? else {
            return Ok(false);
        };
        if stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits() {
            self.tree.forget(place.path);
            remove::remove_at(&place.parent, place.base, place.path)?;
            return Ok(false);
        }
        unlinkat(&place.parent, place.base, UnlinkatFlags::NoRemoveDir)
            .map_err(|errno| place.error("unlink", errno))?;
        Ok(overlay::is_whiteout(&stat))
    }

    /// Run `make` in an empty place: without a look in the usual case, again after clearing otherwise.
    fn make<T>(
        &mut self,
        place: &Place<'_>,
        op: &'static str,
        make: impl Fn(&Place<'_>) -> nix::Result<T>,
    ) -> Result<T> {
        match make(place) {
            Err(Errno::EEXIST) => {
                self.clear(place)?;
                make(place)
            }
            other => other,
        }
        .map_err(|errno| place.error(op, errno))
    }

    fn directory(&mut self, path: &[u8], entry: &Entry) -> Result<()> {
        // A mode without rwx for the owner comes at the end.
        let usable = entry.mode | 0o700;
        let deferred = (usable != entry.mode).then_some(entry.mode);
        let state = Directory::Entry {
            mtime: entry.mtime,
            mode: deferred,
        };
        if path.is_empty() {
            let place = Place {
                parent: self.tree.make_directories(b"", &mut |_| ())?,
                base: b".",
                path: b".",
            };
            metadata::set_on_name(&place, entry, Some(usable), self.rights)?;
        } else {
            let place = self.place(path)?;
            let make = |place: &Place<'_>| {
                mkdirat(
                    &place.parent,
                    place.base,
                    Mode::from_bits_truncate(usable & 0o777),
                )
            };
            match make(&place) {
                Ok(()) => {}
                Err(Errno::EEXIST) => {
                    let is_directory = place.stat()?.is_some_and(|stat| {
                        stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits()
                    });
                    if !is_directory {
                        let was_whiteout = self.clear(&place)?;
                        make(&place).map_err(|errno| place.error("mkdir", errno))?;
                        if was_whiteout {
                            // Removed and made anew: what is below in the old one must not show through.
                            overlay::make_opaque(&place)?;
                        }
                    }
                }
                Err(errno) => return Err(place.error("mkdir", errno)),
            }
            metadata::set_on_name(&place, entry, Some(usable), self.rights)?;
        }
        self.directories.insert(path.to_vec(), state);
        Ok(())
    }

    fn file<R: BufRead>(
        &mut self,
        path: &[u8],
        entry: &Entry,
        reader: &mut Reader<R>,
        ranges: Option<&Vec<(u64, u64)>>,
    ) -> Result<()> {
        // Sparse files cost nothing and may claim any size: the sum must stay a number that others can keep.
        self.size = self.size.saturating_add(entry.size);
        if self.size > MAX_UNPACKED {
            return Err(Error::corrupt(format!(
                "layer entry {}: the files of the layer have more than {MAX_UNPACKED} bytes",
                show(&entry.name)
            )));
        }
        let place = self.place(path)?;
        // O_EXCL: never into what is already there, be it a hard link to another file or a symbolic link.
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(entry.mode & 0o777);
        let file = self.make(&place, "open", |place| {
            openat(&place.parent, place.base, flags, mode)
        })?;
        let mut file = File::from(file);
        let failed = |error: std::io::Error| Error::io("write", path, &error);
        match ranges {
            None => reader.data(u64::MAX, |piece| file.write_all(piece).map_err(failed))?,
            Some(ranges) => {
                file.set_len(entry.size).map_err(failed)?;
                for &(offset, length) in ranges {
                    let mut offset = offset;
                    reader.data(length, |piece| {
                        file.write_all_at(piece, offset).map_err(failed)?;
                        offset += piece.len() as u64;
                        Ok(())
                    })?;
                }
            }
        }
        metadata::set_on_file(&file, &place, entry, self.rights)
    }

    fn symlink(&mut self, path: &[u8], entry: &Entry) -> Result<()> {
        if entry.link.is_empty() || entry.link.len() > MAX_NAME {
            return Err(Error::corrupt(format!(
                "layer entry {}: a symbolic link needs a target of 1 to {MAX_NAME} bytes",
                show(&entry.name)
            )));
        }
        let place = self.place(path)?;
        self.make(&place, "symlink", |place| {
            symlinkat(entry.link.as_slice(), &place.parent, place.base)
        })?;
        self.size += entry.link.len() as u64;
        metadata::set_on_name(&place, entry, None, self.rights)?;
        metadata::set_time(&place, entry.mtime)
    }

    fn hard_link(&mut self, path: &[u8], entry: &Entry) -> Result<()> {
        let target = Name::of_link(&entry.link, &entry.name)?;
        let impossible = |why: &str| {
            Error::corrupt(format!(
                "layer entry {}: its hard link target {} {why}",
                show(&entry.name),
                show(&target)
            ))
        };
        let found = match self.tree.place(&target)? {
            Some(old) => old.stat()?.map(|stat| (old, stat)),
            None => None,
        };
        let place = self.place(path)?;
        let Some((old, stat)) = found else {
            if self.plain {
                return Err(impossible("does not exist"));
            }
            // In a layer below, or nowhere: known when those are there.
            self.clear(&place)?;
            self.order += 1;
            self.links
                .insert(path.to_vec(), (self.order, target.clone()));
            return Ok(());
        };
        if stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits() {
            return Err(impossible("is a directory"));
        }
        if overlay::is_whiteout(&stat) {
            return Err(impossible("is removed by the same layer"));
        }
        if target == path {
            return Ok(());
        }
        if is_within(&target, path) {
            return Err(impossible("is inside what the link replaces"));
        }
        self.make(&place, "link", |place| {
            linkat(
                &old.parent,
                old.base,
                &place.parent,
                place.base,
                AtFlags::empty(),
            )
        })
    }

    fn node(&mut self, path: &[u8], entry: &Entry) -> Result<()> {
        let kind = match entry.kind {
            Kind::CharDevice => SFlag::S_IFCHR,
            Kind::BlockDevice => SFlag::S_IFBLK,
            _ => SFlag::S_IFIFO,
        };
        let (wanted_major, wanted_minor) = (u64::from(entry.device.0), u64::from(entry.device.1));
        let device = makedev(wanted_major, wanted_minor);
        // The kernel takes 12 + 20 bits and cuts off the rest: 4096:0 would become a whiteout.
        if wanted_major > 0xfff || wanted_minor > 0xf_ffff {
            return Err(Error::corrupt(format!(
                "layer entry {}: no device {}:{} can exist",
                show(&entry.name),
                major(device),
                minor(device)
            )));
        }
        let place = self.place(path)?;
        let mode = Mode::from_bits_truncate(entry.mode & 0o777);
        match self.make(&place, "mknod", |place| {
            mknodat(&place.parent, place.base, kind, mode, device)
        }) {
            Err(Error::Kernel {
                errno: Errno::EPERM,
                ..
            }) if !self.rights.mknod => return Ok(()),
            // A user namespace has the capability, but not for devices.
            Err(Error::Kernel {
                errno: Errno::EPERM,
                ..
            }) if kind != SFlag::S_IFIFO => return Ok(()),
            other => other?,
        }
        metadata::set_on_name(&place, entry, Some(entry.mode), self.rights)?;
        metadata::set_time(&place, entry.mtime)
    }

    /// Whiteouts hide only what is below: an entry of the same layer stays, before or after (image-spec layer.md).
    fn whiteout(&mut self, path: &[u8]) -> Result<()> {
        if self.links.contains_key(path) {
            return Ok(());
        }
        let place = self.place(path)?;
        match place.stat()? {
            None => overlay::make_whiteout(&place),
            Some(stat) if stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits() => {
                overlay::make_opaque(&place)
            }
            Some(_) => Ok(()),
        }
    }

    fn opaque(&mut self, directory: &[u8]) -> Result<()> {
        if directory.is_empty() {
            self.opaque_root = true;
            return Ok(());
        }
        // Makes the directory, as a parent, when it has no entry yet.
        let child = [directory, b"/."].concat();
        drop(self.place(&child)?);
        let place = self.place(directory)?;
        overlay::make_opaque(&place)
    }
}
