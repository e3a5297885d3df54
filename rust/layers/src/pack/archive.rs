//! Objects of a tree become entries of a tar, written into chunks.
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::stat::{FileStat, SFlag, major, minor};
use nix::unistd::{Whence, lseek};

use super::pinned::{Pinned, kind_of};
use crate::error::{Error, Result};
use crate::name::{join, split};
use crate::pipe::{Chunk, ChunkSender, Hangup};
use crate::progress::Progress;
use crate::tar::{Entry, Kind, writer};

/// image-spec layer.md advises against sparse entries, and tar-split (Docker, Podman) cannot reproduce them: so holes
/// are written as zeros, which compress to nothing. Only where they are more than anybody would wait for (a
/// /var/log/lastlog of a high uid) is the file written as what it is.
const TOO_MANY_ZEROS: u64 = 256 << 20;

pub struct Archive {
    sender: ChunkSender,
    chunk: Option<Chunk>,
    epoch: Option<i64>,
    progress: Arc<Progress>,
    /// First path of each inode that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    pub entries: u64,
}

impl Archive {
    /// `epoch`: see `Output`.
    pub fn new(sender: ChunkSender, epoch: Option<i64>, progress: Arc<Progress>) -> Self {
        Self {
            sender,
            chunk: None,
            epoch,
            progress,
            links: HashMap::new(),
            entries: 0,
        }
    }

    /// Sockets are left out: they mean nothing without the process that listens, and tar has no type for them.
    pub fn add(&mut self, path: &[u8], object: &Pinned) -> Result<()> {
        let stat = &object.stat;
        let Some(mut entry) = entry_of(path, stat, self.epoch) else {
            return Ok(());
        };
        if entry.kind != Kind::Directory && stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                entry.kind = Kind::HardLink;
                entry.link = first.clone();
                return self.header(&entry);
            }
            self.links.insert((stat.st_dev, stat.st_ino), path.to_vec());
        }
        entry.xattrs = object.attributes(path)?.kept;
        match entry.kind {
            Kind::File => return self.file(entry, object),
            Kind::Symlink => entry.link = object.target(path)?,
            _ => {}
        }
        self.header(&entry)
    }

    pub fn whiteout(&mut self, path: &[u8]) -> Result<()> {
        self.header(&marker(whiteout_name(path)))
    }

    pub fn opaque(&mut self, directory: &[u8]) -> Result<()> {
        self.header(&marker(opaque_name(directory)))
    }

    pub fn finish(mut self) -> Result<u64> {
        self.write(&writer::END)?;
        self.end()
    }

    /// The bytes of a tar that exists; its entries are not looked at.
    pub fn whole(mut self, path: &Path) -> Result<u64> {
        let name = path.as_os_str().as_bytes();
        let failed = |op| move |error: std::io::Error| Error::io(op, name, &error);
        let mut file = File::open(path).map_err(failed("open"))?;
        loop {
            let chunk = self.room()?;
            let start = chunk.length;
            let read = match file.read(&mut chunk.buffer[start..]) {
                Ok(0) => return self.end(),
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed("read")(error)),
            };
            chunk.length += read;
            self.progress.add(read as u64);
        }
    }

    fn end(mut self) -> Result<u64> {
        if let Some(last) = self.chunk.take() {
            self.sender.send(last).map_err(gone)?;
        }
        Ok(self.entries)
    }

    fn header(&mut self, entry: &Entry) -> Result<()> {
        self.entries += 1;
        self.write(&writer::header(entry)?)
    }

    fn file(&mut self, mut entry: Entry, object: &Pinned) -> Result<()> {
        let stat = &object.stat;
        let path = entry.name.clone();
        entry.size = u64::try_from(stat.st_size).unwrap_or(0);
        if entry.size == 0 {
            return self.header(&entry);
        }
        let mut file = object.read(&path)?;
        if let Some(ranges) = worthwhile_ranges(&file, stat) {
            entry.kind = Kind::SparseFile(ranges.clone());
            self.header(&entry)?;
            let mut stored = 0;
            for (offset, length) in ranges {
                let at = offset.cast_signed();
                lseek(&file, at, Whence::SeekSet)
                    .map_err(|errno| Error::kernel("seek", &path, errno))?;
                self.content(&mut file, length, &path)?;
                stored += length;
            }
            return self.pad(stored);
        }
        self.header(&entry)?;
        self.content(&mut file, entry.size, &path)?;
        self.pad(entry.size)
    }

    /// Exactly `size` bytes: a file that shrinks meanwhile ends in zeros, one that grows is cut.
    fn content(&mut self, file: &mut File, size: u64, path: &[u8]) -> Result<()> {
        let mut left = size;
        let mut ended = false;
        while left > 0 {
            let chunk = self.room()?;
            let start = chunk.length;
            let room = usize::try_from(left).map_or(chunk.room(), |left| left.min(chunk.room()));
            let target = &mut chunk.buffer[start..start + room];
            let read = if ended {
                target.fill(0);
                room
            } else {
                match file.read(target) {
                    Ok(read) => read,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(Error::io("read", path, &error)),
                }
            };
            ended = read == 0;
            chunk.length += read;
            left -= read as u64;
            self.progress.add(read as u64);
        }
        Ok(())
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        let padding = (512 - size % 512) % 512;
        self.write(&[0; 512][..padding as usize])
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let taken = self.room()?.extend(bytes);
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// A chunk that is not full. Each is filled to the last byte before the next is begun: where blocks end must not
    /// depend on how fast anybody was.
    fn room(&mut self) -> Result<&mut Chunk> {
        if let Some(full) = self.chunk.take_if(|chunk| chunk.room() == 0) {
            self.sender.send(full).map_err(gone)?;
        }
        if self.chunk.is_none() {
            self.progress.check()?;
            self.chunk = Some(self.sender.empty().map_err(gone)?);
        }
        self.chunk.as_mut().ok_or(Error::Cancelled)
    }
}

