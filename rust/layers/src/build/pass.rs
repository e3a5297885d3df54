//! The one pass over a layer that nobody else has any more: each file is opened once, in which it is cleaned, gets its
//! time, and is read. What comes out is hashed in the order of the tar.
//!
//! One thread walks, in order; others make the bytes of a few entries each; the caller hashes them. Their number is
//! bounded, so memory does not depend on the layer.
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, futimens};
use nix::sys::time::TimeSpec;
use pyd_sys::xattr;

use super::seal::{SealedLayer, open_directory};
use super::touch::{Name, time_of};
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result, show};
use crate::listing::list;
use crate::name::join;
use crate::overlay::is_whiteout;
use crate::pack::archive::{
    clamped, entry_of, marker, opaque_name, whiteout_name, worthwhile_ranges,
};
use crate::pack::changes::check_name;
use crate::pack::pinned::{Pinned, kind_of};
use crate::pack::union::check_length;
use crate::progress::Progress;
use crate::tar::{Entry, Kind, writer};
use crate::threads::threads;

/// Entries of one piece of work, and about how many bytes of files they have.
const ITEMS: usize = 64;
const BYTES: u64 = 256 << 10;
/// Directories that the entries of one piece may be in: each is held open.
const PARENTS: usize = 8;
/// Pieces that wait, and what each may have ready.
const PIECES: usize = 8;
const READY: usize = 8;
/// Directories whose descriptors are kept, of those that the walk is in.
const OPEN: usize = 32;

pub struct Pass<'a> {
    root: &'a OwnedFd,
    epoch: i64,
    clamp: bool,
    progress: &'a Progress,
    failed: AtomicBool,
}

/// What one entry is made of.
enum Item {
    Marker(Vec<u8>),
    Link {
        path: Vec<u8>,
        target: Vec<u8>,
        stat: FileStat,
    },
    Object {
        directory: Arc<OwnedFd>,
        parent: Arc<[u8]>,
        name: Vec<u8>,
        stat: FileStat,
    },
}

struct Piece {
    items: Vec<Item>,
    out: SyncSender<Vec<u8>>,
}

/// A directory that the walk is in.
struct Level {
    path: Arc<[u8]>,
    /// None: to be opened again.
    directory: Option<Arc<OwnedFd>>,
    /// Last first.
    names: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Count {
    entries: u64,
    size: u64,
}

impl<'a> Pass<'a> {
    pub fn new(root: &'a OwnedFd, epoch: i64, clamp: bool, progress: &'a Progress) -> Self {
        Self {
            root,
            epoch,
            clamp,
            progress,
            failed: AtomicBool::new(false),
        }
    }

