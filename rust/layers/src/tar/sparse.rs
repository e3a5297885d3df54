//! Where the data of a sparse file goes, in all of GNU tar's formats.
use super::number;
use crate::error::{Error, Result, show};

/// Bounds what a map costs in memory: 16 MiB.
pub const MAX_RANGES: usize = 1 << 20;

pub fn bad(name: &[u8]) -> Error {
    Error::corrupt(format!(
        "layer entry {}: its sparse map is not valid",
        show(name)
    ))
}

/// Pairs of numbers to ranges: in order, without overlap, inside the file, together as long as what is stored.
pub fn checked(numbers: &[u64], stored: u64, size: u64, name: &[u8]) -> Result<Vec<(u64, u64)>> {
    if numbers.len() > 2 * MAX_RANGES || numbers.len() & 1 == 1 {
        return Err(bad(name));
    }
    let mut end = 0;
    let mut total = 0_u64;
    let mut ranges = Vec::with_capacity(numbers.len() / 2);
    for pair in numbers.chunks_exact(2) {
        let (offset, length) = (pair[0], pair[1]);
        let stop = offset.checked_add(length).ok_or_else(|| bad(name))?;
        if offset < end || stop > size {
            return Err(bad(name));
        }
        end = stop;
        total += length; // bounded by `size`: the ranges do not overlap
        if length > 0 {
            ranges.push((offset, length));
        }
    }
    if total != stored || i64::try_from(size).is_err() {
        return Err(bad(name));
    }
    Ok(ranges)
}

/// Offset and length fields of an old GNU header (4 in the header, 21 in each extension block). An empty length field
/// ends the list.
pub fn old_gnu(fields: &[u8], numbers: &mut Vec<u64>, name: &[u8]) -> Result<()> {
    for pair in fields.chunks_exact(24) {
        if pair[12] == 0 {
            break;
        }
        for field in [&pair[..12], &pair[12..]] {
            let number = number::parse(field)
                .and_then(|number| u64::try_from(number).ok())
                .ok_or_else(|| bad(name))?;
            numbers.push(number);
        }
        if numbers.len() / 2 > MAX_RANGES {
            return Err(bad(name));
        }
    }
    Ok(())
}
