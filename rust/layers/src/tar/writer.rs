//! Headers as POSIX.1 pax(1) wants them: ustar blocks, with an extended header only where ustar has no room. The same
//! entry always gives the same bytes.
use super::header::BLOCK;
use super::{Entry, Kind};
use crate::error::{Error, Result, show};
use crate::name::split;

const MAX_OCTAL_ID: u32 = 0o7_777_777;
const MAX_OCTAL: u64 = 0o77_777_777_777;

/// Everything that stands before the data of `entry`: extended header, header, and for a sparse file its map.
pub fn header(entry: &Entry) -> Result<Vec<u8>> {
    let mut name = entry.name.clone();
    if entry.kind == Kind::Directory {
        name.push(b'/');
    }
    let (stored, map) = match &entry.kind {
        Kind::File => (entry.size, Vec::new()),
        Kind::SparseFile(ranges) => {
            let map = sparse_map(ranges);
            let data: u64 = ranges.iter().map(|(_, length)| length).sum();
            (map.len() as u64 + data, map)
        }
        _ => (0, Vec::new()),
    };
    let records = records(entry, &name, stored)?;
    let mut bytes = Vec::with_capacity(3 * BLOCK);
    if !records.is_empty() {
        let extended = [b"PaxHeaders.0/".as_slice(), split(&entry.name).1].concat();
        let size = records.len() as u64;
        bytes.extend(block(&Fields {
            size,
            mode: 0o644,
            ..Fields::new(&extended, b'x')
        }));
        bytes.extend(&records);
        pad(&mut bytes);
    }
    let flag = match entry.kind {
        Kind::File | Kind::SparseFile(_) => b'0',
        Kind::HardLink => b'1',
        Kind::Symlink => b'2',
        Kind::CharDevice => b'3',
        Kind::BlockDevice => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
    };
    let small = |id: u32| if id > MAX_OCTAL_ID { 0 } else { id };
    bytes.extend(block(&Fields {
        link: &entry.link,
        mode: entry.mode,
        uid: small(entry.uid),
        gid: small(entry.gid),
        size: if stored > MAX_OCTAL { 0 } else { stored },
        mtime: u64::try_from(entry.mtime.0).unwrap_or(0).min(MAX_OCTAL),
        device: entry.device,
        ..Fields::new(&name, flag)
    }));
    bytes.extend(map);
    Ok(bytes)
}

/// Zeros up to the next whole block.
pub fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
}

/// The two zero blocks that end an archive.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

struct Fields<'a> {
    name: &'a [u8],
    link: &'a [u8],
    flag: u8,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: u64,
    device: (u32, u32),
}

impl<'a> Fields<'a> {
    fn new(name: &'a [u8], flag: u8) -> Self {
        Self {
            name,
            link: b"",
            flag,
            mode: 0,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: 0,
            device: (0, 0),
        }
    }
}

fn block(fields: &Fields<'_>) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let text = |block: &mut [u8; BLOCK], at: usize, room: usize, text: &[u8]| {
        let length = text.len().min(room);
        block[at..at + length].copy_from_slice(&text[..length]);
    };
    text(&mut block, 0, 100, fields.name);
    octal(&mut block[100..108], fields.mode.into());
    octal(&mut block[108..116], fields.uid.into());
    octal(&mut block[116..124], fields.gid.into());
    octal(&mut block[124..136], fields.size);
    octal(&mut block[136..148], fields.mtime);
    block[156] = fields.flag;
    text(&mut block, 157, 100, fields.link);
    text(&mut block, 257, 8, b"ustar\x0000");
    octal(&mut block[329..337], fields.device.0.into());
    octal(&mut block[337..345], fields.device.1.into());
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
    octal(&mut block[148..155], sum);
    block
}

/// Digits with leading zeros over the whole field but its last byte, which stays NUL.
fn octal(field: &mut [u8], mut value: u64) {
    let digits = field.len() - 1;
    for byte in field[..digits].iter_mut().rev() {
        *byte = b'0' + (value & 7) as u8;
        value >>= 3;
    }
    field[digits] = 0;
}

