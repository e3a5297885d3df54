//! A blob of the store as a pass takes it in.
use std::fs::File;
use std::io::Read;

use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::pipe::Feed;
use crate::progress::Progress;

pub struct Stored<'a> {
    file: File,
    /// For messages.
    name: &'a [u8],
    progress: &'a Progress,
    hasher: Hasher,
    read: u64,
}

impl<'a> Stored<'a> {
    pub fn new(file: File, name: &'a [u8], progress: &'a Progress) -> Self {
        Self {
            file,
            name,
            progress,
            hasher: Hasher::default(),
            read: 0,
        }
    }

    /// Of the bytes that were read: their digest, and how many they are.
    pub fn finish(self) -> (Digest, u64) {
        (self.hasher.finish(), self.read)
    }
}

impl Feed for Stored<'_> {
    fn feed(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.progress.check()?;
        let length = self
            .file
            .read(buffer)
            .map_err(|error| Error::io("read", self.name, &error))?;
        self.hasher.update(&buffer[..length]);
        self.read += length as u64;
        self.progress.add(length as u64);
        Ok(length)
    }
}