/// What the header says of an object, but for its size, target and attributes. None for a socket.
pub fn entry_of(path: &[u8], stat: &FileStat, epoch: Option<i64>) -> Option<Entry> {
    let kind = match kind_of(stat) {
        SFlag::S_IFDIR => Kind::Directory,
        SFlag::S_IFREG => Kind::File,
        SFlag::S_IFLNK => Kind::Symlink,
        SFlag::S_IFCHR => Kind::CharDevice,
        SFlag::S_IFBLK => Kind::BlockDevice,
        SFlag::S_IFIFO => Kind::Fifo,
        _ => return None,
    };
    let part = |number| u32::try_from(number).unwrap_or(u32::MAX);
    let device = match kind {
        Kind::CharDevice | Kind::BlockDevice => {
            (part(major(stat.st_rdev)), part(minor(stat.st_rdev)))
        }
        _ => (0, 0),
    };
    let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    Some(Entry {
        name: path.to_vec(),
        link: Vec::new(),
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: clamped((stat.st_mtime, nanoseconds), epoch),
        size: 0,
        device,
        xattrs: Vec::new(),
    })
}

/// A file that says nothing: `.wh.` names, by which a layer removes.
pub fn marker(name: Vec<u8>) -> Entry {
    Entry {
        name,
        link: Vec::new(),
        kind: Kind::File,
        mode: 0o600,
        uid: 0,
        gid: 0,
        mtime: (0, 0),
        size: 0,
        device: (0, 0),
        xattrs: Vec::new(),
    }
}

pub fn whiteout_name(path: &[u8]) -> Vec<u8> {
    let (parent, base) = split(path);
    join(parent, &[b".wh.", base].concat())
}

pub fn opaque_name(directory: &[u8]) -> Vec<u8> {
    join(directory, b".wh..wh..opq")
}

/// The parts of a file that have data, if holes are so much of it that it is written as what it is.
pub fn worthwhile_ranges(file: &File, stat: &FileStat) -> Option<Vec<(u64, u64)>> {
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
    if size.saturating_sub(blocks.saturating_mul(512)) < TOO_MANY_ZEROS {
        return None;
    }
    data_ranges(file, size)
}

/// A time that is no later than `epoch` seconds.
pub fn clamped(time: (i64, u32), epoch: Option<i64>) -> (i64, u32) {
    match epoch {
        Some(epoch) => time.min((epoch, 0)),
        None => time,
    }
}

/// Why is for the other thread to say.
fn gone(_: Hangup) -> Error {
    Error::Cancelled
}

/// Where a file has data, as far as the file system tells.
fn data_ranges(file: &File, size: u64) -> Option<Vec<(u64, u64)>> {
    let mut ranges = Vec::new();
    let mut offset = 0;
    while offset < size {
        let start = match lseek(file, offset.cast_signed(), Whence::SeekData) {
            Ok(start) => start.cast_unsigned(),
            Err(Errno::ENXIO) => break, // a hole up to the end
            Err(_) => return None,
        };
        let end = lseek(file, start.cast_signed(), Whence::SeekHole).ok()?;
        let end = end.cast_unsigned().min(size);
        if start >= end {
            break;
        }
        ranges.push((start, end - start));
        offset = end;
    }
    Some(ranges)
}
