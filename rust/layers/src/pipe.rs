//! Chunks of bytes on their way from thread to thread, or from one step to the next of the same thread. Their buffers
//! are used again and again: the memory of a pass is fixed when it starts, whatever the layer holds.
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use crate::buffer::Buffer;
use crate::error::Result;

/// Bytes that are asked for.
pub trait Feed {
    /// Puts the next bytes at the beginning of `buffer` and says how many; 0 is the end.
    fn feed(&mut self, buffer: &mut [u8]) -> Result<usize>;
}

impl<F: Feed> Feed for &mut F {
    fn feed(&mut self, buffer: &mut [u8]) -> Result<usize> {
        (**self).feed(buffer)
    }
}

/// Bytes chunk by chunk.
pub trait Chunks {
    /// Goes on to the next chunk; false at the end.
    fn advance(&mut self) -> Result<bool>;

    /// The bytes of the chunk; none before the first and after the last.
    fn chunk(&self) -> &[u8];
}

/// A buffer of fixed size of which `..length` is filled.
pub struct Chunk {
    pub buffer: Buffer,
    pub length: usize,
}

impl Chunk {
    fn new(size: usize) -> Self {
        Self {
            buffer: Buffer::new(size),
            length: 0,
        }
    }

    pub fn filled(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    pub fn room(&self) -> usize {
        self.buffer.len() - self.length
    }

    /// Take as much of `data` as fits; returns how much.
    pub fn extend(&mut self, data: &[u8]) -> usize {
        let taken = data.len().min(self.room());
        self.buffer[self.length..self.length + taken].copy_from_slice(&data[..taken]);
        self.length += taken;
        taken
    }
}

/// The chunks of a feed, made in the thread that wants them.
pub struct Buffered<F> {
    from: F,
    chunk: Chunk,
}

impl<F: Feed> Buffered<F> {
    pub fn new(from: F, size: usize) -> Self {
        Self {
            from,
            chunk: Chunk::new(size),
        }
    }
}

impl<F: Feed> Chunks for Buffered<F> {
    fn advance(&mut self) -> Result<bool> {
        self.chunk.length = 0;
        self.chunk.length = self.from.feed(&mut self.chunk.buffer)?;
        Ok(self.chunk.length > 0)
    }

    fn chunk(&self) -> &[u8] {
        self.chunk.filled()
    }
}

/// The other end is gone; why is for its thread to say.
#[derive(Debug)]
pub struct Hangup;

pub struct ChunkSender {
    full: SyncSender<Chunk>,
    empty: Receiver<Chunk>,
    size: usize,
    unmade: usize,
}

pub struct ChunkReceiver {
    full: Receiver<Chunk>,
    empty: Sender<Chunk>,
    current: Option<Chunk>,
}

/// At most `count` chunks of `size` bytes exist.
pub fn pipe(size: usize, count: usize) -> (ChunkSender, ChunkReceiver) {
    let (full_in, full_out) = sync_channel(count);
    let (empty_in, empty_out) = channel();
    let sender = ChunkSender {
        full: full_in,
        empty: empty_out,
        size,
        unmade: count,
    };
    let receiver = ChunkReceiver {
        full: full_out,
        empty: empty_in,
        current: None,
    };
    (sender, receiver)
}

/// Send everything from `from`; false when the receiver has gone.
pub fn pump(from: &mut impl Feed, mut to: ChunkSender) -> Result<bool> {
    while let Ok(mut chunk) = to.empty() {
        chunk.length = from.feed(&mut chunk.buffer)?;
        if chunk.length == 0 {
            return Ok(true);
        }
        if let Err(Hangup) = to.send(chunk) {
            break;
        }
    }
    Ok(false)
}

impl ChunkSender {
    /// An empty chunk; waits until the receiver gives one back.
    pub fn empty(&mut self) -> std::result::Result<Chunk, Hangup> {
        let mut chunk = match self.empty.try_recv() {
            Ok(chunk) => chunk,
            Err(_) if self.unmade > 0 => {
                self.unmade -= 1;
                Chunk::new(self.size)
            }
            Err(_) => self.empty.recv().map_err(|_| Hangup)?,
        };
        chunk.length = 0;
        Ok(chunk)
    }

    pub fn send(&self, chunk: Chunk) -> std::result::Result<(), Hangup> {
        self.full.send(chunk).map_err(|_| Hangup)
    }
}

impl ChunkReceiver {
    /// The next chunk, or None when the sender is gone.
    pub fn next(&self) -> Option<Chunk> {
        self.full.recv().ok()
    }

    pub fn give_back(&self, chunk: Chunk) {
        // A sender that is gone needs no buffer.
        let _ = self.empty.send(chunk);
    }
}

impl Chunks for ChunkReceiver {
    fn advance(&mut self) -> Result<bool> {
        if let Some(used_up) = self.current.take() {
            self.give_back(used_up);
        }
        self.current = self.next();
        Ok(self.current.is_some())
    }

    fn chunk(&self) -> &[u8] {
        self.current.as_ref().map_or(&[], Chunk::filled)
    }
}
