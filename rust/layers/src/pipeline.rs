//! The pass over a layer, three threads wide: the caller takes in (and hashes) the bytes as stored, the second thread
//! undoes the compression, the third hashes the tar and makes the files. Inflating is the slowest of the three, so it
//! has a thread for itself.
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use pyd_sys::landlock;

use crate::allowance::Allowance;
use crate::compression::{Compression, decompress};
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::extract::{Extractor, Unsettled};
use crate::pipe::{ChunkReceiver, ChunkSender, pipe};
use crate::progress::Progress;
use crate::source::Source;
use crate::tar::Reader;

const STORED_CHUNK: usize = 256 << 10;
/// Fits the caches of two cores, yet a file of usual size lies in one chunk and is written with one call.
const PLAIN_CHUNK: usize = 512 << 10;
const CHUNKS: usize = 6;

/// What the pass found, before the caller compares it with what was promised.
pub struct Extracted {
    pub diff_id: Digest,
    pub size: u64,
    pub entries: u64,
    pub unsettled: Unsettled,
}

/// Dropping it lets the threads end early and waits for them: nobody then writes into `dest` any more.
pub struct Pipeline {
    /// None once all bytes are in.
    sender: Option<ChunkSender>,
    /// None after the first error, and at the end.
    threads: Option<Threads>,
}

struct Threads {
    decompress: JoinHandle<Result<bool>>,
    extract: JoinHandle<Result<Extracted>>,
}

impl Pipeline {
    /// `dest`: an existing, empty directory.
    pub fn start(
        dest: &Path,
        compression: Option<Compression>,
        progress: Arc<Progress>,
        allowance: Arc<Allowance>,
    ) -> Result<Self> {
        Self::start_with(Extractor::new, dest, compression, progress, allowance)
    }

    /// For an archive that is no layer, over what is in the directory `dest`.
    pub fn start_over(
        dest: &Path,
        progress: Arc<Progress>,
        allowance: Arc<Allowance>,
    ) -> Result<Self> {
        Self::start_with(Extractor::over, dest, None, progress, allowance)
    }

    fn start_with(
        extractor: fn(&Path) -> Result<Extractor>,
        dest: &Path,
        compression: Option<Compression>,
        progress: Arc<Progress>,
        allowance: Arc<Allowance>,
    ) -> Result<Self> {
        let (sender, stored) = pipe(STORED_CHUNK, CHUNKS);
        let (plain_in, plain_out) = pipe(PLAIN_CHUNK, CHUNKS);
        let dest = dest.to_path_buf();
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        let no_thread =
            |error: std::io::Error| Error::io("clone", b"a thread for unpacking", &error);
        let extract = thread("pyd-extract")
            .spawn(move || extract(extractor(&dest)?, plain_out, progress, allowance))
            .map_err(no_thread)?;
        let decompress = thread("pyd-inflate")
            .spawn(move || decompress(compression, &stored, plain_in))
            .map_err(no_thread)?;
        Ok(Self {
            sender: Some(sender),
            threads: Some(Threads {
                decompress,
                extract,
            }),
        })
    }

    /// Gives `fill` an empty buffer and takes in what it puts at its beginning; waits while the threads are behind.
    pub fn feed(&mut self, fill: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<usize> {
        let Some(mut chunk) = self.sender.as_mut().and_then(|sender| sender.empty().ok()) else {
            return Err(self.why_hung_up());
        };
        chunk.length = fill(&mut chunk.buffer)?;
        let length = chunk.length;
        if length > 0 {
            let sent = self.sender.as_ref().map(|sender| sender.send(chunk));
            if !matches!(sent, Some(Ok(()))) {
                return Err(self.why_hung_up());
            }
        }
        Ok(length)
    }

    /// All bytes are in: let the threads finish.
    pub fn finish(mut self) -> Result<Extracted> {
        self.join().unwrap_or(Err(Error::Cancelled))
    }

    fn why_hung_up(&mut self) -> Error {
        match self.join() {
            Some(Err(error)) => error,
            Some(Ok(_)) | None => Error::Cancelled,
        }
    }

    fn join(&mut self) -> Option<Result<Extracted>> {
        self.sender = None;
        self.threads.take().map(Threads::join)
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(threads) = self.threads.take() {
            let _ = threads.decompress.join();
            let _ = threads.extract.join();
        }
    }
}

impl Threads {
    fn join(self) -> Result<Extracted> {
        let decompressed = self.decompress.join();
        let extracted = self.extract.join();
        match (decompressed, extracted) {
            (Err(panic), _) | (_, Err(panic)) => std::panic::resume_unwind(panic),
            // The decompressor's error is the cause of what the extractor then saw; a hang-up is the effect.
            (Ok(Err(error)), _) => Err(error),
            (Ok(Ok(_)), Ok(extracted)) => extracted,
        }
    }
}

fn extract(
    mut extractor: Extractor,
    input: ChunkReceiver,
    progress: Arc<Progress>,
    allowance: Arc<Allowance>,
) -> Result<Extracted> {
    let mut hasher = Hasher::default();
    // A second wall around what hostile names could do. Where the kernel has none the first one stands alone.
    let _ = landlock::write_only_beneath(std::os::fd::AsFd::as_fd(extractor.tree().root()));
    let mut reader = Reader::new(Source::new(input, &mut hasher, progress, allowance));
    while let Some(entry) = reader.next_entry()? {
        extractor.apply(&entry, &mut reader)?;
    }
    let entries = reader.entries();
    let size = extractor.size();
    reader.drain()?;
    let unsettled = extractor.finish()?;
    Ok(Extracted {
        diff_id: hasher.finish(),
        size,
        entries,
        unsettled,
    })
}
