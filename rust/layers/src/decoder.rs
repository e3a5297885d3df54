//! The compression of a layer undone, in a stream.
use std::sync::{Mutex, MutexGuard, PoisonError};

use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, InBuffer, Operation, OutBuffer};

use crate::compression::Compression;
use crate::error::{Error, Result};
use crate::pipe::{Chunks, Feed};

/// image-spec, descriptor.md and RFC 8878 3.1.1.1.2: 128 MiB is what a decoder of reasonable means accepts. A larger
/// window is a memory bomb.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// What usual levels of compression use. Only one layer at a time may have a larger window: an image with several
/// of them is not to need several times as much memory.
const USUAL_WINDOW: u64 = 8 << 20;
static LARGE_WINDOW: Mutex<()> = Mutex::new(());

/// The plain bytes of what comes in chunks.
pub struct Decoder<C> {
    input: C,
    /// Bytes of the chunk that are done with.
    used: usize,
    ended: bool,
    format: Format,
}

enum Format {
    Plain,
    Gzip(Gzip),
    Zstd(Zstd),
}

impl<C: Chunks> Decoder<C> {
    /// Waits for the first chunk, whose bytes say what the compression is; it must be `declared` if anything is.
    pub fn start(declared: Option<Compression>, mut input: C) -> Result<Self> {
        if !input.advance()? {
            return Err(Error::corrupt("the layer is empty (0 bytes)"));
        }
        let found = Compression::from_magic(input.chunk())?;
        if let Some(declared) = declared
            && declared != found
        {
            return Err(Error::corrupt(format!(
                "the layer is declared as {} but its bytes are {}",
                declared.name(),
                found.name()
            )));
        }
        let format = match found {
            Compression::Plain => Format::Plain,
            Compression::Gzip => Format::Gzip(Gzip::new()),
            Compression::Zstd => Format::Zstd(Zstd::new(input.chunk())?),
        };
        Ok(Self {
            input,
            used: 0,
            ended: false,
            format,
        })
    }
}

impl<C: Chunks> Feed for Decoder<C> {
    /// Fills the whole buffer as long as there are bytes.
    fn feed(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            if self.used == self.input.chunk().len() && !self.ended {
                self.used = 0;
                self.ended = !self.input.advance()?;
            }
            let data = &self.input.chunk()[self.used..];
            let target = &mut buffer[filled..];
            let (read, written) = match &mut self.format {
                Format::Plain => copy(data, target),
                Format::Gzip(gzip) if self.ended => (0, gzip.rest(target)?),
                Format::Gzip(gzip) => gzip.step(data, target)?,
                Format::Zstd(zstd) if self.ended => (0, zstd.rest(target)?),
                Format::Zstd(zstd) => zstd.step(data, target)?,
            };
            self.used += read;
            filled += written;
            if self.ended && written == 0 {
                break;
            }
        }
        Ok(filled)
    }
}

fn copy(data: &[u8], target: &mut [u8]) -> (usize, usize) {
    let length = data.len().min(target.len());
    target[..length].copy_from_slice(&data[..length]);
    (length, length)
}

/// RFC 1952: one or more members, each with its CRC and length checked. Zero bytes after the last are padding (tape
/// blocks); anything else is refused, as Go does, where gzip(1) would warn.
struct Gzip {
    decoder: Decompress,
    in_member: bool,
    padding: bool,
}

impl Gzip {
    fn new() -> Self {
        Self {
            decoder: Decompress::new_gzip(15),
            in_member: true,
            padding: false,
        }
    }

    /// (bytes read, bytes written); neither `data` nor `target` is empty.
    fn step(&mut self, data: &[u8], target: &mut [u8]) -> Result<(usize, usize)> {
        if !self.in_member {
            let zeros = data.iter().take_while(|&&byte| byte == 0).count();
            if zeros > 0 {
                self.padding = true;
                return Ok((zeros, 0));
            }
            if self.padding {
                return Err(Error::corrupt(
                    "garbage after the end of the layer's gzip stream",
                ));
            }
            // `reset` would make it expect raw deflate.
            *self = Self::new();
        }
        let (read, written, status) = self.run(data, target).map_err(|error| {
            Error::corrupt(format!("the gzip stream of the layer is damaged: {error}"))
        })?;
        if status != Status::StreamEnd && read == 0 && written == 0 {
            return Err(Error::corrupt(
                "the gzip stream of the layer is damaged: no progress",
            ));
        }
        Ok((read, written))
    }

