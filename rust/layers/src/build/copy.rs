//! Writes a selection into the root of a container, as BuildKit's COPY does (tonistiigi/fsutil copy): directories are
//! joined, a file replaces anything but a directory, and nothing takes the place of a directory.
//!
//! First the directories, then files on all cores, then hard links, and last what the directories are given.
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, mkdirat, mknodat};
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};
use pyd_sys::inode::clone_content;
use pyd_sys::path::open_beneath;

use super::chmod::Chmod;
use super::destination::{Destination, Layers, Made, absolute, nameless};
use super::selection::{Entry as Selected, Presence, Selection};
use crate::digest::Hasher;
use crate::error::{Error, Result, show};
use crate::metadata;
use crate::name::{join, split};
use crate::pack::pinned::kind_of;
use crate::progress::Progress;
use crate::tar::{Entry, Kind};
use crate::threads::in_threads;
use crate::tree::Place;

/// Files of one directory that are one piece of work.
const BATCH: usize = 128;
/// Read as a whole; and what larger ones are read by.
const BUFFER: usize = 256 << 10;

/// How a selection is written.
#[derive(Clone, Debug)]
pub struct Manner {
    /// In the container.
    pub path: Vec<u8>,
    /// Whether it ends in a slash, or has to be a directory for another reason.
    pub is_directory: bool,
    /// None: those of the source; of a build context, 0.
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub chmod: Option<Chmod>,
    /// Seconds since 1970; None: times of the source.
    pub epoch: Option<i64>,
    /// Of directories on the way that have to be made.
    pub parents_mode: u32,
}

/// After an error the upper directory is only good to be removed.
pub fn copy_files(
    selection: &Selection,
    layers: &Layers,
    manner: &Manner,
    progress: &Progress,
) -> Result<()> {
    let as_made = Made {
        uid: manner.uid.unwrap_or(0),
        gid: manner.gid.unwrap_or(0),
        mode: manner.parents_mode,
        epoch: manner.epoch,
    };
    let mut destination = Destination::open(layers, as_made)?;
    let tops = tops(selection, manner, &mut destination)?;
    let copy = Copy {
        selection,
        manner,
        destination: &destination,
        paths: paths(selection, &tops),
        progress,
    };
    copy.directories()?;
    let replaced = copy.replaced();
    let pieces = copy.pieces(&replaced);
    in_threads(&pieces, |piece| copy.files(piece))?;
    copy.links(&replaced)?;
    copy.directory_metadata()?;
    drop(copy);
    destination.finish()
}

/// Where each root goes. Made are the directories that lead there.
fn tops(
    selection: &Selection,
    manner: &Manner,
    destination: &mut Destination,
) -> Result<Vec<Vec<u8>>> {
    let is_directory = |destination: &Destination, path: &[u8]| -> Result<Option<bool>> {
        let stat = destination.stat(path)?;
        Ok(stat.map(|stat| kind_of(&stat) == SFlag::S_IFDIR))
    };
    let mut tops = Vec::with_capacity(selection.roots.len());
    for root in &selection.roots {
        if root.is_directory || manner.is_directory {
            let top = destination.directories(&manner.path)?;
            if is_directory(destination, &top)? != Some(true) {
                return Err(not_a_directory(&top));
            }
            tops.push(if root.is_directory {
                top
            } else {
                join(&top, root.name())
            });
            continue;
        }
        let top = destination.file(&manner.path)?;
        tops.push(match is_directory(destination, &top)? {
            Some(true) => join(&top, root.name()),
            _ => top,
        });
    }
    Ok(tops)
}

fn paths(selection: &Selection, tops: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let path = |entry: &Selected| match entry.path.as_slice() {
        b"" => tops[entry.root].clone(),
        path => join(&tops[entry.root], path),
    };
    selection.entries.iter().map(path).collect()
}

struct Copy<'a> {
    selection: &'a Selection,
    manner: &'a Manner,
    destination: &'a Destination,
    /// Of each entry at the destination.
    paths: Vec<Vec<u8>>,
    progress: &'a Progress,
}

/// Entries of one directory of the source that go into one directory.
type Piece = Vec<usize>;

