//! The compression of a layer: named by its media type, shown by its first bytes, undone in a stream.
use std::str::FromStr;

use std::sync::{Mutex, PoisonError};

use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use crate::error::{Error, Result};
use crate::pipe::{Chunk, ChunkReceiver, ChunkSender, Hangup};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    Plain,
    Gzip,
    Zstd,
}

/// image-spec, descriptor.md and RFC 8878 3.1.1.1.2: 128 MiB is what a decoder of reasonable means accepts. A larger
/// window is a memory bomb.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// What usual levels of compression use. Only one layer at a time may have a larger window: an image with several
/// of them is not to need several times as much memory.
const USUAL_WINDOW: u64 = 8 << 20;
static LARGE_WINDOW: Mutex<()> = Mutex::new(());

impl Compression {
    /// From a media type of OCI or Docker; None for "", which leaves the choice to the bytes.
    pub fn from_media_type(media_type: &str) -> Result<Option<Self>> {
        let unsupported =
            || Error::Unsupported(format!("unsupported layer media type {media_type:?}"));
        if media_type.is_empty() {
            return Ok(None);
        }
        let suffix = [
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.layer.nondistributable.v1.tar",
            "application/vnd.docker.image.rootfs.diff.tar",
            "application/vnd.docker.image.rootfs.foreign.diff.tar",
        ]
        .iter()
        .find_map(|prefix| media_type.strip_prefix(prefix))
        .ok_or_else(unsupported)?;
        match suffix {
            "" => Ok(Some(Self::Plain)),
            "+gzip" | ".gzip" => Ok(Some(Self::Gzip)),
            "+zstd" | ".zstd" => Ok(Some(Self::Zstd)),
            _ => Err(unsupported()),
        }
    }

    /// From the first bytes of the blob.
    pub fn from_magic(bytes: &[u8]) -> Result<Self> {
        match bytes {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Self::Zstd),
            // A skippable frame, RFC 8878 3.1.2: zstd:chunked and seekable writers may begin with one.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Err(unsupported_format("xz")),
            [b'B', b'Z', b'h', ..] => Err(unsupported_format("bzip2")),
            _ => Ok(Self::Plain),
        }
    }

    /// For layers that are made here: fast enough that two cores keep up with a disk.
    pub fn default_level(self) -> i32 {
        match self {
            Self::Plain => 0,
            Self::Gzip => 3,
            Self::Zstd => 3,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "an uncompressed tar",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// "gzip", "zstd", and "" for none.
impl FromStr for Compression {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "" => Ok(Self::Plain),
            "gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            _ => Err(Error::Invalid(format!(
                "unknown compression {text:?}: gzip, zstd or none"
            ))),
        }
    }
}

fn unsupported_format(name: &str) -> Error {
    Error::Unsupported(format!(
        "layers compressed with {name} are not supported: use gzip or zstd"
    ))
}

/// Undo the compression of everything from `input` into `output`. Ok(false): the receiver of `output` has gone.
pub fn decompress(
    declared: Option<Compression>,
    input: &ChunkReceiver,
    output: ChunkSender,
) -> Result<bool> {
    let Some(first) = input.next() else {
        return Err(Error::corrupt("the layer is empty (0 bytes)"));
    };
    let found = Compression::from_magic(first.filled())?;
    if let Some(declared) = declared
        && declared != found
    {
        return Err(Error::corrupt(format!(
            "the layer is declared as {} but its bytes are {}",
            declared.name(),
            found.name()
        )));
    }
    let chunks = Chunks {
        input,
        next: Some(first),
    };
    let mut output = Output {
        sender: output,
        chunk: None,
    };
    let result = match found {
        Compression::Plain => copy(chunks, &mut output),
        Compression::Gzip => gunzip(chunks, &mut output),
        Compression::Zstd => unzstd(chunks, &mut output),
    };
    match result.and_then(|()| output.flush().map_err(Stop::from)) {
        Ok(()) => Ok(true),
        Err(Stop::Hangup) => Ok(false),
        Err(Stop::Error(error)) => Err(error),
    }
}

enum Stop {
    Hangup,
    Error(Error),
}

impl From<Hangup> for Stop {
    fn from(_: Hangup) -> Self {
        Self::Hangup
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// The first chunk, which was looked at, and the rest.
struct Chunks<'a> {
    input: &'a ChunkReceiver,
    next: Option<Chunk>,
}

impl Chunks<'_> {
    fn next(&mut self) -> Option<Chunk> {
        self.next.take().or_else(|| self.input.next())
    }
}

/// The chunk being filled, sent on when it is full.
struct Output {
    sender: ChunkSender,
    chunk: Option<Chunk>,
}