    /// Output may still be pending inside the decoder when the input ended exactly with a full buffer.
    fn rest(&mut self, target: &mut [u8]) -> Result<usize> {
        if !self.in_member {
            return Ok(0);
        }
        let (_, written, status) = self.run(&[], target).unwrap_or((0, 0, Status::BufError));
        if status != Status::StreamEnd && written == 0 {
            return Err(Error::corrupt(
                "the layer is truncated: its gzip stream ends early",
            ));
        }
        Ok(written)
    }

    fn run(
        &mut self,
        data: &[u8],
        target: &mut [u8],
    ) -> std::result::Result<(usize, usize, Status), flate2::DecompressError> {
        let (read, written) = (self.decoder.total_in(), self.decoder.total_out());
        let status = self
            .decoder
            .decompress(data, target, FlushDecompress::None)?;
        if status == Status::StreamEnd {
            self.in_member = false;
        }
        Ok((
            (self.decoder.total_in() - read) as usize,
            (self.decoder.total_out() - written) as usize,
            status,
        ))
    }
}

/// How many bytes a decoder of the zstd frame that begins here must remember, RFC 8878 3.1.1.1; 0 when the bytes do not
/// say. A frame of a single segment needs its whole content, of which the size is given.
fn window(frame: &[u8]) -> u64 {
    let [0x28, 0xb5, 0x2f, 0xfd, descriptor, rest @ ..] = frame else {
        return 0;
    };
    if descriptor & 0x20 == 0 {
        let Some(&window) = rest.first() else {
            return 0;
        };
        let base = 1_u64 << (10 + (window >> 3));
        return base + base / 8 * u64::from(window & 7);
    }
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let length = [1, 2, 4, 8][usize::from(descriptor >> 6)];
    let mut size = [0; 8];
    match rest.get(dictionary..dictionary + length) {
        Some(bytes) => size[..length].copy_from_slice(bytes),
        None => return 0,
    }
    u64::from_le_bytes(size) + if length == 2 { 256 } else { 0 }
}

/// RFC 8878: frames and skippable frames, one after the other.
struct Zstd {
    decoder: zstd::stream::raw::Decoder<'static>,
    /// What the decoder still wants: 0 exactly between two frames.
    wanted: usize,
    _only_one: Option<MutexGuard<'static, ()>>,
}

impl Zstd {
    /// `first`: the bytes that the layer begins with.
    fn new(first: &[u8]) -> Result<Self> {
        let mut decoder = zstd::stream::raw::Decoder::new().map_err(damaged)?;
        decoder
            .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))
            .map_err(damaged)?;
        let large = window(first) > USUAL_WINDOW;
        Ok(Self {
            decoder,
            wanted: 0,
            _only_one: large.then(|| LARGE_WINDOW.lock().unwrap_or_else(PoisonError::into_inner)),
        })
    }

    /// (bytes read, bytes written)
    fn step(&mut self, data: &[u8], target: &mut [u8]) -> Result<(usize, usize)> {
        let mut source = InBuffer::around(data);
        let mut sink = OutBuffer::around(target);
        self.wanted = self.decoder.run(&mut source, &mut sink).map_err(damaged)?;
        let written = sink.pos();
        Ok((source.pos(), written))
    }

    /// A target that was full may have left output behind that needs no further input. At the end of a frame nothing
    /// is left, and asking again would begin a frame that does not come.
    fn rest(&mut self, target: &mut [u8]) -> Result<usize> {
        if self.wanted == 0 {
            return Ok(0);
        }
        let (_, written) = self.step(&[], target)?;
        if self.wanted != 0 && written == 0 {
            return Err(Error::corrupt(
                "the layer is truncated: its zstd stream ends early",
            ));
        }
        Ok(written)
    }
}

fn damaged(error: std::io::Error) -> Error {
    Error::corrupt(format!("the zstd stream of the layer is damaged: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::window;

    #[test]
    fn the_window_is_read_from_the_frame() {
        for log in [10, 20, 23, 27] {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(log).unwrap();
            encoder.write_all(&[7; 3000]).unwrap();
            assert_eq!(window(&encoder.finish().unwrap()), 1 << log);
        }
        for length in [10, 300, 70_000, 20_000_000] {
            let mut encoder = zstd::bulk::Compressor::new(1).unwrap();
            encoder.include_contentsize(true).unwrap();
            let frame = encoder.compress(&vec![7; length]).unwrap();
            // One segment, or a window that the level has.
            let found = window(&frame);
            assert!(found == length as u64 || found.is_power_of_two(), "{found}");
        }
        assert_eq!(window(b"\x1f\x8b"), 0);
        assert_eq!(window(b"\x28\xb5\x2f\xfd"), 0);
        assert_eq!(window(b"\x28\xb5\x2f\xfd\xe0"), 0);
    }
}
