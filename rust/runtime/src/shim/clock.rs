//! The time of day as RFC 3339 with nine digits of fraction, in UTC: sorts as text, parses as Go's RFC3339Nano.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, for instance `2026-03-01T12:00:00.000000001Z`.
pub fn now() -> String {
    let mut text = String::with_capacity(30);
    write_now(&mut text);
    text
}

/// Appends what [`now`] gives.
pub fn write_now(out: &mut String) {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    write(since.as_secs(), since.subsec_nanos(), out);
}

fn write(seconds: u64, nanos: u32, out: &mut String) {
    use std::fmt::Write;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days as i64);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    // Writing into a String cannot fail.
    let _ = write!(
        out,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z"
    );
}

/// Days since 1970 to the proleptic Gregorian date (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms",
/// civil_from_days). A calendar crate would bring more code into every monitor than this.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(seconds: u64, nanos: u32) -> String {
        let mut out = String::new();
        write(seconds, nanos, &mut out);
        out
    }

    #[test]
    fn known_instants() {
        assert_eq!(text(0, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(
            text(951_782_399, 999_999_999),
            "2000-02-28T23:59:59.999999999Z"
        );
        assert_eq!(text(951_782_400, 1), "2000-02-29T00:00:00.000000001Z");
        assert_eq!(
            text(1_772_366_400, 120_000_000),
            "2026-03-01T12:00:00.120000000Z"
        );
        assert_eq!(text(4_107_542_399, 0), "2100-02-28T23:59:59.000000000Z");
        assert_eq!(text(4_107_542_400, 0), "2100-03-01T00:00:00.000000000Z");
    }
}