impl Output {
    fn chunk(&mut self) -> std::result::Result<&mut Chunk, Hangup> {
        if let Some(full) = self.chunk.take_if(|chunk| chunk.room() == 0) {
            self.sender.send(full)?;
        }
        if self.chunk.is_none() {
            self.chunk = Some(self.sender.empty()?);
        }
        self.chunk.as_mut().ok_or(Hangup)
    }

    fn flush(&mut self) -> std::result::Result<(), Hangup> {
        match self.chunk.take() {
            Some(chunk) if chunk.length > 0 => self.sender.send(chunk),
            _ => Ok(()),
        }
    }
}

fn copy(mut input: Chunks<'_>, output: &mut Output) -> std::result::Result<(), Stop> {
    while let Some(chunk) = input.next() {
        let mut data = chunk.filled();
        while !data.is_empty() {
            let taken = output.chunk()?.extend(data);
            data = &data[taken..];
        }
        input.input.give_back(chunk);
    }
    Ok(())
}

/// RFC 1952: one or more members, each with its CRC and length checked. Zero bytes after the last are padding (tape
/// blocks); anything else is refused, as Go does, where gzip(1) would warn.
fn gunzip(mut input: Chunks<'_>, output: &mut Output) -> std::result::Result<(), Stop> {
    let damaged =
        |error| Error::corrupt(format!("the gzip stream of the layer is damaged: {error}"));
    let mut decoder = Decompress::new_gzip(15);
    let mut in_member = true;
    let mut padding = false;
    while let Some(chunk) = input.next() {
        let mut data = chunk.filled();
        while !data.is_empty() {
            if !in_member {
                if data[0] == 0 {
                    padding = true;
                    data = &data[1..];
                    continue;
                }
                if padding {
                    return Err(
                        Error::corrupt("garbage after the end of the layer's gzip stream").into(),
                    );
                }
                // `reset` would make it expect raw deflate.
                decoder = Decompress::new_gzip(15);
                in_member = true;
            }
            let target = output.chunk()?;
            let (read_before, written_before) = (decoder.total_in(), decoder.total_out());
            let status = decoder
                .decompress(
                    data,
                    &mut target.buffer[target.length..],
                    FlushDecompress::None,
                )
                .map_err(damaged)?;
            let read = (decoder.total_in() - read_before) as usize;
            let written = (decoder.total_out() - written_before) as usize;
            target.length += written;
            data = &data[read..];
            match status {
                Status::StreamEnd => in_member = false,
                _ if read == 0 && written == 0 => {
                    return Err(Error::corrupt(
                        "the gzip stream of the layer is damaged: no progress",
                    )
                    .into());
                }
                _ => {}
            }
        }
        input.input.give_back(chunk);
    }
    // Output may still be pending inside the decoder when the input ended exactly with a full chunk.
    while in_member {
        let target = output.chunk()?;
        let written_before = decoder.total_out();
        let status = decoder
            .decompress(
                &[],
                &mut target.buffer[target.length..],
                FlushDecompress::None,
            )
            .unwrap_or(Status::BufError);
        let written = (decoder.total_out() - written_before) as usize;
        target.length += written;
        match status {
            Status::StreamEnd => in_member = false,
            _ if written == 0 => {
                return Err(
                    Error::corrupt("the layer is truncated: its gzip stream ends early").into(),
                );
            }
            _ => {}
        }
    }
    Ok(())
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
fn unzstd(mut input: Chunks<'_>, output: &mut Output) -> std::result::Result<(), Stop> {
    let damaged = |error: std::io::Error| {
        Error::corrupt(format!("the zstd stream of the layer is damaged: {error}"))
    };
    let mut decoder = Decoder::new().map_err(damaged)?;
    decoder
        .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))
        .map_err(damaged)?;
    let large = input
        .next
        .as_ref()
        .is_some_and(|chunk| window(chunk.filled()) > USUAL_WINDOW);
    let _only_one = large.then(|| LARGE_WINDOW.lock().unwrap_or_else(PoisonError::into_inner));
    // What the decoder still wants: 0 exactly between two frames.
    let mut wanted = 0;
    while let Some(chunk) = input.next() {
        let mut source = InBuffer::around(chunk.filled());
        loop {
            let target = output.chunk()?;
            let start = target.length;
            let room = target.room();
            let (hint, written) = {
                let mut sink = OutBuffer::around(&mut target.buffer[start..]);
                let hint = decoder.run(&mut source, &mut sink).map_err(damaged)?;
                (hint, sink.pos())
            };
            target.length += written;
            wanted = hint;
            // A sink that is full may hide more output that needs no further input; at the end of a frame nothing
            // is hidden, and asking again would begin a frame that does not come.
            if source.pos() == chunk.length && (hint == 0 || written < room) {
                break;
            }
        }
        input.input.give_back(chunk);
    }
    if wanted != 0 {
        return Err(Error::corrupt("the layer is truncated: its zstd stream ends early").into());
    }
    Ok(())
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
