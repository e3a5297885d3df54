//! Numbers in tar headers: octal text, or GNU's base-256 when the first byte has its high bit set.

/// None: not a number. An empty field is 0.
pub fn parse(field: &[u8]) -> Option<i128> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => Some(base256(field)),
        _ => octal(field),
    }
}

/// Two's complement over the whole field, without the marker bit. Fields have at most 12 bytes, 95 bits.
fn base256(field: &[u8]) -> i128 {
    let negative = field[0] & 0x40 != 0;
    let start: i128 = if negative { -1 } else { 0 };
    field
        .iter()
        .enumerate()
        .fold(start, |value, (index, &byte)| {
            let byte = match (index, negative) {
                (0, true) => byte | 0x80,
                (0, false) => byte & 0x7f,
                _ => byte,
            };
            (value << 8) | i128::from(byte)
        })
}

/// Leading spaces, digits, then only spaces and NULs: some writers end a field with both.
fn octal(field: &[u8]) -> Option<i128> {
    let start = field.iter().take_while(|&&byte| byte == b' ').count();
    let field = &field[start..];
    let digits = field
        .iter()
        .take_while(|byte| matches!(byte, b'0'..=b'7'))
        .count();
    if field[digits..].iter().any(|byte| !matches!(byte, b' ' | 0)) {
        return None;
    }
    Some(
        field[..digits]
            .iter()
            .fold(0, |value, digit| value * 8 + i128::from(digit - b'0')),
    )
}

/// Decimal digits only, as PAX records write them.
pub fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 20 {
        return None;
    }
    text.iter().try_fold(0_u64, |value, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_fields() {
        assert_eq!(parse(b"0000644\0"), Some(0o644));
        assert_eq!(parse(b"   644 \0"), Some(0o644));
        assert_eq!(parse(b"77777777777\0"), Some(0o77777777777));
        assert_eq!(parse(b"\0\0\0\0"), Some(0));
        assert_eq!(parse(b"-1\0"), None);
        assert_eq!(parse(b"12x\0"), None);
        assert_eq!(parse(b"12\x001"), None);
        assert_eq!(parse(b"9\0"), None);
    }

    #[test]
    fn base256_fields() {
        assert_eq!(parse(&[0x80, 0, 0, 1, 0]), Some(256));
        assert_eq!(parse(&[0xff; 12]), Some(-1));
        assert_eq!(parse(&[0xff, 0xff, 0xff, 0xfe]), Some(-2));
        assert_eq!(
            parse(&[
                0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff
            ]),
            Some(i128::from(i64::MAX))
        );
    }

    #[test]
    fn decimals() {
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(decimal(b"18446744073709551616"), None);
        assert_eq!(decimal(b"+1"), None);
        assert_eq!(decimal(b""), None);
    }
}
