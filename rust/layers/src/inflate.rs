//! Compressed bytes made plain, without making files of them.
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use zstd::stream::raw::{DParameter, Decoder as RawDecoder, InBuffer, Operation, OutBuffer};

use crate::decoder::{Decoder, ZSTD_WINDOW_LOG_MAX};
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::pipe::{Chunks, Feed, pipe, pump};
use crate::progress::Progress;

const CHUNK: usize = 512 << 10;
const CHUNKS: usize = 4;

/// Write the tar that is in a blob (plain, gzip or zstd by its first bytes) to `out`: its digest and length.
pub fn inflate_blob(blob: &Path, out: &mut File, progress: &Progress) -> Result<(Digest, u64)> {
    let name = blob.as_os_str().as_bytes();
    let file = File::open(blob).map_err(|error| Error::io("open", name, &error))?;
    let mut stored = Stored {
        file,
        name,
        progress,
    };
    let (sender, input) = pipe(CHUNK, CHUNKS);
    let (plain_in, mut plain) = pipe(CHUNK, CHUNKS);
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || pump(&mut stored, sender));
        let inflater = scope.spawn(move || pump(&mut Decoder::start(None, input)?, plain_in));
        let mut hasher = Hasher::default();
        let mut size = 0;
        let mut written = Ok(());
        while plain.advance()? {
            let chunk = plain.chunk();
            hasher.update(chunk);
            size += chunk.len() as u64;
            if let Err(error) = out.write_all(chunk) {
                written = Err(Error::io("write", b"the archive", &error));
                break;
            }
        }
        // Lets the others end.
        drop(plain);
        let (read, inflated) = (reader.join(), inflater.join());
        match (read, inflated) {
            (Err(panic), _) | (_, Err(panic)) => std::panic::resume_unwind(panic),
            (Ok(read), Ok(inflated)) => {
                read?;
                inflated?;
                written?;
            }
        }
        Ok((hasher.finish(), size))
    })
}

/// A blob as it is stored; nobody asks for its digest.
struct Stored<'a> {
    file: File,
    name: &'a [u8],
    progress: &'a Progress,
}

impl Feed for Stored<'_> {
    fn feed(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.progress.check()?;
        let length = self
            .file
            .read(buffer)
            .map_err(|error| Error::io("read", self.name, &error))?;
        self.progress.add(length as u64);
        Ok(length)
    }
}

/// One zstd frame that comes in pieces, with the interface of Python's bz2 and lzma decompressors.
pub struct ZstdDecoder {
    decoder: RawDecoder<'static>,
    pending: Vec<u8>,
    starved: bool,
    eof: bool,
}

impl ZstdDecoder {
    pub fn new() -> Result<Self> {
        let mut decoder = RawDecoder::new().map_err(damaged)?;
        decoder
            .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))
            .map_err(damaged)?;
        Ok(Self {
            decoder,
            pending: Vec::new(),
            starved: true,
            eof: false,
        })
    }

    /// At most `most` plain bytes. Call again with nothing as long as not `needs_input`.
    pub fn decompress(&mut self, data: &[u8], most: usize) -> Result<Vec<u8>> {
        self.pending.extend_from_slice(data);
        let mut plain = vec![0; most];
        let mut length = 0;
        let mut used = 0;
        while !self.eof && length < most {
            let mut source = InBuffer::around(&self.pending[used..]);
            let (hint, written) = {
                let mut sink = OutBuffer::around(&mut plain[length..]);
                let hint = self.decoder.run(&mut source, &mut sink).map_err(damaged)?;
                (hint, sink.pos())
            };
            let read = source.pos();
            used += read;
            length += written;
            self.eof = hint == 0 && (read > 0 || written > 0);
            if read == 0 && written == 0 {
                break;
            }
        }
        self.pending.drain(..used);
        plain.truncate(length);
        self.starved = !self.eof && length < most;
        Ok(plain)
    }

    pub fn needs_input(&self) -> bool {
        self.starved
    }

    pub fn eof(&self) -> bool {
        self.eof
    }

    /// What came after the end of the frame.
    pub fn unused(&self) -> &[u8] {
        if self.eof { &self.pending } else { b"" }
    }
}

fn damaged(error: std::io::Error) -> Error {
    Error::corrupt(format!("the zstd stream is damaged: {error}"))
}
