//! From the registry's bytes to a verified blob and its files, in one pass that can be resumed. Whoever has bytes puts
//! them into the `Partial`, in any order of its pieces; one thread follows what has come without a gap.
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::allowance::Allowance;
use crate::ask::ask;
use crate::buffer::Buffer;
use crate::compression::Compression;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::extract::Unsettled;
use crate::partial::{Closed, Partial, Span};
use crate::pipe::Feed;
use crate::pipeline::{Extracted, Pass, SMALL, STORED_CHUNK};
use crate::progress::Progress;
use crate::receive::{End, receive};
use crate::stored::Stored;

/// The first bytes are passed on together: they say what the compression is.
const HEAD: u64 = 512;

/// What is to come.
pub struct Expected {
    /// Of the descriptor; "" when the bytes alone decide how they are compressed.
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    pub diff_id: Option<Digest>,
    pub allowance: Arc<Allowance>,
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

/// All methods may be called by several threads at once. After an error nothing more can be put in.
pub struct LayerIngest {
    partial: Arc<Partial>,
    expected: Expected,
    progress: Arc<Progress>,
    offset: u64,
    /// None when its end is known.
    follower: Mutex<Option<JoinHandle<Result<Found>>>>,
    failure: OnceLock<Error>,
}

/// What the follower has seen when everything had come.
struct Found {
    digest: Digest,
    extracted: Result<Option<Extracted>>,
}

impl LayerIngest {
    /// Goes on with what `partial` holds. `dest`: an empty directory, or None for a blob that is only stored.
    pub fn open(
        partial: &Path,
        dest: Option<&Path>,
        expected: Expected,
        progress: Arc<Progress>,
    ) -> Result<Self> {
        let compression = match dest {
            Some(_) => Compression::from_media_type(&expected.media_type)?,
            None => None,
        };
        let partial = Arc::new(Partial::open(partial, expected.size)?);
        progress.set_total(expected.size);
        progress.set_done(partial.received());
        let offset = partial.prefix();
        let (followed, watched) = (Arc::clone(&partial), Arc::clone(&progress));
        let (dest, allowance) = (dest.map(Path::to_path_buf), Arc::clone(&expected.allowance));
        let follower = std::thread::Builder::new()
            .name("pyd-follow".into())
            .spawn(move || {
                let pass = dest.as_deref().map(|dest| Pass {
                    dest,
                    over: false,
                    compression,
                    progress: Arc::clone(&watched),
                    allowance,
                });
                let found = follow(&followed, pass.as_ref(), &watched);
                followed.close();
                found
            })
            .map_err(|error| Error::io("clone", b"a thread for hashing", &error))?;
        Ok(Self {
            partial,
            expected,
            progress,
            offset,
            follower: Mutex::new(Some(follower)),
            failure: OnceLock::new(),
        })
    }

    /// Bytes that were there without a gap when it was opened.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// See `Partial::claim`.
    pub fn claim(&self, whole: bool) -> Result<Option<Span>> {
        self.partial.claim(whole).map_err(|error| self.fail(error))
    }

    pub fn release(&self, span: Span) {
        self.partial.release(span);
    }

    /// How long the pass waited for bytes so far.
    pub fn starved(&self) -> Duration {
        self.partial.starved()
    }

    /// Whether an error has ended it.
    pub fn failed(&self) -> bool {
        self.failure.get().is_some()
    }

