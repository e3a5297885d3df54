//! A small layer read as a whole before anything is made of it: most are one gzip member of a known length, which is
//! inflated at one stroke. What is not goes through the decoder, from memory.
use pyd_sys::gzip::inflate_whole;

use crate::buffer::Buffer;
use crate::error::{Error, Result};
use crate::pipe::{Chunks, Feed};
use crate::pipeline::PLAIN_CHUNK;

/// Bytes as stored up to which a layer is read as a whole, and bytes that may come out at one stroke: what each of the
/// threads that unpack may hold in memory.
pub const STORED: usize = 2 << 20;
const PLAIN: usize = 8 << 20;
/// Of a buffer, which has a power of two: layers of about the same size use the same ones.
const LEAST_ROOM: usize = 256 << 10;
/// A header of ten bytes, at least two of deflate, CRC and length (RFC 1952).
const LEAST: usize = 20;

/// Bytes in memory.
pub struct Whole {
    buffer: Buffer,
    length: usize,
    /// The current chunk.
    start: usize,
    end: usize,
}

impl Whole {
    /// All that `stored` gives: the `size` bytes that a look at it has found.
    pub fn read(stored: &mut impl Feed, size: usize) -> Result<Self> {
        // There is room for more, so that the end is seen and not supposed.
        let mut whole = Self::with_room(size + 1);
        loop {
            let read = stored.feed(&mut whole.buffer[whole.length..])?;
            whole.length += read;
            if read == 0 {
                return Ok(whole);
            }
            if whole.length == whole.buffer.len() {
                return Err(Error::corrupt(format!(
                    "the layer has grown beyond its {size} bytes while it was read: try again when nobody writes to it"
                )));
            }
        }
    }

    /// Nothing yet, and room for so many bytes.
    fn with_room(room: usize) -> Self {
        Self {
            buffer: Buffer::new(room.next_power_of_two().max(LEAST_ROOM)),
            length: 0,
            start: 0,
            end: 0,
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    /// The plain bytes of a usual gzip layer. None for anything else, damage among it: the decoder says what it is.
    pub fn inflate(&self) -> Option<Self> {
        let [0x1f, 0x8b, .., a, b, c, d] = *self.bytes() else {
            return None;
        };
        // What the trailer says; `inflate_whole` believes it only when it is so.
        let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).ok()?;
        if self.length < LEAST || length > PLAIN {
            return None;
        }
        let mut plain = Self::with_room(length);
        plain.length = length;
        inflate_whole(self.bytes(), &mut plain.buffer[..length]).then_some(plain)
    }
}

impl Chunks for Whole {
    fn advance(&mut self) -> Result<bool> {
        self.start = self.end;
        self.end = self.length.min(self.start + PLAIN_CHUNK);
        Ok(self.start < self.end)
    }

    fn chunk(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    /// Gives its bytes seven at a time.
    struct Drops<'a>(&'a [u8]);

    impl Feed for Drops<'_> {
        fn feed(&mut self, buffer: &mut [u8]) -> Result<usize> {
            let length = self.0.len().min(buffer.len()).min(7);
            let (now, later) = self.0.split_at(length);
            buffer[..length].copy_from_slice(now);
            self.0 = later;
            Ok(length)
        }
    }

    fn inflated(stored: &[u8]) -> Option<Vec<u8>> {
        let mut plain = Whole::read(&mut Drops(stored), stored.len())
            .unwrap()
            .inflate()?;
        let mut found = Vec::new();
        while plain.advance().unwrap() {
            found.extend_from_slice(plain.chunk());
        }
        Some(found)
    }

    #[test]
    fn one_member_comes_out_at_one_stroke() {
        for length in [0, 1, 511, PLAIN_CHUNK, PLAIN_CHUNK + 1, 3 * PLAIN_CHUNK] {
            let data: Vec<u8> = (0..length).map(|index| (index / 7) as u8).collect();
            assert_eq!(inflated(&gzip(&data)), Some(data));
        }
    }

    #[test]
    fn anything_else_is_for_the_decoder() {
        let one = gzip(b"the same");
        assert_eq!(inflated(&[one.clone(), one.clone()].concat()), None);
        assert_eq!(inflated(&[one.as_slice(), &[0; 512]].concat()), None);
        assert_eq!(inflated(&one[..one.len() - 1]), None);
        assert_eq!(inflated(b""), None);
        assert_eq!(inflated(b"\x1f\x8b"), None);
        let mut flipped = one.clone();
        let crc = flipped.len() - 8;
        flipped[crc] ^= 1;
        assert_eq!(inflated(&flipped), None);
        assert_eq!(inflated(&gzip(&vec![0; PLAIN + 1])), None);
    }

    #[test]
    fn what_grows_meanwhile_is_not_cut_off() {
        let full = vec![7; LEAST_ROOM];
        let read = |size| Whole::read(&mut Drops(&full), size);
        assert_eq!(read(full.len()).unwrap().bytes(), full);
        let Err(error) = read(full.len() - 1) else {
            panic!("it was cut off");
        };
        assert!(
            error
                .to_string()
                .contains("has grown beyond its 262143 bytes"),
            "{error}"
        );
    }

    #[test]
    fn a_length_that_lies_is_not_believed() {
        for said in [0_u32, 7, 9, PLAIN as u32, u32::MAX] {
            let mut lying = gzip(b"8 bytes.");
            let trailer = lying.len() - 4;
            lying[trailer..].copy_from_slice(&said.to_le_bytes());
            assert_eq!(inflated(&lying), None, "{said}");
        }
    }
}
