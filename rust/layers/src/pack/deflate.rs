//! Compression of a stream in blocks on all cores. Every block is compressed by itself, so that the result does not
//! depend on how many threads there are or which was faster.
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use flate2::{Compress, Compression as Level, Crc, FlushCompress, Status};
use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

use crate::compression::Compression;
use crate::error::{Error, Result};
use crate::pipe::Chunk;

/// More threads than this wait for the one that reads and hashes.
const MAX_THREADS: usize = 16;

pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get().min(MAX_THREADS))
}

struct Block {
    chunk: Chunk,
    bytes: Vec<u8>,
    crc: Crc,
}

/// Blocks in, the same blocks out, in order, with their compressed bytes.
pub struct Deflater {
    format: Compression,
    workers: Vec<Worker>,
    /// Numbers of the workers that hold a block, oldest first.
    busy: VecDeque<usize>,
    next: usize,
    crc: Crc,
}

struct Worker {
    input: SyncSender<Chunk>,
    output: Receiver<Result<Block>>,
    thread: JoinHandle<()>,
}

impl Deflater {
    /// Plain blocks need no worker.
    pub fn new(format: Compression, level: i32, threads: usize) -> Result<Self> {
        let count = if format == Compression::Plain {
            0
        } else {
            threads.max(1)
        };
        let workers = (0..count).map(|_| Worker::start(format, level));
        Ok(Self {
            format,
            workers: workers.collect::<Result<_>>()?,
            busy: VecDeque::new(),
            next: 0,
            crc: Crc::new(),
        })
    }

    /// Blocks are then not for `push`: they are written as they are.
    pub fn is_plain(&self) -> bool {
        self.format == Compression::Plain
    }

    /// RFC 1952: no name, no time, unknown system.
    pub fn head(&self) -> &'static [u8] {
        match self.format {
            Compression::Gzip => &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255],
            Compression::Plain | Compression::Zstd => b"",
        }
    }

    /// The end of the last deflate block, then checksum and length.
    pub fn tail(&self) -> Vec<u8> {
        match self.format {
            Compression::Gzip => {
                let mut tail = vec![3, 0];
                tail.extend(self.crc.sum().to_le_bytes());
                tail.extend(self.crc.amount().to_le_bytes());
                tail
            }
            Compression::Plain | Compression::Zstd => Vec::new(),
        }
    }

    /// Takes a block; gives back the oldest one with its bytes when enough are under way.
    pub fn push(&mut self, chunk: Chunk) -> Result<Option<(Chunk, Vec<u8>)>> {
        // Each worker has one block at hand and one waiting.
        let oldest = if self.busy.len() == 2 * self.workers.len() {
            self.pop()?
        } else {
            None
        };
        self.workers[self.next]
            .input
            .send(chunk)
            .map_err(|_| Error::Cancelled)?;
        self.busy.push_back(self.next);
        self.next = (self.next + 1) % self.workers.len();
        Ok(oldest)
    }

    /// The oldest block; None when none is left.
    pub fn pop(&mut self) -> Result<Option<(Chunk, Vec<u8>)>> {
        let Some(number) = self.busy.pop_front() else {
            return Ok(None);
        };
        let block = self.workers[number]
            .output
            .recv()
            .map_err(|_| Error::Cancelled)??;
        self.crc.combine(&block.crc);
        Ok(Some((block.chunk, block.bytes)))
    }
}

impl Drop for Deflater {
    fn drop(&mut self) {
        for worker in self.workers.drain(..) {
            drop((worker.input, worker.output));
            let _ = worker.thread.join();
        }
    }
}

impl Worker {
    fn start(format: Compression, level: i32) -> Result<Self> {
        let (input, chunks) = sync_channel::<Chunk>(2);
        let (blocks, output) = sync_channel(2);
        let thread = std::thread::Builder::new()
            .name("pyd-deflate".into())
            .spawn(move || {
                let mut coder = match Coder::new(format, level) {
                    Ok(coder) => coder,
                    Err(error) => {
                        let _ = blocks.send(Err(error));
                        return;
                    }
                };
                while let Ok(chunk) = chunks.recv() {
                    if blocks.send(coder.block(chunk)).is_err() {
                        return;
                    }
                }
            })
            .map_err(|error| Error::io("clone", b"a thread for compressing", &error))?;
        Ok(Self {
            input,
            output,
            thread,
        })
    }
}

enum Coder {
    Gzip(Compress),
    Zstd(Compressor<'static>),
}

impl Coder {
    fn new(format: Compression, level: i32) -> Result<Self> {
        if format != Compression::Zstd {
            let level = Level::new(u32::try_from(level.clamp(1, 9)).unwrap_or(1));
            return Ok(Self::Gzip(Compress::new(level, false)));
        }
        let failed = |error| Error::Invalid(format!("zstd level {level}: {error}"));
        let mut compressor = Compressor::new(level).map_err(failed)?;
        compressor
            .set_parameter(CParameter::ChecksumFlag(true))
            .map_err(failed)?;
        Ok(Self::Zstd(compressor))
    }

    fn block(&mut self, chunk: Chunk) -> Result<Block> {
        let mut crc = Crc::new();
        let bytes = match self {
            Self::Gzip(coder) => {
                crc.update(chunk.filled());
                deflate(coder, chunk.filled())?
            }
            Self::Zstd(coder) => coder
                .compress(chunk.filled())
                .map_err(|error| Error::Invalid(format!("zstd: {error}")))?,
        };
        Ok(Block { chunk, bytes, crc })
    }
}

/// One block of a deflate stream, ended on a whole byte and not the last (zlib's Z_SYNC_FLUSH).
fn deflate(coder: &mut Compress, plain: &[u8]) -> Result<Vec<u8>> {
    coder.reset();
    let mut bytes = Vec::with_capacity(plain.len() / 2 + 64);
    loop {
        let read = usize::try_from(coder.total_in()).unwrap_or(usize::MAX);
        let status = coder
            .compress_vec(&plain[read..], &mut bytes, FlushCompress::Sync)
            .map_err(|error| Error::Invalid(format!("deflate: {error}")))?;
        // All is out only when it did not fill the room that it had.
        if coder.total_in() == plain.len() as u64 && bytes.len() < bytes.capacity() {
            return Ok(bytes);
        }
        if status == Status::StreamEnd {
            return Err(Error::Invalid("deflate: the stream ended early".into()));
        }
        bytes.reserve(plain.len() / 4 + 64);
    }
}
