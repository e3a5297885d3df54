//! The pass over a layer: the bytes as stored are taken in (and hashed), their compression is undone, the tar is hashed
//! and made into files. A large layer has a thread for each of the three, as inflating alone keeps one busy. A small
//! one goes through them in one thread: there are others beside it, and to hand its chunks around would cost more. The
//! smallest, most layers of most images, are inflated at one stroke.
use std::path::Path;
use std::sync::Arc;

use pyd_sys::landlock;

use crate::allowance::Allowance;
use crate::compression::Compression;
use crate::decoder::Decoder;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::extract::{Extractor, Unsettled};
use crate::pipe::{Buffered, Chunks, Feed, pipe, pump};
use crate::progress::Progress;
use crate::source::Source;
use crate::tar::Reader;
use crate::whole::{self, Whole};

/// Bytes as stored up to which a layer is a small one.
pub const SMALL: u64 = 4 << 20;
pub const STORED_CHUNK: usize = 256 << 10;
/// Fits the caches of two cores, yet a file of usual size lies in one chunk and is written with one call.
pub const PLAIN_CHUNK: usize = 512 << 10;
const CHUNKS: usize = 6;

/// What becomes of the bytes.
pub struct Pass<'a> {
    /// An existing directory; empty but with `over`.
    pub dest: &'a Path,
    /// An archive that is no layer, unpacked over what is in `dest`.
    pub over: bool,
    /// As it was declared; None leaves it to the bytes.
    pub compression: Option<Compression>,
    pub progress: Arc<Progress>,
    pub allowance: Arc<Allowance>,
}

/// What the pass found, before the caller compares it with what was promised.
pub struct Extracted {
    pub diff_id: Digest,
    pub size: u64,
    pub entries: u64,
    pub unsettled: Unsettled,
}

impl Pass<'_> {
    /// Take in all bytes of `stored`, which are `size`. When it returns nobody writes into `dest` any more.
    ///
    /// The calling thread must have been made for this: it may lose the right to write anywhere else.
    pub fn run(&self, stored: &mut impl Feed, size: u64) -> Result<Extracted> {
        if size > SMALL {
            return self.run_wide(stored);
        }
        if let Ok(size) = usize::try_from(size)
            && size <= whole::STORED
        {
            return self.run_whole(Whole::read(stored, size)?);
        }
        let stored = Buffered::new(stored, STORED_CHUNK);
        let plain = Decoder::start(self.compression, stored)?;
        self.extract(Buffered::new(plain, PLAIN_CHUNK))
    }

    fn run_whole(&self, stored: Whole) -> Result<Extracted> {
        let may_be_gzip = matches!(self.compression, None | Some(Compression::Gzip));
        if may_be_gzip && let Some(plain) = stored.inflate() {
            return self.extract(plain);
        }
        let plain = Decoder::start(self.compression, stored)?;
        self.extract(Buffered::new(plain, PLAIN_CHUNK))
    }

    /// The same, in a thread that is made for it.
    pub fn run_apart(&self, stored: &mut (impl Feed + Send), size: u64) -> Result<Extracted> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("pyd-unpack".into());
            thread
                .spawn_scoped(scope, || self.run(stored, size))
                .map_err(|error| Error::io("clone", b"a thread for unpacking", &error))?
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn run_wide(&self, stored: &mut impl Feed) -> Result<Extracted> {
        let (sender, input) = pipe(STORED_CHUNK, CHUNKS);
        let (plain_in, plain_out) = pipe(PLAIN_CHUNK, CHUNKS);
        let no_thread =
            |error: std::io::Error| Error::io("clone", b"a thread for unpacking", &error);
        std::thread::scope(|scope| {
            let thread = |name: &str| std::thread::Builder::new().name(name.into());
            let extract = thread("pyd-extract")
                .spawn_scoped(scope, || self.extract(plain_out))
                .map_err(no_thread)?;
            let inflate = thread("pyd-inflate")
                .spawn_scoped(scope, || {
                    pump(&mut Decoder::start(self.compression, input)?, plain_in)
                })
                .map_err(no_thread)?;
            pump(stored, sender)?;
            match (inflate.join(), extract.join()) {
                (Err(panic), _) | (_, Err(panic)) => std::panic::resume_unwind(panic),
                // The decoder's error is the cause of what the extractor then saw; a hang-up is the effect.
                (Ok(Err(error)), _) => Err(error),
                (Ok(Ok(_)), Ok(extracted)) => extracted,
            }
        })
    }

    fn extract(&self, plain: impl Chunks) -> Result<Extracted> {
        let mut hasher = Hasher::default();
        let mut extractor = if self.over {
            Extractor::over(self.dest)?
        } else {
            Extractor::new(self.dest)?
        };
        // A second wall around what hostile names could do. Where the kernel has none the first one stands alone.
        let _ = landlock::write_only_beneath(std::os::fd::AsFd::as_fd(extractor.tree().root()));
        let (progress, allowance) = (Arc::clone(&self.progress), Arc::clone(&self.allowance));
        let mut reader = Reader::new(Source::new(plain, &mut hasher, progress, allowance));
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
}