    /// Bytes that belong at `offset`, or after those that are there.
    pub fn write(&self, data: &[u8], offset: Option<u64>) -> Result<()> {
        self.progress.check().map_err(|error| self.fail(error))?;
        let offset = offset.unwrap_or_else(|| self.partial.prefix());
        if offset + data.len() as u64 > self.expected.size {
            return Err(self.fail(Error::Mismatch(format!(
                "layer {} is longer than its {} bytes",
                self.expected.digest, self.expected.size
            ))));
        }
        match self.partial.store(offset, data) {
            Ok(Ok(())) => {
                self.progress.add(data.len() as u64);
                Ok(())
            }
            Ok(Err(Closed)) => Err(self.why_closed()),
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Bytes `span` from a connection: how many came, and why no more did.
    pub fn receive(&self, socket: &OwnedFd, span: Span, patience: Duration) -> Result<(u64, End)> {
        if span.start > span.end || span.end > self.partial.size() {
            return Err(Error::Invalid("a blob has no such bytes".into()));
        }
        let length = span.end - span.start;
        match receive(
            &self.partial,
            socket,
            span.start,
            length,
            patience,
            &self.progress,
        ) {
            Ok((_, End::Closed)) => Err(self.why_closed()),
            Ok(received) => Ok(received),
            Err(error) => Err(self.fail(error)),
        }
    }

    /// All of the blob over a connection to its registry, which `request` asks for it: how many bytes came, and whether
    /// the connection can be used again. None came of an answer that `ask` does not understand.
    pub fn ask(&self, socket: &OwnedFd, request: &[u8], patience: Duration) -> Result<(u64, bool)> {
        let (partial, progress, size) = (&self.partial, &self.progress, self.expected.size);
        let Some(first) = ask(socket, request, size, patience, partial, progress)
            .map_err(|error| self.fail(error))?
        else {
            // The reader has failed meanwhile, or was cancelled: nobody is to ask for the blob again.
            return if self.partial.closed() {
                Err(self.why_closed())
            } else {
                Ok((0, false))
            };
        };
        let came = first.len() as u64;
        self.write(&first, Some(0))?;
        let rest = Span {
            start: came,
            end: size,
        };
        let (received, why) = self.receive(socket, rest, patience)?;
        Ok((came + received, why == End::Whole))
    }

    /// Everything came: verify. The partial is then a blob; with `sync` it is on disk.
    pub fn finish(&self, sync: bool) -> Result<UnpackedLayer> {
        self.verify(sync).map_err(|error| self.fail(error))
    }

    /// Stop and keep the partial.
    pub fn abort(&self) {
        self.partial.close();
        // Whatever it found, nobody asks any more.
        drop(self.join());
    }

    fn verify(&self, sync: bool) -> Result<UnpackedLayer> {
        let received = self.partial.received();
        if received < self.expected.size {
            if self.partial.closed() {
                return Err(self.why_closed());
            }
            return Err(Error::Cut(format!(
                "layer {} ended after {received} of {} bytes",
                self.expected.digest, self.expected.size
            )));
        }
        self.partial.cut_ledger()?;
        if sync {
            // While the threads finish their part.
            self.partial.sync()?;
        }
        let Some(found) = self.join() else {
            return Err(self.why_closed());
        };
        let Found { digest, extracted } = found?;
        if digest != self.expected.digest {
            return Err(Error::Mismatch(format!(
                "layer {}: the bytes that came have the digest {digest}",
                self.expected.digest
            )));
        }
        let extracted = extracted?;
        check_diff_id(&digest, extracted.as_ref(), self.expected.diff_id)?;
        Ok(UnpackedLayer::new(digest, received, extracted))
    }

    fn join(&self) -> Option<Result<Found>> {
        let mut follower = self.follower.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = follower.take()?.join();
        Some(ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    }

    /// Why the follower takes no more.
    fn why_closed(&self) -> Error {
        match self.join() {
            Some(Err(error)) => self.fail(error),
            // Its error came out of the pass, after the last byte.
            Some(Ok(Found {
                extracted: Err(error),
                ..
            })) => self.fail(error),
            Some(Ok(_)) | None => self.failure.get().cloned().unwrap_or(Error::Cancelled),
        }
    }

    /// Stop after an error, of which the first is told to all. Bytes that can never do are not kept for a resume.
    fn fail(&self, error: Error) -> Error {
        let first = self.failure.set(error.clone()).is_ok();
        self.abort();
        if first && error.condemns_bytes() {
            self.partial.discard();
        }
        error
    }
}

impl Drop for LayerIngest {
    fn drop(&mut self) {
        self.abort();
    }
}

/// Reads what has come in order: hash it, and unpack it.
fn follow(partial: &Partial, pass: Option<&Pass<'_>>, progress: &Progress) -> Result<Found> {
    let mut arrived = Arrived {
        partial,
        progress,
        hasher: Hasher::default(),
        position: 0,
        end: 0,
    };
    let extracted = match pass {
        Some(pass) => pass.run(&mut arrived, partial.size()).map(Some),
        None => arrived.drain().map(|()| None),
    };
    match &extracted {
        Err(error) if arrived.position < partial.size() => {
            // Other bytes than those that were promised are the better diagnosis, where it costs little.
            if !error.condemns_bytes() || partial.size() > SMALL {
                return Err(error.clone());
            }
            arrived.drain()?;
        }
        _ => {}
    }
    Ok(Found {
        extracted,
        digest: arrived.hasher.finish(),
    })
}

/// The bytes of a partial in order, as they come; hashed as they are read.
struct Arrived<'a> {
    partial: &'a Partial,
    progress: &'a Progress,
    hasher: Hasher,
    position: u64,
    /// Up to here they are there.
    end: u64,
}

impl Arrived<'_> {
    /// Hash the rest.
    fn drain(&mut self) -> Result<()> {
        let mut buffer = Buffer::new(STORED_CHUNK);
        while self.feed(&mut buffer)? > 0 {}
        Ok(())
    }
}

impl Feed for Arrived<'_> {
    fn feed(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.progress.check()?;
        if self.position == self.partial.size() {
            return Ok(0);
        }
        if self.position == self.end {
            let least = if self.position == 0 { HEAD } else { 1 };
            let watch = || self.progress.check();
            self.end = self
                .partial
                .wait(self.position, least, watch)?
                .ok_or(Error::Cancelled)?;
        }
        if self.partial.closed() {
            return Err(Error::Cancelled);
        }
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        self.partial.read(self.position, &mut buffer[..length])?;
        self.hasher.update(&buffer[..length]);
        self.position += length as u64;
        Ok(length)
    }
}

/// Unpack a blob of the store into the empty directory `dest`.
pub fn unpack_blob(
    blob: &Path,
    dest: &Path,
    media_type: &str,
    diff_id: Option<Digest>,
    progress: &Arc<Progress>,
    allowance: Arc<Allowance>,
) -> Result<UnpackedLayer> {
    let name = blob.as_os_str().as_bytes();
    let failed = |op| move |error: std::io::Error| Error::io(op, name, &error);
    let file = File::open(blob).map_err(failed("open"))?;
    let size = file.metadata().map_err(failed("stat"))?.len();
    progress.set_total(size);
    let pass = Pass {
        dest,
        over: false,
        compression: Compression::from_media_type(media_type)?,
        progress: Arc::clone(progress),
        allowance,
    };
    let mut stored = Stored::new(file, name, progress);
    let extracted = pass.run_apart(&mut stored, size)?;
    let (digest, received) = stored.finish();
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
