//! PAX extended headers: records "length key=value\n", POSIX.1 pax "pax Extended Header".
use super::header::checked_name;
use super::{MAX_XATTRS, number};
use crate::error::{Error, Result, show};

/// What the extended header of one entry says; None where it says nothing.
#[derive(Debug, Default)]
pub struct Pax {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub mtime: Option<(i64, u32)>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub sparse: SparsePax,
}

/// GNU tar's three ways to describe a sparse file, manual "PAX Format, Versions 0.0 .. 1.0".
#[derive(Debug, Default)]
pub struct SparsePax {
    pub major: Option<u64>,
    pub minor: Option<u64>,
    pub name: Option<Vec<u8>>,
    /// GNU.sparse.size (0.0, 0.1) or GNU.sparse.realsize (1.0).
    pub real_size: Option<u64>,
    /// (offset, length) from GNU.sparse.offset and .numbytes (0.0) or GNU.sparse.map (0.1).
    pub map: Option<Vec<u64>>,
}

pub fn bad(what: impl std::fmt::Display) -> Error {
    Error::corrupt(format!("the layer's tar is damaged: a PAX header {what}"))
}

impl Pax {
    pub fn parse(mut records: &[u8]) -> Result<Self> {
        let mut pax = Self::default();
        let mut xattr_bytes = 0;
        while !records.is_empty() {
            let (key, value, rest) = record(records)?;
            records = rest;
            match key {
                b"path" => pax.path = name(value, "name")?,
                b"linkpath" => pax.link = name(value, "link target")?,
                b"size" => pax.size = number(value, "size")?,
                b"uid" => pax.uid = owner(value)?,
                b"gid" => pax.gid = owner(value)?,
                b"mtime" => pax.mtime = time(value)?,
                b"GNU.sparse.major" => pax.sparse.major = number(value, "GNU.sparse.major")?,
                b"GNU.sparse.minor" => pax.sparse.minor = number(value, "GNU.sparse.minor")?,
                b"GNU.sparse.name" => pax.sparse.name = name(value, "name")?,
                b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                    pax.sparse.real_size = number(value, "sparse size")?;
                }
                b"GNU.sparse.offset" => pax.sparse.push(value, false)?,
                b"GNU.sparse.numbytes" => pax.sparse.push(value, true)?,
                b"GNU.sparse.map" => pax.sparse.map = Some(map(value)?),
                _ => {
                    let Some(attribute) = key
                        .strip_prefix(b"SCHILY.xattr.")
                        .map(<[u8]>::to_vec)
                        .map(|name| (name, value.to_vec()))
                        .map_or_else(|| libarchive_xattr(key, value), |found| Ok(Some(found)))?
                    else {
                        continue; // atime, ctime, uname, comment, vendor records: nothing of a layer
                    };
                    xattr_bytes += attribute.0.len() + attribute.1.len();
                    if xattr_bytes > MAX_XATTRS {
                        return Err(bad(format_args!(
                            "has more than {MAX_XATTRS} bytes of extended attributes"
                        )));
                    }
                    // GNU writes the same attribute in several namespaces' spellings: the last one wins.
                    pax.xattrs.retain(|(name, _)| *name != attribute.0);
                    pax.xattrs.push(attribute);
                }
            }
        }
        Ok(pax)
    }

    /// A global header applies to all entries after it. Docker and Go ignore it, GNU tar obeys it: refuse the records
    /// about which that makes a difference.
    pub fn check_global(records: &[u8]) -> Result<()> {
        let pax = Self::parse(records)?;
        if pax.path.is_some()
            || pax.link.is_some()
            || pax.size.is_some()
            || pax.uid.is_some()
            || pax.gid.is_some()
            || !pax.xattrs.is_empty()
            || pax.sparse.is_set()
        {
            return Err(bad("for all entries sets a name, size, owner or attribute"));
        }
        Ok(())
    }
}

impl SparsePax {
    pub fn is_set(&self) -> bool {
        self.major.is_some()
            || self.real_size.is_some()
            || self.map.is_some()
            || self.name.is_some()
    }

    /// Version 0.0: offset and numbytes take turns.
    fn push(&mut self, value: &[u8], is_length: bool) -> Result<()> {
        let number = number::decimal(value).ok_or_else(|| bad("has an invalid sparse map"))?;
        let map = self.map.get_or_insert_default();
        if (map.len() % 2 == 1) != is_length {
            return Err(bad("has an invalid sparse map"));
        }
        map.push(number);
        Ok(())
    }
}

/// Splits off the first record: key, value, rest.
fn record(records: &[u8]) -> Result<(&[u8], &[u8], &[u8])> {
    let broken = || bad("has a malformed record");
    let space = records
        .iter()
        .take(21)
        .position(|&byte| byte == b' ')
        .ok_or_else(broken)?;
    let length = number::decimal(&records[..space])
        .and_then(|length| usize::try_from(length).ok())
        .filter(|&length| length > space + 1 && length <= records.len())
        .ok_or_else(broken)?;
    let (record, rest) = records.split_at(length);
    let body = record[space + 1..].strip_suffix(b"\n").ok_or_else(broken)?;
    let equals = body
        .iter()
        .position(|&byte| byte == b'=')
        .filter(|&at| at > 0)
        .ok_or_else(broken)?;
    let (key, value) = (&body[..equals], &body[equals + 1..]);
    if key.contains(&0) {
        return Err(broken());
    }
    Ok((key, value, rest))
}