impl Copy<'_> {
    fn directories(&self) -> Result<()> {
        for (entry, path) in self.selection.entries.iter().zip(&self.paths) {
            if !entry.is_directory() {
                continue;
            }
            self.progress.check()?;
            let place = self.destination.place(path)?;
            match mkdirat(&place.parent, place.base, Mode::S_IRWXU) {
                Ok(()) if entry.presence == Presence::Implied => {
                    // One that was there before stays as it is, this one is as at its source.
                    self.describe_directory(entry, &place)?;
                }
                Ok(()) => {}
                Err(Errno::EEXIST) => {
                    let stat = place.stat()?;
                    if stat.is_none_or(|stat| kind_of(&stat) != SFlag::S_IFDIR) {
                        return Err(not_a_directory(path));
                    }
                }
                Err(errno) => return Err(Error::kernel("mkdir", &absolute(path), errno)),
            }
        }
        Ok(())
    }

    fn describe_directory(&self, entry: &Selected, place: &Place<'_>) -> Result<()> {
        let entry = self.described(entry, Kind::Directory);
        metadata::set_on_name(place, &entry, Some(entry.mode), self.destination.rights())?;
        metadata::set_time(place, entry.mtime)
    }

    /// Children before parents: a mode may keep its owner out.
    fn directory_metadata(&self) -> Result<()> {
        for (entry, path) in self.selection.entries.iter().zip(&self.paths).rev() {
            if !entry.is_directory() {
                continue;
            }
            let place = self.destination.place(path)?;
            if entry.presence != Presence::Implied {
                self.describe_directory(entry, &place)?;
            } else if let Some(epoch) = self.manner.epoch {
                metadata::set_time(&place, (epoch, 0))?;
            }
        }
        Ok(())
    }

    /// Entries that a later root has as well: the last one wins.
    fn replaced(&self) -> Vec<bool> {
        let mut replaced = vec![false; self.paths.len()];
        if self.selection.roots.len() < 2 {
            return replaced;
        }
        let mut last = HashMap::<&[u8], usize>::new();
        for (index, path) in self.paths.iter().enumerate() {
            if let Some(earlier) = last.insert(path, index) {
                replaced[earlier] = true;
            }
        }
        replaced
    }

    fn pieces(&self, replaced: &[bool]) -> Vec<Piece> {
        let mut pieces = Vec::<Piece>::new();
        let mut current: Option<(usize, &[u8])> = None;
        for (index, entry) in self.selection.entries.iter().enumerate() {
            let is_link = entry.link.is_some_and(|leader| !replaced[leader]);
            if entry.is_directory() || replaced[index] || is_link {
                continue;
            }
            let parent = (entry.root, split(&self.paths[index]).0);
            let is_big = entry.size() >= BUFFER as u64;
            match pieces.last_mut() {
                Some(piece) if current == Some(parent) && piece.len() < BATCH && !is_big => {
                    piece.push(index);
                }
                _ => pieces.push(vec![index]),
            }
            current = (!is_big).then_some(parent);
        }
        pieces
    }

    fn files(&self, piece: &Piece) -> Result<()> {
        let Some(&first) = piece.first() else {
            return Ok(());
        };
        let parent = Arc::new(self.destination.directory(split(&self.paths[first]).0)?);
        let mut sources = HashMap::<usize, OwnedFd>::new();
        let mut buffer = Vec::new();
        for &index in piece {
            self.progress.check()?;
            let entry = &self.selection.entries[index];
            let path = &self.paths[index];
            let place = Place {
                parent: Arc::clone(&parent),
                base: split(path).1,
                path,
            };
            match entry.kind() {
                SFlag::S_IFREG => {
                    let from = self.selection.path(entry);
                    let (directory, name) = split(&from);
                    let source = match sources.entry(entry.layer) {
                        std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
                        std::collections::hash_map::Entry::Vacant(free) => {
                            free.insert(self.selection.source.part(directory, entry.layer)?)
                        }
                    };
                    self.file(entry, source, name, &from, &place, &mut buffer)?;
                }
                SFlag::S_IFLNK => {
                    make(&place, "symlink", |place| {
                        symlinkat(entry.target.as_slice(), &place.parent, place.base)
                    })?;
                    self.describe_node(entry, &place, Kind::Symlink)?;
                }
                kind => {
                    make(&place, "mknod", |place| {
                        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
                        mknodat(&place.parent, place.base, kind, mode, entry.stat.st_rdev)
                    })?;
                    self.describe_node(entry, &place, Kind::Fifo)?;
                }
            }
        }
        Ok(())
    }

    fn describe_node(&self, entry: &Selected, place: &Place<'_>, kind: Kind) -> Result<()> {
        let mode = kind != Kind::Symlink;
        let entry = self.described(entry, kind);
        let mode = mode.then_some(entry.mode);
        metadata::set_on_name(place, &entry, mode, self.destination.rights())?;
        metadata::set_time(place, entry.mtime)
    }

    fn file(
        &self,
        entry: &Selected,
        source: &OwnedFd,
        name: &[u8],
        from: &[u8],
        place: &Place<'_>,
        buffer: &mut Vec<u8>,
    ) -> Result<()> {
        // O_NONBLOCK: should a fifo have taken its place, nobody waits for its writer.
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        let input = match open_beneath(source.as_fd(), name, flags) {
            Ok(input) => File::from(input),
            Err(Errno::ENOENT | Errno::ELOOP | Errno::ENXIO) => return Err(changed(from)),
            Err(errno) => return Err(Error::kernel("open", from, errno)),
        };
        let described = self.described(entry, Kind::File);
        let create = |place: &Place<'_>| {
            let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
            // Most often it is right by that, and nobody else gets into the upper directory.
            let mode = Mode::from_bits_truncate(described.mode & 0o777);
            openat(&place.parent, place.base, flags | OFlag::O_CLOEXEC, mode)
        };
        let content = entry.content.ok_or_else(|| changed(from))?;
        let mut hasher = Hasher::default();
        let failed = |op, path: &[u8]| {
            let path = path.to_vec();
            move |error: std::io::Error| Error::io(op, &path, &error)
        };
        let size = entry.size();
        if size < BUFFER as u64 {
            // One byte more would show that it has grown.
            buffer.resize(BUFFER, 0);
            let length =
                read_whole(&input, &mut buffer[..=size as usize]).map_err(failed("read", from))?;
            hasher.update(&buffer[..length]);
            if length as u64 != size || hasher.finish() != content {
                return Err(changed(from));
            }
            let mut output = File::from(make(place, "open", create)?);
            output
                .write_all(&buffer[..length])
                .map_err(failed("write", place.path))?;
            self.progress.add(size);
            return metadata::set_on_file(&output, place, &described, self.destination.rights());
        }
        let output = File::from(make(place, "open", create)?);
        // What is shared needs only to be read. The kernel's other way to copy, copy_file_range(2), saves nothing: the
        // bytes have to be seen.
        let shared = clone_content(input.as_fd(), output.as_fd()).is_ok();
        buffer.resize(BUFFER, 0);
        let mut offset = 0;
        loop {
            self.progress.check()?;
            let file = if shared { &output } else { &input };
            let length = match file.read_at(buffer, offset) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed("read", from)(error)),
            };
            hasher.update(&buffer[..length]);
            if offset + length as u64 > size {
                return Err(changed(from));
            }
            if !shared {
                output
                    .write_all_at(&buffer[..length], offset)
                    .map_err(failed("write", place.path))?;
            }
            offset += length as u64;
            self.progress.add(length as u64);
        }
        if hasher.finish() != content {
            return Err(changed(from));
        }
        metadata::set_on_file(&output, place, &described, self.destination.rights())
    }

    fn links(&self, replaced: &[bool]) -> Result<()> {
        for (index, entry) in self.selection.entries.iter().enumerate() {
            let Some(leader) = entry.link.filter(|leader| !replaced[*leader]) else {
                continue;
            };
            if replaced[index] {
                continue;
            }
            let old = self.destination.place(&self.paths[leader])?;
            let place = self.destination.place(&self.paths[index])?;
            make(&place, "link", |place| {
                linkat(
                    &old.parent,
                    old.base,
                    &place.parent,
                    place.base,
                    AtFlags::empty(),
                )
            })?;
        }
        Ok(())
    }

    /// What the copy of an entry is given.
    fn described(&self, entry: &Selected, kind: Kind) -> Entry {
        let stat: &FileStat = &entry.stat;
        let is_context = self.selection.source.is_context();
        let owner = |wanted: Option<u32>, own| match wanted {
            Some(id) => id,
            None if is_context => 0,
            None => own,
        };
        let mode = stat.st_mode & 0o7777;
        let chmod = self.manner.chmod.as_ref();
        Entry {
            mode: chmod.map_or(mode, |chmod| chmod.apply(mode, entry.is_directory())),
            uid: owner(self.manner.uid, stat.st_uid),
            gid: owner(self.manner.gid, stat.st_gid),
            mtime: match self.manner.epoch {
                Some(epoch) => (epoch, 0),
                None => (
                    stat.st_mtime,
                    u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
                ),
            },
            xattrs: entry.xattrs.clone(),
            ..nameless(kind)
        }
    }
}

