//! A bounded pipe of byte chunks between two threads whose buffers are used again and again: the memory of a pass is
//! fixed when it starts, whatever the layer holds.
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// A buffer of fixed size of which `..length` is filled.
pub struct Chunk {
    pub buffer: Box<[u8]>,
    pub length: usize,
}

impl Chunk {
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
    };
    (sender, receiver)
}

impl ChunkSender {
    /// An empty chunk; waits until the receiver gives one back.
    pub fn empty(&mut self) -> Result<Chunk, Hangup> {
        let mut chunk = match self.empty.try_recv() {
            Ok(chunk) => chunk,
            Err(_) if self.unmade > 0 => {
                self.unmade -= 1;
                Chunk {
                    buffer: vec![0; self.size].into_boxed_slice(),
                    length: 0,
                }
            }
            Err(_) => self.empty.recv().map_err(|_| Hangup)?,
        };
        chunk.length = 0;
        Ok(chunk)
    }

    pub fn send(&self, chunk: Chunk) -> Result<(), Hangup> {
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
