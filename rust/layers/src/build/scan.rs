//! Walks what was selected, on all cores, and reads every file that is not remembered.
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use pyd_sys::xattr;

use super::patterns::{Matched, Patterns};
use super::remembered::Record;
use super::selection::{Entry, Presence, Root};
use super::source::{Directory, Kind, Node, Parts, Source, target};
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result, show};
use crate::metadata::is_kept;
use crate::name::{join, split};
use crate::progress::Progress;
use crate::threads::spread;
use crate::view::proc_path;

/// Names of one directory that are one piece of work.
const BATCH: usize = 128;
/// A file of this size is a piece of work for itself.
const BIG: i64 = 1 << 20;
/// Times that a file which changes while it is read is read again.
const ATTEMPTS: usize = 3;

pub struct Scan<'a> {
    source: &'a Source,
    excludes: Patterns,
    progress: &'a Progress,
    started: SystemTime,
    /// What is copied of each root; None: all.
    includes: Vec<Option<Patterns>>,
    /// Where the roots are, without symbolic links.
    tops: Vec<Vec<u8>>,
    pieces: Vec<Piece>,
    seen: Seen,
}

/// A directory of a root, with what is known of its paths.
struct Level {
    root: usize,
    path: Vec<u8>,
    parts: Parts,
    ignored: Matched,
    excluded: Matched,
    included: Matched,
}

enum Piece {
    Directory(Level),
    Names {
        directory: Arc<Directory>,
        level: Arc<Level>,
        names: Vec<(Vec<u8>, Parts)>,
    },
    File(Entry),
}

#[derive(Default)]
struct Seen {
    entries: Vec<Entry>,
    learnt: Vec<((u64, u64), Record)>,
    buffer: Vec<u8>,
}

impl<'a> Scan<'a> {
    pub fn new(source: &'a Source, excludes: Patterns, progress: &'a Progress) -> Self {
        Self {
            source,
            excludes,
            progress,
            started: SystemTime::now(),
            includes: Vec::new(),
            tops: Vec::new(),
            pieces: Vec::new(),
            seen: Seen::default(),
        }
    }

    /// Whether --exclude takes a file away that a wildcard has matched.
    pub fn excludes(&self, name: &[u8]) -> bool {
        self.excludes.matches(name, &[]).0
    }

    /// What is in a root that is a directory will be walked.
    pub fn directory(
        &mut self,
        number: usize,
        root: &Root,
        node: Node,
        includes: Option<Patterns>,
    ) {
        let ignored = match &self.source.kind {
            Kind::Context { ignore, .. } if !root.at.is_empty() => ignore.matches_alone(&root.at).1,
            _ => Matched::new(),
        };
        self.number(number, root, includes);
        self.pieces.push(Piece::Directory(Level {
            root: number,
            path: root.at.clone(),
            parts: node.parts,
            ignored,
            excluded: Matched::new(),
            included: Matched::new(),
        }));
    }

    /// A root that is no directory. False when it is a socket, which nobody copies.
    pub fn file(&mut self, number: usize, root: &Root, node: &Node) -> Result<bool> {
        self.number(number, root, None);
        let (parent, name) = split(&root.at);
        let directory = self.source.part(parent, node.root)?;
        let mut seen = std::mem::take(&mut self.seen);
        let before = seen.entries.len();
        let entry = self.describe(number, Vec::new(), node, Presence::Full);
        self.content(entry, &directory, name, &mut seen)?;
        self.seen = seen;
        Ok(self.seen.entries.len() > before)
    }

    fn number(&mut self, number: usize, root: &Root, includes: Option<Patterns>) {
        self.includes.truncate(number);
        self.tops.truncate(number);
        self.includes.push(includes);
        self.tops.push(root.at.clone());
    }

    pub fn finish(mut self) -> Result<Vec<Entry>> {
        let pieces = std::mem::take(&mut self.pieces);
        let mut all = std::mem::take(&mut self.seen);
        let found = spread(pieces, Seen::default, |seen, piece, more| {
            self.progress.check()?;
            match piece {
                Piece::Directory(level) => self.list(level, seen, more),
                Piece::Names {
                    directory,
                    level,
                    names,
                } => names.into_iter().try_for_each(|(name, having)| {
                    self.name(&directory, &level, &name, &having, seen, more)
                }),
                Piece::File(entry) => self.big(entry, seen),
            }
        })?;
        for seen in found {
            all.entries.extend(seen.entries);
            all.learnt.extend(seen.learnt);
        }
        if let Kind::Context { remembered, .. } = &self.source.kind {
            let current: Vec<_> = if all.learnt.is_empty() {
                Vec::new()
            } else {
                let keys = all.entries.iter();
                keys.map(|entry| (entry.stat.st_dev, entry.stat.st_ino))
                    .collect()
            };
            remembered.learn(all.learnt, &current);
        }
        Ok(all.entries)
    }

