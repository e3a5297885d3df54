//! From the registry's bytes to a verified blob and its files, in one pass that can be resumed.
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pyd_sys::inode::start_writeback;

use crate::compression::Compression;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::extract::Unsettled;
use crate::pipeline::{Extracted, Pipeline};
use crate::progress::Progress;
use crate::remove;

/// Writeback of the blob is started this often, so that the fsync at the end finds little to do.
const WRITEBACK: u64 = 8 << 20;

/// What is to come.
pub struct Expected {
    /// Of the descriptor; "" when the bytes alone decide how they are compressed.
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    pub diff_id: Option<Digest>,
}

/// A layer whose bytes are what they were promised to be.
#[derive(Clone, Debug)]
pub struct UnpackedLayer {
    pub digest: Digest,
    /// Bytes as stored.
    pub size: u64,
    /// None when nothing was unpacked.
    pub diff_id: Option<Digest>,
    /// Bytes in regular files.
    pub unpacked_size: u64,
    pub entries: u64,
    pub unsettled: Unsettled,
}

impl UnpackedLayer {
    fn new(digest: Digest, size: u64, extracted: Option<Extracted>) -> Self {
        let mut layer = Self {
            digest,
            size,
            diff_id: None,
            unpacked_size: 0,
            entries: 0,
            unsettled: Unsettled::default(),
        };
        if let Some(extracted) = extracted {
            layer.diff_id = Some(extracted.diff_id);
            layer.unpacked_size = extracted.size;
            layer.entries = extracted.entries;
            layer.unsettled = extracted.unsettled;
        }
        layer
    }
}

pub struct LayerIngest {
    partial: PathBuf,
    file: File,
    expected: Expected,
    progress: Arc<Progress>,
    hasher: Hasher,
    pipeline: Option<Pipeline>,
    received: u64,
    offset: u64,
    flushed: u64,
}

impl LayerIngest {
    /// Replays what `partial` holds. `dest`: an empty directory, or None for a blob that is only stored.
    pub fn open(
        partial: &Path,
        dest: Option<&Path>,
        expected: Expected,
        progress: Arc<Progress>,
    ) -> Result<Self> {
        let name = partial.as_os_str().as_bytes();
        let failed = |op| move |error: std::io::Error| Error::io(op, name, &error);
        let compression = match dest {
            Some(_) => Compression::from_media_type(&expected.media_type)?,
            None => None,
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(partial)
            .map_err(failed("open"))?;
        let start = |progress: &Arc<Progress>| {
            dest.map(|dest| Pipeline::start(dest, compression, Arc::clone(progress)))
                .transpose()
        };
        progress.set_total(expected.size);
        let mut ingest = Self {
            partial: partial.to_path_buf(),
            file,
            hasher: Hasher::default(),
            pipeline: start(&progress)?,
            progress,
            expected,
            received: 0,
            offset: 0,
            flushed: 0,
        };
        match ingest.replay() {
            Ok(()) => {}
            // A partial that is no beginning of a layer: begin again without it.
            Err(error) if error.condemns_bytes() => {
                ingest.stop();
                if let Some(dest) = dest {
                    empty_directory(dest)?;
                }
                ingest.file.set_len(0).map_err(failed("truncate"))?;
                ingest.file.rewind().map_err(failed("seek"))?;
                ingest.hasher = Hasher::default();
                ingest.received = 0;
                ingest.progress.set_done(0);
                ingest.pipeline = start(&ingest.progress)?;
            }
            Err(error) => return Err(error),
        }
        ingest.offset = ingest.received;
        ingest.flushed = ingest.received;
        Ok(ingest)
    }

    /// Bytes that were replayed: the transfer goes on from here.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    pub fn write(&mut self, data: &[u8]) -> Result<()> {
        let result = self.take_in(data);
        result.map_err(|error| self.fail(error))
    }

    /// Everything came: verify. The partial is then a blob, on disk.
    pub fn finish(mut self) -> Result<UnpackedLayer> {
        let result = self.verify();
        result.map_err(|error| self.fail(error))
    }

    /// Stop and keep the partial.
    pub fn abort(mut self) {
        self.stop();
    }

    fn take_in(&mut self, data: &[u8]) -> Result<()> {
        self.progress.check()?;
        if self.received + data.len() as u64 > self.expected.size {
            return Err(Error::Mismatch(format!(
                "layer {} is longer than its {} bytes",
                self.expected.digest, self.expected.size
            )));
        }
        self.file
            .write_all(data)
            .map_err(|error| Error::io("write", self.partial.as_os_str().as_bytes(), &error))?;
        self.digest(data)?;
        if self.received - self.flushed >= WRITEBACK {
            start_writeback(
                self.file.as_fd(),
                self.flushed,
                self.received - self.flushed,
            );
            self.flushed = self.received;
        }
        Ok(())
    }