// By the standard an empty value takes back what an earlier header said, and so Go reads it; GNU tar and Python read
// an empty name, GNU tar refuses an empty number and Python reads 0. Nobody writes them: refused.

fn name(value: &[u8], what: &str) -> Result<Option<Vec<u8>>> {
    if value.is_empty() {
        return Err(bad(format_args!("has an empty {what}")));
    }
    checked_name(value, what).map(Some)
}

fn number(value: &[u8], what: &str) -> Result<Option<u64>> {
    number::decimal(value)
        .filter(|&number| i64::try_from(number).is_ok())
        .map(Some)
        .ok_or_else(|| bad(format_args!("has an invalid {what} {:?}", show(value))))
}

fn owner(value: &[u8]) -> Result<Option<u32>> {
    number(value, "owner")?
        .map(|id| {
            checked_id(i128::from(id)).ok_or_else(|| bad(format_args!("has an invalid owner {id}")))
        })
        .transpose()
}

/// 2^32 - 1 means "leave as it is" to chown(2), so it is no owner.
pub fn checked_id(id: i128) -> Option<u32> {
    u32::try_from(id).ok().filter(|&id| id != u32::MAX)
}

/// Decimal seconds with an optional fraction, digits beyond nanoseconds cut off; may be negative.
fn time(value: &[u8]) -> Result<Option<(i64, u32)>> {
    if value.is_empty() {
        return Ok(None);
    }
    let invalid = || bad(format_args!("has an invalid time {:?}", show(value)));
    let (negative, digits) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let dot = digits.iter().position(|&byte| byte == b'.');
    let (whole, fraction) = dot.map_or((digits, &b""[..]), |dot| {
        (&digits[..dot], &digits[dot + 1..])
    });
    let seconds = number::decimal(whole)
        .and_then(|seconds| i64::try_from(seconds).ok())
        .ok_or_else(invalid)?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(invalid());
    }
    let nanoseconds = (0..9).fold(0_u32, |value, index| {
        value * 10
            + fraction
                .get(index)
                .map_or(0, |digit| u32::from(digit - b'0'))
    });
    Ok(Some(match (negative, nanoseconds) {
        (false, _) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanoseconds),
    }))
}

/// Version 0.1: "offset,length,offset,length".
fn map(value: &[u8]) -> Result<Vec<u64>> {
    if value.is_empty() {
        return Ok(Vec::new());
    }
    value
        .split(|&byte| byte == b',')
        .map(|part| number::decimal(part).ok_or_else(|| bad("has an invalid sparse map")))
        .collect()
}

/// LIBARCHIVE.xattr.<url-encoded name>=<base64 value>: bsdtar's spelling, which can hold any byte.
fn libarchive_xattr(key: &[u8], value: &[u8]) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
    let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") else {
        return Ok(None);
    };
    let invalid = || bad("has an invalid LIBARCHIVE.xattr record");
    Ok(Some((
        url_decoded(name).ok_or_else(invalid)?,
        base64_decoded(value).ok_or_else(invalid)?,
    )))
}

fn url_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
        decoded.push(u8::from_str_radix(hex, 16).ok()?);
        rest = &tail[2..];
    }
    Some(decoded)
}

fn base64_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let end = text
        .iter()
        .rposition(|&byte| byte != b'=')
        .map_or(0, |at| at + 1);
    let mut decoded = Vec::with_capacity(end * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0);
    for &byte in &text[..end] {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            decoded.push((bits >> count) as u8);
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let pax =
            Pax::parse(b"11 path=ab\n20 mtime=-1.5000001\n27 SCHILY.xattr.user.a=b\nc\n").unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"ab"[..]));
        assert_eq!(pax.mtime, Some((-2, 499_999_900)));
        assert_eq!(pax.xattrs, [(b"user.a".to_vec(), b"b\nc".to_vec())]);
    }

    #[test]
    fn malformed() {
        for records in [
            &b"12 path=ab\n"[..],
            b"10 path=ab\n",
            b"path=ab\n",
            b"11 path=ab",
            b"-1 path=ab\n",
            b"99999999999999999999999 a=b\n",
            b"7 =abc\n",
            b"11 path=a\0\n",
            b"9 uid=-1\n",
            b"18 uid=4294967295\n",
            b"9 size=x\n",
            b"0 a=b\n",
            b"2 a=b\n",
            b"13 mtime=1e3\n",
            b"8 path=\n",
            b"12 linkpath=\n",
            b"7 uid=\n",
            b"8 size=\n",
        ] {
            assert!(Pax::parse(records).is_err(), "{:?}", show(records));
        }
    }

    #[test]
    fn libarchive() {
        let pax = Pax::parse(b"39 LIBARCHIVE.xattr.user.a%3Db=AAECgA==\n").unwrap_err();
        assert!(pax.to_string().contains("malformed"));
        let pax = Pax::parse(b"40 LIBARCHIVE.xattr.user.a%3Db=AAECgA==\n").unwrap();
        assert_eq!(pax.xattrs, [(b"user.a=b".to_vec(), vec![0, 1, 2, 0x80])]);
    }
}