/// The records of the extended header, in a fixed order.
fn records(entry: &Entry, name: &[u8], stored: u64) -> Result<Vec<u8>> {
    let mut records = Vec::new();
    let mut add = |key: &[u8], value: &[u8]| record(&mut records, key, value);
    if matches!(entry.kind, Kind::SparseFile(_)) {
        // GNU tar manual, "PAX Format, Version 1.0"
        add(b"GNU.sparse.major", b"1");
        add(b"GNU.sparse.minor", b"0");
        add(b"GNU.sparse.name", name);
        add(b"GNU.sparse.realsize", entry.size.to_string().as_bytes());
    }
    if name.len() > 100 {
        add(b"path", name);
    }
    if entry.link.len() > 100 {
        add(b"linkpath", &entry.link);
    }
    if stored > MAX_OCTAL {
        add(b"size", stored.to_string().as_bytes());
    }
    for (key, id) in [(&b"uid"[..], entry.uid), (b"gid", entry.gid)] {
        if id > MAX_OCTAL_ID {
            add(key, id.to_string().as_bytes());
        }
    }
    if entry.mtime.1 != 0 || !(0..=MAX_OCTAL.cast_signed()).contains(&entry.mtime.0) {
        add(b"mtime", time(entry.mtime).as_bytes());
    }
    for (attribute, value) in &entry.xattrs {
        if attribute.contains(&b'=') {
            return Err(Error::Unsupported(format!(
                "{}: an extended attribute whose name has a \"=\" ({}) cannot be in a layer",
                show(&entry.name),
                show(attribute)
            )));
        }
        add(&[b"SCHILY.xattr.", attribute.as_slice()].concat(), value);
    }
    Ok(records)
}

/// "length key=value\n", where the length counts itself.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    loop {
        let whole = rest + length.to_string().len();
        if whole == length {
            break;
        }
        length = whole;
    }
    records.extend(length.to_string().bytes());
    records.push(b' ');
    records.extend(key);
    records.push(b'=');
    records.extend(value);
    records.push(b'\n');
}

/// Decimal seconds; nanoseconds count forwards, the digits of a negative number backwards.
fn time((seconds, nanoseconds): (i64, u32)) -> String {
    let (sign, whole, fraction) = if seconds < 0 && nanoseconds > 0 {
        (
            "-",
            (seconds + 1).unsigned_abs(),
            1_000_000_000 - nanoseconds,
        )
    } else {
        let sign = if seconds < 0 { "-" } else { "" };
        (sign, seconds.unsigned_abs(), nanoseconds)
    };
    if fraction == 0 {
        return format!("{sign}{whole}");
    }
    let fraction = format!("{fraction:09}");
    format!("{sign}{whole}.{}", fraction.trim_end_matches('0'))
}

fn sparse_map(ranges: &[(u64, u64)]) -> Vec<u8> {
    let mut map = format!("{}\n", ranges.len());
    for (offset, length) in ranges {
        map.push_str(&format!("{offset}\n{length}\n"));
    }
    let mut map = map.into_bytes();
    pad(&mut map);
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_records_count_themselves() {
        for value in [0, 1, 80, 90, 91, 92, 93, 94, 980, 988, 989, 990, 991] {
            let mut bytes = Vec::new();
            record(&mut bytes, b"k", &vec![b'v'; value]);
            let text = String::from_utf8(bytes).unwrap();
            let stated: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(stated, text.len());
        }
    }

    #[test]
    fn times() {
        assert_eq!(time((5, 0)), "5");
        assert_eq!(time((5, 120_000_000)), "5.12");
        assert_eq!(time((-2, 500_000_000)), "-1.5");
        assert_eq!(time((-1, 1)), "-0.999999999");
        assert_eq!(time((-3, 0)), "-3");
    }
}
