//! Compressed bytes made plain, without making files of them.
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use crate::compression::{ZSTD_WINDOW_LOG_MAX, decompress};
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::pipe::{ChunkSender, Hangup, pipe};
use crate::progress::Progress;

const CHUNK: usize = 512 << 10;
const CHUNKS: usize = 4;

/// Write the tar that is in a blob (plain, gzip or zstd by its first bytes) to `out`: its digest and length.
pub fn inflate_blob(blob: &Path, out: &mut File, progress: &Progress) -> Result<(Digest, u64)> {
    let name = blob.as_os_str().as_bytes();
    let mut file = File::open(blob).map_err(|error| Error::io("open", name, &error))?;
    let (sender, stored) = pipe(CHUNK, CHUNKS);
    let (plain_in, plain) = pipe(CHUNK, CHUNKS);
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || feed(&mut file, sender, progress, name));
        let inflater = scope.spawn(move || decompress(None, &stored, plain_in));
        let mut hasher = Hasher::default();
        let mut size = 0;
        let mut written = Ok(());
        while let Some(chunk) = plain.next() {
            hasher.update(chunk.filled());
            size += chunk.length as u64;
            if let Err(error) = out.write_all(chunk.filled()) {
                written = Err(Error::io("write", b"the archive", &error));
                break;
            }
            plain.give_back(chunk);
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

/// The inflater that has gone says why itself.
fn feed(file: &mut File, mut sender: ChunkSender, progress: &Progress, name: &[u8]) -> Result<()> {
    while let Ok(mut chunk) = sender.empty() {
        progress.check()?;
        chunk.length = file
            .read(&mut chunk.buffer)
            .map_err(|error| Error::io("read", name, &error))?;
        progress.add(chunk.length as u64);
        if chunk.length == 0 {
            break;
        }
        if let Err(Hangup) = sender.send(chunk) {
            break;
        }
    }
    Ok(())
}

/// One zstd frame that comes in pieces, with the interface of Python's bz2 and lzma decompressors.
pub struct ZstdDecoder {
    decoder: Decoder<'static>,
    pending: Vec<u8>,
    starved: bool,
    eof: bool,
}

impl ZstdDecoder {
    pub fn new() -> Result<Self> {
        let mut decoder = Decoder::new().map_err(damaged)?;
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