    /// Hash and unpack bytes that are in the partial. Unpacking first: it goes on in its threads meanwhile.
    fn digest(&mut self, data: &[u8]) -> Result<()> {
        if let Some(pipeline) = &mut self.pipeline {
            pipeline.push(data)?;
        }
        self.hasher.update(data);
        self.received += data.len() as u64;
        self.progress.add(data.len() as u64);
        Ok(())
    }

    fn replay(&mut self) -> Result<()> {
        let name = self.partial.as_os_str().as_bytes().to_vec();
        let failed = |op| {
            let name = &name;
            move |error: std::io::Error| Error::io(op, name, &error)
        };
        let length = self.file.metadata().map_err(failed("stat"))?.len();
        if length > self.expected.size {
            self.file.set_len(0).map_err(failed("truncate"))?;
            return Ok(());
        }
        let mut buffer = vec![0; 256 << 10];
        while self.received < length {
            self.progress.check()?;
            let read = self.file.read(&mut buffer).map_err(failed("read"))?;
            if read == 0 {
                break;
            }
            self.digest(&buffer[..read])?;
        }
        self.file
            .seek(SeekFrom::Start(self.received))
            .map_err(failed("seek"))
            .map(drop)
    }

    fn verify(&mut self) -> Result<UnpackedLayer> {
        self.progress.check()?;
        if self.received < self.expected.size {
            return Err(Error::Cut(format!(
                "layer {} ended after {} of {} bytes",
                self.expected.digest, self.received, self.expected.size
            )));
        }
        let digest = std::mem::take(&mut self.hasher).finish();
        if digest != self.expected.digest {
            return Err(Error::Mismatch(format!(
                "layer {}: the bytes that came have the digest {digest}",
                self.expected.digest
            )));
        }
        // While the other threads finish their part.
        self.file
            .sync_data()
            .map_err(|error| Error::io("fsync", self.partial.as_os_str().as_bytes(), &error))?;
        let extracted = self.pipeline.take().map(Pipeline::finish).transpose()?;
        check_diff_id(&digest, extracted.as_ref(), self.expected.diff_id)?;
        Ok(UnpackedLayer::new(digest, self.received, extracted))
    }

    fn stop(&mut self) {
        self.pipeline = None;
    }

    /// Stop after an error. Bytes that can never do are not kept for a resume.
    fn fail(&mut self, error: Error) -> Error {
        self.stop();
        if error.condemns_bytes() {
            // If this fails the next attempt meets the same bytes and comes here again.
            let _ = std::fs::remove_file(&self.partial);
        }
        error
    }
}

/// Unpack a blob of the store into the empty directory `dest`.
pub fn unpack_blob(
    blob: &Path,
    dest: &Path,
    media_type: &str,
    diff_id: Option<Digest>,
    progress: &Arc<Progress>,
) -> Result<UnpackedLayer> {
    let name = blob.as_os_str().as_bytes();
    let failed = |op| move |error: std::io::Error| Error::io(op, name, &error);
    let compression = Compression::from_media_type(media_type)?;
    let mut file = File::open(blob).map_err(failed("open"))?;
    let size = file.metadata().map_err(failed("stat"))?.len();
    progress.set_total(size);
    let mut pipeline = Pipeline::start(dest, compression, Arc::clone(progress))?;
    let mut hasher = Hasher::default();
    let mut received = 0;
    let mut buffer = vec![0; 256 << 10];
    loop {
        progress.check()?;
        let read = file.read(&mut buffer).map_err(failed("read"))?;
        if read == 0 {
            break;
        }
        pipeline.push(&buffer[..read])?;
        hasher.update(&buffer[..read]);
        received += read as u64;
        progress.add(read as u64);
    }
    let extracted = pipeline.finish()?;
    let digest = hasher.finish();
    check_diff_id(&digest, Some(&extracted), diff_id)?;
    Ok(UnpackedLayer::new(digest, received, Some(extracted)))
}

fn check_diff_id(
    digest: &Digest,
    extracted: Option<&Extracted>,
    expected: Option<Digest>,
) -> Result<()> {
    match (extracted, expected) {
        (Some(extracted), Some(expected)) if extracted.diff_id != expected => {
            Err(Error::corrupt(format!(
                "layer {digest}: its uncompressed digest is {}, the image config says {expected}",
                extracted.diff_id
            )))
        }
        _ => Ok(()),
    }
}

fn empty_directory(directory: &Path) -> Result<()> {
    let failed =
        |error: std::io::Error| Error::io("readdir", directory.as_os_str().as_bytes(), &error);
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        remove::remove_tree(&entry.map_err(failed)?.path(), &Progress::default())?;
    }
    Ok(())
}
