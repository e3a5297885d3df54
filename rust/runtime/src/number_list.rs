//! Lists of CPUs and memory nodes as the kernel writes them: `0-3,7` (cpuset(7), "List format").

use std::collections::BTreeSet;

/// The numbers of a list, each below `limit`; the error is the reason without the field's name.
pub fn parse(text: &str, limit: u32) -> Result<BTreeSet<u32>, String> {
    let mut all = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first, limit)?, number(last, limit)?);
        if first > last {
            return Err(format!("the range {part} goes backwards"));
        }
        all.extend(first..=last);
    }
    Ok(all)
}

fn number(digits: &str, limit: u32) -> Result<u32, String> {
    // All digits: the parser of u32 would take "+1" as well.
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!(
            "{digits:?} is not a number (a list looks like 0-3,7)"
        ));
    }
    match digits.parse() {
        Ok(number) if number < limit => Ok(number),
        _ => Err(format!(
            "{digits} is above the largest number, {}",
            limit - 1
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn lists() {
        let numbers = |text| parse(text, 100).unwrap().into_iter().collect::<Vec<_>>();
        assert_eq!(numbers("0"), [0]);
        assert_eq!(numbers("7,0-2,2"), [0, 1, 2, 7]);
        for bad in [
            "",
            ",",
            "1,",
            "-1",
            "1-",
            "2-1",
            "+1",
            "0x1",
            "a",
            "1 ",
            "100",
            "0-100",
            "99999999999",
        ] {
            assert!(parse(bad, 100).is_err(), "{bad:?}");
        }
    }
}
