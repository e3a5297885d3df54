//! One 512-byte header block.
use super::{MAX_NAME, number};
use crate::error::{Error, Result, show};

pub const BLOCK: usize = 512;

/// A block whose checksum is right.
pub struct Header(pub [u8; BLOCK]);

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Unix v7: no magic; a directory is a name that ends in a slash.
    V7,
    Ustar,
    Gnu,
}

fn text(field: &[u8]) -> &[u8] {
    let end = field
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(field.len());
    &field[..end]
}

impl Header {
    /// `offset`: of the block in the archive, for the message.
    pub fn new(block: [u8; BLOCK], offset: u64) -> Result<Self> {
        let header = Self(block);
        let stored = number::parse(&block[148..156]);
        // Bytes are unsigned by the standard, were signed in Sun's tar; the checksum field counts as spaces.
        let plain = |byte: &u8| i128::from(*byte);
        let signed = |byte: &u8| i128::from(byte.cast_signed());
        let sum = |value: fn(&u8) -> i128| -> i128 {
            block[..148].iter().map(value).sum::<i128>()
                + 8 * 32
                + block[156..].iter().map(value).sum::<i128>()
        };
        if stored != Some(sum(plain)) && stored != Some(sum(signed)) {
            return Err(Error::corrupt(format!(
                "the layer's tar is damaged at byte {offset}: a header has a wrong checksum"
            )));
        }
        Ok(header)
    }

    pub fn type_flag(&self) -> u8 {
        self.0[156]
    }

    pub fn format(&self) -> Format {
        match &self.0[257..265] {
            b"ustar  \0" => Format::Gnu,
            [b'u', b's', b't', b'a', b'r', 0, ..] => Format::Ustar,
            _ => Format::V7,
        }
    }

    /// Name with ustar's prefix. GNU and star use that room for times, so only real ustar has one.
    pub fn name(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let prefix = match self.format() {
            Format::Ustar if &self.0[508..512] != b"tar\0" => text(&self.0[345..500]),
            Format::Ustar => text(&self.0[345..476]),
            _ => b"",
        };
        if prefix.is_empty() {
            return name.to_vec();
        }
        [prefix, b"/", name].concat()
    }

    pub fn link(&self) -> Vec<u8> {
        text(&self.0[157..257]).to_vec()
    }

    pub fn mode(&self) -> Result<i128> {
        self.number(100..108, "mode")
    }

    pub fn uid(&self) -> Result<i128> {
        self.number(108..116, "owner")
    }

    pub fn gid(&self) -> Result<i128> {
        self.number(116..124, "group")
    }

    /// Bytes that follow in the archive (PAX may say more).
    pub fn size(&self) -> Result<u64> {
        let size = self.number(124..136, "size")?;
        u64::try_from(size)
            .ok()
            .filter(|&size| i64::try_from(size).is_ok())
            .ok_or_else(|| self.invalid("size"))
    }

    pub fn mtime(&self) -> Result<i128> {
        self.number(136..148, "time")
    }

    pub fn device(&self) -> Result<(i128, i128)> {
        Ok((
            self.number(329..337, "device number")?,
            self.number(337..345, "device number")?,
        ))
    }

    pub fn invalid(&self, field: &str) -> Error {
        Error::corrupt(format!(
            "layer entry {}: its {field} is not valid",
            show(&self.name())
        ))
    }

    fn number(&self, range: std::ops::Range<usize>, field: &str) -> Result<i128> {
        number::parse(&self.0[range]).ok_or_else(|| self.invalid(field))
    }
}

/// A name that came from an extension header: no NUL (system calls would end there), no more than a path may have.
pub fn checked_name(name: &[u8], what: &str) -> Result<Vec<u8>> {
    if name.contains(&0) {
        return Err(Error::corrupt(format!(
            "layer entry {}: its {what} contains a NUL byte",
            show(name)
        )));
    }
    if name.len() > MAX_NAME {
        return Err(Error::corrupt(format!(
            "layer entry {}: its {what} is longer than {MAX_NAME} bytes",
            show(name)
        )));
    }
    Ok(name.to_vec())
}