    fn list(&self, level: Level, seen: &mut Seen, more: &mut Vec<Piece>) -> Result<()> {
        let directory = match self.source.open(&level.path, &level.parts) {
            Ok(directory) => directory,
            // It has vanished, with all that was in it.
            Err(Error::Kernel {
                errno: Errno::ENOENT,
                ..
            }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let names: Vec<(Vec<u8>, Parts)> = directory.names()?.into_iter().collect();
        if names.len() <= BATCH {
            return names.into_iter().try_for_each(|(name, having)| {
                self.name(&directory, &level, &name, &having, seen, more)
            });
        }
        let (directory, level) = (Arc::new(directory), Arc::new(level));
        more.extend(names.chunks(BATCH).map(|names| Piece::Names {
            directory: Arc::clone(&directory),
            level: Arc::clone(&level),
            names: names.to_vec(),
        }));
        Ok(())
    }

    fn name(
        &self,
        directory: &Directory,
        level: &Level,
        name: &[u8],
        having: &[usize],
        seen: &mut Seen,
        more: &mut Vec<Piece>,
    ) -> Result<()> {
        let Some(node) = directory.look_in(name, having)? else {
            return Ok(());
        };
        let is_directory = node.is_directory();
        let path = join(&level.path, name);
        let prefix = self.tops[level.root].len();
        let relative = &path[prefix + usize::from(prefix > 0)..];
        let mut presence = Presence::Full;

        let (excluded, excluded_below) = self.excludes.matches(relative, &level.excluded);
        if excluded {
            if !(is_directory && self.excludes.may_except_below(relative)) {
                return Ok(());
            }
            presence = Presence::Implied;
        }
        let mut included_below = Matched::new();
        if let Some(includes) = self.includes[level.root]
            .as_ref()
            .filter(|it| !it.is_empty())
        {
            let included;
            (included, included_below) = includes.matches(relative, &level.included);
            if !included {
                if !(is_directory && includes.may_include_below(relative)) {
                    return Ok(());
                }
                presence = Presence::Implied;
            }
        }
        let mut ignored_below = Matched::new();
        if let Kind::Context { ignore, .. } = &self.source.kind {
            let ignored;
            (ignored, ignored_below) = ignore.matches(&path, &level.ignored);
            if ignored {
                if !(is_directory && ignore.may_except_below(&path)) {
                    return Ok(());
                }
                if presence == Presence::Full {
                    presence = Presence::Ignored;
                }
            }
        }
        let mut entry = self.describe(level.root, relative.to_vec(), &node, presence);
        if is_directory {
            let Some(part) = directory.part(node.root) else {
                return Ok(());
            };
            let link =
                proc_path(part, name).map_err(|errno| Error::kernel("open", &path, errno))?;
            entry.xattrs =
                self.attributes(&path, || xattr::llist(&link), |key| xattr::lget(&link, key))?;
            seen.entries.push(entry);
            more.push(Piece::Directory(Level {
                root: level.root,
                path,
                parts: node.parts,
                ignored: ignored_below,
                excluded: excluded_below,
                included: included_below,
            }));
            return Ok(());
        }
        if node.kind() == SFlag::S_IFREG && node.stat.st_size >= BIG {
            more.push(Piece::File(entry));
            return Ok(());
        }
        match directory.part(node.root) {
            Some(part) => self.content(entry, part, name, seen),
            None => Ok(()),
        }
    }

    fn describe(&self, root: usize, path: Vec<u8>, node: &Node, presence: Presence) -> Entry {
        Entry {
            root,
            path,
            stat: node.stat,
            layer: node.root,
            target: Vec::new(),
            xattrs: Vec::new(),
            content: None,
            presence,
            link: None,
        }
    }

    fn big(&self, entry: Entry, seen: &mut Seen) -> Result<()> {
        let path = join(&self.tops[entry.root], &entry.path);
        let (parent, name) = split(&path);
        match self.source.part(parent, entry.layer) {
            Ok(directory) => self.content(entry, &directory, name, seen),
            Err(Error::Kernel {
                errno: Errno::ENOENT,
                ..
            }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What makes the object `name` of `directory` what it is. Sockets are passed over, and what has vanished.
    fn content(
        &self,
        mut entry: Entry,
        directory: &OwnedFd,
        name: &[u8],
        seen: &mut Seen,
    ) -> Result<()> {
        let path = match entry.path.as_slice() {
            b"" => self.tops[entry.root].clone(),
            path => join(&self.tops[entry.root], path),
        };
        match entry.kind() {
            SFlag::S_IFSOCK => return Ok(()),
            SFlag::S_IFLNK => match target(directory, name, &path) {
                Ok(target) => entry.target = target,
                Err(Error::Kernel {
                    errno: Errno::ENOENT,
                    ..
                }) => return Ok(()),
                Err(error) => return Err(error),
            },
            SFlag::S_IFREG if !self.file_content(&mut entry, directory, name, &path, seen)? => {
                return Ok(());
            }
            _ => {}
        }
        seen.entries.push(entry);
        Ok(())
    }

    /// False when there is no such file any more.
    fn file_content(
        &self,
        entry: &mut Entry,
        directory: &OwnedFd,
        name: &[u8],
        path: &[u8],
        seen: &mut Seen,
    ) -> Result<bool> {
        let remembered = match &self.source.kind {
            Kind::Context { remembered, .. } => remembered.get(&entry.stat),
            Kind::Layers => None,
        };
        if let Some(record) = remembered.filter(|record| !record.attributes) {
            entry.content = Some(record.digest);
            return Ok(true);
        }
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let failed = |op| move |errno| Error::kernel(op, path, errno);
        let file = match openat(directory, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT) => return Ok(false),
            // A link has taken its place.
            Err(Errno::ELOOP) => return Err(restless(path)),
            Err(errno) => return Err(failed("open")(errno)),
        };
        let link = format!("/proc/self/fd/{}", file.as_raw_fd());
        let link = CString::new(link).unwrap_or_default();
        let attributes = || {
            self.attributes(
                path,
                || xattr::flist(file.as_fd()),
                |key| xattr::get(&link, key),
            )
        };
        if let Some(record) = remembered {
            entry.content = Some(record.digest);
            entry.xattrs = attributes()?;
            return Ok(true);
        }
        for _ in 0..ATTEMPTS {
            let before = fstat(&file).map_err(failed("stat"))?;
            if SFlag::from_bits_truncate(before.st_mode & SFlag::S_IFMT.bits()) != SFlag::S_IFREG {
                return Err(restless(path));
            }
            let digest = self.hash(&file, &before, path, &mut seen.buffer)?;
            let xattrs = attributes()?;
            let after = fstat(&file).map_err(failed("stat"))?;
            if !is_same(&before, &after) {
                continue;
            }
            entry.stat = after;
            entry.content = Some(digest);
            if self.source.is_context() {
                let record = Record::new(&after, digest, !xattrs.is_empty(), self.started);
                seen.learnt.push(((after.st_dev, after.st_ino), record));
            }
            entry.xattrs = xattrs;
            return Ok(true);
        }
        Err(restless(path))
    }

    fn hash(
        &self,
        file: &File,
        stat: &FileStat,
        path: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<Digest> {
        use std::os::unix::fs::FileExt;
        buffer.resize(256 << 10, 0);
        let mut hasher = Hasher::default();
        let size = stat.st_size.cast_unsigned();
        let mut offset = 0;
        // What is behind its size by now shows in a second stat.
        while offset < size {
            self.progress.check()?;
            let length = match file.read_at(buffer, offset) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::io("read", path, &error)),
            };
            hasher.update(&buffer[..length]);
            offset += length as u64;
            self.progress.add(length as u64);
        }
        Ok(hasher.finish())
    }

    /// Those that are copied, by name. Access lists of the host say nothing in an image.
    fn attributes(
        &self,
        path: &[u8],
        list: impl FnOnce() -> nix::Result<Vec<Vec<u8>>>,
        get: impl Fn(&CString) -> nix::Result<Vec<u8>>,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut names = match list() {
            Ok(names) => names,
            Err(Errno::EOPNOTSUPP | Errno::ENOENT) => return Ok(Vec::new()),
            Err(errno) => return Err(Error::kernel("listxattr", path, errno)),
        };
        names.retain(|name| {
            is_kept(name) && !(self.source.is_context() && name.starts_with(b"system."))
        });
        names.sort_unstable();
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            let key = CString::new(name.as_slice()).unwrap_or_default();
            match get(&key) {
                Ok(value) => found.push((name, value)),
                Err(Errno::ENODATA | Errno::EPERM | Errno::EOPNOTSUPP) => {}
                Err(errno) => return Err(Error::kernel("getxattr", path, errno)),
            }
        }
        Ok(found)
    }
}

fn is_same(before: &FileStat, after: &FileStat) -> bool {
    let key = |stat: &FileStat| {
        (
            stat.st_size,
            stat.st_mtime,
            stat.st_mtime_nsec,
            stat.st_ctime,
            stat.st_ctime_nsec,
        )
    };
    key(before) == key(after)
}

fn restless(path: &[u8]) -> Error {
    Error::Conflict(format!(
        "/{} changed while it was read: try again when nobody writes to it",
        show(path)
    ))
}
