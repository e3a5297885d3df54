//! The uncompressed layer as the tar reader sees it: hashed as it passes.
use std::io::{self, BufRead, Read};
use std::sync::Arc;

use crate::allowance::Allowance;
use crate::digest::Hasher;
use crate::pipe::{Chunk, ChunkReceiver};
use crate::progress::Progress;

pub struct Source<'a> {
    input: ChunkReceiver,
    chunk: Option<Chunk>,
    used: usize,
    hasher: &'a mut Hasher,
    progress: Arc<Progress>,
    allowance: Arc<Allowance>,
}

impl<'a> Source<'a> {
    pub fn new(
        input: ChunkReceiver,
        hasher: &'a mut Hasher,
        progress: Arc<Progress>,
        allowance: Arc<Allowance>,
    ) -> Self {
        Self {
            input,
            chunk: None,
            used: 0,
            hasher,
            progress,
            allowance,
        }
    }
}

impl BufRead for Source<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if let Some(used_up) = self.chunk.take_if(|chunk| self.used == chunk.length) {
            self.input.give_back(used_up);
        }
        if self.chunk.is_none() {
            self.progress.check().map_err(io::Error::other)?;
            self.used = 0;
            self.chunk = self.input.next();
            if let Some(chunk) = &self.chunk {
                self.allowance
                    .take(chunk.length as u64)
                    .map_err(io::Error::other)?;
                self.hasher.update(chunk.filled());
            }
        }
        Ok(self
            .chunk
            .as_ref()
            .map_or(&[], |chunk| &chunk.filled()[self.used..]))
    }

    fn consume(&mut self, amount: usize) {
        self.used += amount;
    }
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}
