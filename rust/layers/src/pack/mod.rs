//! Directories become layers: `changes` or `union` find what there is, `archive` writes it as a tar, `deflate`
//! compresses; both digests come out of the same pass. Memory is fixed when it starts. A tar that exists is compressed
//! in the same way.
//!
//! Paths are a container's, which may run and change them meanwhile: `pinned` holds each object by a descriptor.
pub(crate) mod archive;
pub(crate) mod changes;
mod deflate;
pub(crate) mod pinned;
pub(crate) mod union;

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

use pyd_sys::inode::start_writeback;

pub use self::changes::{Kind as ChangeKind, Overlay};

use self::archive::Archive;
use self::changes::Purpose;
use self::deflate::Deflater;
use crate::compression::Compression;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::pipe::{ChunkReceiver, pipe};
use crate::progress::Progress;

/// Also the unit of compression: small enough for the caches of a core, large enough to lose nothing worth having.
const BLOCK: usize = 1 << 20;
/// Writeback of what was written is started this often, so that an fsync at the end finds little to do.
const WRITEBACK: u64 = 8 << 20;

/// What is packed.
#[derive(Clone, Debug)]
pub enum Contents {
    /// The changes that the upper directory of an overlay makes.
    Changes(Overlay),
    /// Everything that these directories show together, top first. One is just a directory.
    Whole(Vec<PathBuf>),
    /// A tar that is there already: only compressed.
    Tar(PathBuf),
}

/// How it is written.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    pub compression: Compression,
    /// gzip: 1 to 9; zstd: 1 to 22.
    pub level: i32,
    /// Of compression; the bytes do not depend on it. 0: as many as there are cores.
    pub threads: usize,
    /// Seconds since 1970: times of modification later than that are written as that.
    pub epoch: Option<i64>,
}

#[derive(Clone, Debug)]
pub struct PackedLayer {
    /// Of the bytes as written.
    pub digest: Digest,
    pub size: u64,
    /// Of the tar.
    pub diff_id: Digest,
    pub plain_size: u64,
    pub entries: u64,
}

/// Write `contents` to `out` (a file, a pipe, a socket). `progress` counts the bytes of files. Not fsynced.
pub fn pack_layer(
    contents: Contents,
    out: &mut File,
    output: Output,
    progress: &Arc<Progress>,
) -> Result<PackedLayer> {
    let threads = if output.threads == 0 {
        deflate::threads()
    } else {
        output.threads
    };
    // Two blocks for each worker, one being filled, one being hashed, one to spare.
    let (sender, receiver) = pipe(BLOCK, 2 * threads + 3);
    let archive = Archive::new(sender, output.epoch, Arc::clone(progress));
    let walker = {
        let progress = Arc::clone(progress);
        std::thread::Builder::new()
            .name("pyd-pack".into())
            .spawn(move || write_contents(&contents, archive, &progress))
            .map_err(|error| Error::io("clone", b"a thread for packing", &error))?
    };
    let deflater = Deflater::new(output.compression, output.level, threads)?;
    let written = Written::default().all(out, deflater, receiver);
    // `receiver` is gone by now: a walker that still runs ends at its next chunk.
    let entries = match walker.join() {
        Err(panic) => std::panic::resume_unwind(panic),
        Ok(entries) => entries,
    };
    // What stopped the writer is the cause of what the walker then saw.
    let (digest, size, diff_id, plain_size) = written?;
    Ok(PackedLayer {
        entries: entries?,
        digest,
        size,
        diff_id,
        plain_size,
    })
}

/// Paths (relative) that the upper directory changes, in order.
pub fn list_changes(overlay: &Overlay, progress: &Progress) -> Result<Vec<(Vec<u8>, ChangeKind)>> {
    let mut found = Vec::new();
    changes::walk(overlay, Purpose::List, progress, &mut |change| {
        found.push((change.path.to_vec(), change.kind));
        Ok(())
    })?;
    // What is missing in an opaque directory comes before what is there.
    found.sort();
    Ok(found)
}

fn write_contents(contents: &Contents, mut archive: Archive, progress: &Progress) -> Result<u64> {
    match contents {
        Contents::Changes(overlay) => {
            changes::walk(overlay, Purpose::Layer, progress, &mut |change| match (
                change.kind,
                change.object,
            ) {
                (ChangeKind::Deleted, _) => archive.whiteout(change.path),
                (ChangeKind::Opaque, _) => archive.opaque(change.path),
                (_, Some(object)) => archive.add(change.path, object),
                (_, None) => Ok(()),
            })?;
        }
        Contents::Whole(layers) => {
            union::walk(layers, progress, |path, object| archive.add(path, object))?;
        }
        Contents::Tar(path) => return archive.whole(path),
    }
    archive.finish()
}

#[derive(Default)]
struct Written {
    plain: Hasher,
    plain_size: u64,
    stored: Hasher,
    size: u64,
    flushed: u64,
}

impl Written {
    fn all(
        mut self,
        out: &mut File,
        mut deflater: Deflater,
        input: ChunkReceiver,
    ) -> Result<(Digest, u64, Digest, u64)> {
        let is_plain = deflater.is_plain();
        self.write(out, deflater.head())?;
        while let Some(chunk) = input.next() {
            self.plain.update(chunk.filled());
            self.plain_size += chunk.length as u64;
            if is_plain {
                self.write_plain(out, chunk.filled())?;
                input.give_back(chunk);
            } else if let Some((chunk, bytes)) = deflater.push(chunk)? {
                input.give_back(chunk);
                self.write(out, &bytes)?;
            }
        }
        while let Some((_, bytes)) = deflater.pop()? {
            self.write(out, &bytes)?;
        }
        self.write(out, &deflater.tail())?;
        let diff_id = self.plain.finish();
        let digest = if is_plain {
            diff_id
        } else {
            self.stored.finish()
        };
        Ok((digest, self.size, diff_id, self.plain_size))
    }

    fn write(&mut self, out: &mut File, bytes: &[u8]) -> Result<()> {
        self.stored.update(bytes);
        self.write_plain(out, bytes)
    }

    fn write_plain(&mut self, out: &mut File, bytes: &[u8]) -> Result<()> {
        out.write_all(bytes)
            .map_err(|error| Error::io("write", b"the archive", &error))?;
        self.size += bytes.len() as u64;
        if self.size - self.flushed >= WRITEBACK {
            start_writeback(out.as_fd(), self.flushed, self.size - self.flushed);
            self.flushed = self.size;
        }
        Ok(())
    }
}
