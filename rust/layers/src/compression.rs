//! The compression of a layer: named by its media type, shown by its first bytes.
use std::str::FromStr;

use crate::error::{Error, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    Plain,
    Gzip,
    Zstd,
}

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

    pub fn name(self) -> &'static str {
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