    pub fn run(&self) -> Result<SealedLayer> {
        let (pieces, waiting) = sync_channel(PIECES);
        let (order, ordered) = sync_channel(PIECES);
        let waiting = Mutex::new(waiting);
        let (count, (diff_id, plain_size)) = std::thread::scope(|scope| {
            let walker = scope.spawn(|| {
                let count = Walk::new(self, pieces, order).run();
                self.failed.fetch_or(count.is_err(), Relaxed);
                count
            });
            let workers: Vec<_> = (0..threads())
                .map(|_| scope.spawn(|| self.work(&waiting)))
                .collect();
            let hashed = hash(ordered);
            let mut result = match walker.join() {
                Ok(count) => count,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            for worker in workers {
                match worker.join() {
                    Ok(Ok(())) => {}
                    // Why the walk was told to end.
                    Ok(Err(error)) => result = Err(error),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            result.map(|count| (count, hashed))
        })?;
        Ok(SealedLayer {
            diff_id,
            plain_size,
            unpacked_size: count.size,
            entries: count.entries,
        })
    }

    /// Ends with the walk. After an error it takes what comes and leaves it.
    fn work(&self, waiting: &Mutex<Receiver<Piece>>) -> Result<()> {
        let mut result = Ok(());
        loop {
            let next = waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .recv();
            let Ok(piece) = next else {
                return result;
            };
            if self.failed.load(Relaxed) {
                continue;
            }
            if let Err(error) = self.piece(piece) {
                self.failed.store(true, Relaxed);
                result = result.and(Err(error));
            }
        }
    }

    fn piece(&self, piece: Piece) -> Result<()> {
        let mut bytes = Bytes {
            ready: Vec::new(),
            out: piece.out,
        };
        for item in piece.items {
            self.progress.check()?;
            match item {
                Item::Marker(name) => bytes.add(&writer::header(&marker(name))?)?,
                Item::Link { path, target, stat } => {
                    if let Some(entry) = entry_of(&path, &stat, Some(self.epoch)) {
                        let entry = Entry {
                            kind: Kind::HardLink,
                            link: target,
                            ..entry
                        };
                        bytes.add(&writer::header(&entry)?)?;
                    }
                }
                Item::Object {
                    directory,
                    parent,
                    name,
                    stat,
                } => {
                    let name = Name {
                        directory: &directory,
                        parent: &parent,
                        name: &name,
                    };
                    self.object(name, &stat, &mut bytes)?;
                }
            }
        }
        bytes.flush()
    }

    fn object(&self, name: Name<'_>, stat: &FileStat, bytes: &mut Bytes) -> Result<()> {
        let path = name.path();
        let Some(mut entry) = entry_of(&path, stat, Some(self.epoch)) else {
            return Ok(());
        };
        if entry.kind == Kind::File {
            return self.file(name, stat, entry, bytes);
        }
        let object = Pinned::open(name.directory, name.name, &path)?.ok_or_else(|| gone(&path))?;
        entry.xattrs = object.attributes(&path)?.kept;
        if entry.kind == Kind::Symlink {
            entry.link = object.target(&path)?;
        }
        // Of directories all this was done before anything was removed from them.
        if entry.kind != Kind::Directory {
            name.remove_notes()?;
            self.set_time(name, stat)?;
        }
        bytes.add(&writer::header(&entry)?)
    }

    fn set_time(&self, name: Name<'_>, stat: &FileStat) -> Result<()> {
        let wanted = clamped(time_of(stat), self.clamp.then_some(self.epoch));
        if wanted == time_of(stat) {
            return Ok(());
        }
        name.set_time(wanted)
    }

    fn file(
        &self,
        name: Name<'_>,
        stat: &FileStat,
        mut entry: Entry,
        bytes: &mut Bytes,
    ) -> Result<()> {
        let path = entry.name.clone();
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = openat(name.directory, name.name, flags, Mode::empty())
            .map(File::from)
            .map_err(|errno| Error::kernel("open", &path, errno))?;
        match xattr::flist(file.as_fd()) {
            Ok(names) if names.is_empty() => {}
            Err(Errno::EOPNOTSUPP) => {}
            Ok(_) => {
                let object = Pinned::open(name.directory, name.name, &path)?;
                entry.xattrs = object.ok_or_else(|| gone(&path))?.attributes(&path)?.kept;
                name.remove_notes()?;
            }
            Err(errno) => return Err(Error::kernel("listxattr", &path, errno)),
        }
        entry.size = u64::try_from(stat.st_size).unwrap_or(0);
        let mut ranges = vec![(0, entry.size)];
        if let Some(data) = worthwhile_ranges(&file, stat) {
            ranges.clone_from(&data);
            entry.kind = Kind::SparseFile(data);
        }
        bytes.add(&writer::header(&entry)?)?;
        let mut stored = 0;
        for (offset, length) in ranges {
            self.content(&file, offset, length, &path, bytes)?;
            stored += length;
        }
        let padding = (512 - stored % 512) % 512;
        bytes.add(&[0; 512][..padding as usize])?;
        let wanted = clamped(time_of(stat), self.clamp.then_some(self.epoch));
        if wanted == time_of(stat) {
            return Ok(());
        }
        let time = TimeSpec::new(wanted.0, wanted.1.into());
        match futimens(&file, &time, &time) {
            // By its name flags are seen to.
            Err(Errno::EPERM) => name.set_time(wanted),
            other => other.map_err(|errno| Error::kernel("utimens", &path, errno)),
        }
    }

    fn content(
        &self,
        file: &File,
        mut offset: u64,
        length: u64,
        path: &[u8],
        bytes: &mut Bytes,
    ) -> Result<()> {
        let end = offset + length;
        while offset < end {
            self.progress.check()?;
            let room = bytes.room((end - offset).min(BYTES) as usize)?;
            let read = match file.read_at(room, offset) {
                Ok(0) => return Err(gone(path)),
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => 0,
                Err(error) => return Err(Error::io("read", path, &error)),
            };
            let unused = room.len() - read;
            bytes.give_back(unused);
            offset += read as u64;
            self.progress.add(read as u64);
        }
        Ok(())
    }
}

/// The tar's bytes of one piece, on their way.
struct Bytes {
    ready: Vec<u8>,
    out: SyncSender<Vec<u8>>,
}

impl Bytes {
    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        self.room(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// Room for `length` bytes more.
    fn room(&mut self, length: usize) -> Result<&mut [u8]> {
        if self.ready.len() + length > 2 * BYTES as usize {
            self.flush()?;
        }
        let start = self.ready.len();
        self.ready.resize(start + length, 0);
        Ok(&mut self.ready[start..])
    }

    fn give_back(&mut self, length: usize) {
        self.ready.truncate(self.ready.len() - length);
    }

    fn flush(&mut self) -> Result<()> {
        if self.ready.is_empty() {
            return Ok(());
        }
        // The caller hashes until all are gone, unless it panicked.
        self.out
            .send(std::mem::take(&mut self.ready))
            .map_err(|_| Error::Cancelled)
    }
}

fn hash(ordered: Receiver<Receiver<Vec<u8>>>) -> (Digest, u64) {
    let mut hasher = Hasher::default();
    let mut size = 0;
    let bytes = ordered.into_iter().flatten();
    for bytes in bytes.chain([writer::END.to_vec()]) {
        hasher.update(&bytes);
        size += bytes.len() as u64;
    }
    (hasher.finish(), size)
}

/// Finds what there is, in the order of the tar: a directory before what is in it, by name within each.
struct Walk<'a> {
    pass: &'a Pass<'a>,
    pieces: SyncSender<Piece>,
    order: SyncSender<Receiver<Vec<u8>>>,
    items: Vec<Item>,
    bytes: u64,
    parents: usize,
    /// First path of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    count: Count,
}

impl<'a> Walk<'a> {
    fn new(
        pass: &'a Pass<'a>,
        pieces: SyncSender<Piece>,
        order: SyncSender<Receiver<Vec<u8>>>,
    ) -> Self {
        Self {
            pass,
            pieces,
            order,
            items: Vec::new(),
            bytes: 0,
            parents: 0,
            links: HashMap::new(),
            count: Count::default(),
        }
    }

    fn run(mut self) -> Result<Count> {
        let mut levels = vec![self.enter(Arc::from(&b""[..]))?];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.pop() else {
                levels.pop();
                continue;
            };
            self.pass.progress.check()?;
            if self.pass.failed.load(Relaxed) {
                return Err(Error::Cancelled);
            }
            let directory = match &level.directory {
                Some(directory) => Arc::clone(directory),
                None => Arc::new(open_directory(self.pass.root, &level.path)?),
            };
            level
                .directory
                .get_or_insert_with(|| Arc::clone(&directory));
            let parent = Arc::clone(&level.path);
            if let Some(inner) = self.object(&directory, &parent, name)? {
                levels.push(inner);
                if let Some(outer) = levels.len().checked_sub(OPEN + 1) {
                    levels[outer].directory = None;
                }
            }
        }
        self.send()?;
        Ok(self.count)
    }

    fn enter(&self, path: Arc<[u8]>) -> Result<Level> {
        let directory = open_directory(self.pass.root, &path)?;
        let listed =
            list(directory.as_fd()).map_err(|errno| Error::kernel("readdir", &path, errno))?;
        let mut names: Vec<_> = listed.into_iter().map(|listed| listed.name).collect();
        names.sort_unstable_by(|one, other| other.cmp(one));
        Ok(Level {
            path,
            directory: Some(Arc::new(directory)),
            names,
        })
    }

    /// The level of a directory, to go on with.
    fn object(
        &mut self,
        directory: &Arc<OwnedFd>,
        parent: &Arc<[u8]>,
        name: Vec<u8>,
    ) -> Result<Option<Level>> {
        let path = join(parent, &name);
        check_length(&path)?;
        let own = Name {
            directory,
            parent,
            name: &name,
        };
        let stat = own.stat()?.ok_or_else(|| gone(&path))?;
        let kind = kind_of(&stat);
        let is_file = kind == SFlag::S_IFREG;
        let pinned = |needed: bool| -> Result<Option<Pinned>> {
            if needed {
                Pinned::open(directory.as_fd(), &name, &path)
            } else {
                Ok(None)
            }
        };
        let is_whiteout = is_whiteout(&stat)
            || match pinned(is_file && stat.st_size == 0)? {
                Some(object) => object.is_whiteout(&path)?,
                None => false,
            };
        if is_whiteout {
            self.add(Item::Marker(whiteout_name(&path)), 0)?;
            return Ok(None);
        }
        check_name(&path)?;
        let is_directory = kind == SFlag::S_IFDIR;
        let size = stat.st_size.cast_unsigned();
        if !is_directory && stat.st_nlink > 1 {
            let key = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&key) {
                let target = first.clone();
                self.add(Item::Link { path, target, stat }, 0)?;
                return Ok(None);
            }
            self.links.insert(key, path.clone());
        }
        if is_file || kind == SFlag::S_IFLNK {
            self.count.size += size;
        }
        let opaque = match pinned(is_directory)? {
            Some(object) => object.attributes(&path)?.opaque,
            None => false,
        };
        let object = Item::Object {
            directory: Arc::clone(directory),
            parent: Arc::clone(parent),
            name,
            stat,
        };
        self.add(object, if is_file { size } else { 0 })?;
        if opaque {
            self.add(Item::Marker(opaque_name(&path)), 0)?;
        }
        if is_directory {
            self.parents += 1;
            if self.parents >= PARENTS {
                self.send()?;
            }
            return self.enter(Arc::from(path)).map(Some);
        }
        Ok(None)
    }

    fn add(&mut self, item: Item, bytes: u64) -> Result<()> {
        if self.items.len() >= ITEMS || self.bytes + bytes > BYTES {
            self.send()?;
        }
        self.items.push(item);
        self.bytes += bytes;
        self.count.entries += 1;
        Ok(())
    }

    fn send(&mut self) -> Result<()> {
        let items = std::mem::take(&mut self.items);
        self.bytes = 0;
        self.parents = 0;
        let (out, bytes) = sync_channel(READY);
        // The hash waits for what comes first here: nobody who comes later can keep it from being made.
        let sent = self.order.send(bytes).is_ok() && self.pieces.send(Piece { items, out }).is_ok();
        if sent { Ok(()) } else { Err(Error::Cancelled) }
    }
}

fn gone(path: &[u8]) -> Error {
    Error::Conflict(format!(
        "/{} changed while its layer was sealed",
        show(path)
    ))
}