/// Runs `make` in an empty place: without a look in the usual case. Only a directory is not replaced.
fn make<T>(
    place: &Place<'_>,
    op: &'static str,
    make: impl Fn(&Place<'_>) -> nix::Result<T>,
) -> Result<T> {
    let mut made = make(place);
    if matches!(made, Err(Errno::EEXIST)) {
        if place
            .stat()?
            .is_some_and(|stat| kind_of(&stat) == SFlag::S_IFDIR)
        {
            return Err(Error::Conflict(format!(
                "cannot replace to directory /{} with file",
                show(place.path)
            )));
        }
        unlinkat(&place.parent, place.base, UnlinkatFlags::NoRemoveDir)
            .map_err(|errno| Error::kernel("unlink", &absolute(place.path), errno))?;
        made = make(place);
    }
    made.map_err(|errno| Error::kernel(op, &absolute(place.path), errno))
}

fn read_whole(file: &File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read_at(&mut buffer[length..], length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

fn not_a_directory(path: &[u8]) -> Error {
    Error::Conflict(format!("cannot copy to non-directory: /{}", show(path)))
}

fn changed(path: &[u8]) -> Error {
    Error::Conflict(format!(
        "/{} changed while it was copied: try again when nobody writes to it",
        show(path)
    ))
}
