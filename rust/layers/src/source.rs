//! The uncompressed layer as the tar reader sees it: hashed as it passes.
use std::io::{self, BufRead, Read};
use std::sync::Arc;

use crate::allowance::Allowance;
use crate::digest::Hasher;
use crate::pipe::Chunks;
use crate::progress::Progress;

pub struct Source<'a, C> {
    input: C,
    used: usize,
    hasher: &'a mut Hasher,
    progress: Arc<Progress>,
    allowance: Arc<Allowance>,
}

impl<'a, C: Chunks> Source<'a, C> {
    pub fn new(
        input: C,
        hasher: &'a mut Hasher,
        progress: Arc<Progress>,
        allowance: Arc<Allowance>,
    ) -> Self {
        Self {
            input,
            used: 0,
            hasher,
            progress,
            allowance,
        }
    }
}

impl<C: Chunks> BufRead for Source<'_, C> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.input.chunk().len() {
            self.progress.check().map_err(io::Error::other)?;
            self.used = 0;
            if self.input.advance().map_err(io::Error::other)? {
                let chunk = self.input.chunk();
                self.allowance
                    .take(chunk.len() as u64)
                    .map_err(io::Error::other)?;
                self.hasher.update(chunk);
            }
        }
        Ok(&self.input.chunk()[self.used..])
    }

    fn consume(&mut self, amount: usize) {
        self.used += amount;
    }
}

impl<C: Chunks> Read for Source<'_, C> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}
