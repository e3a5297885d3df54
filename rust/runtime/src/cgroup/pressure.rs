//! How long processes of a container had to wait for a resource (kernel: Documentation/accounting/psi.rst).

use super::place::Places;

/// Shares of time in percent, and the time in microseconds since the group was made.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stall {
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    pub total: u64,
}

/// `some`: at least one process waited; `full`: all that were not idle did.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    pub some: Stall,
    pub full: Stall,
}

/// `resource`: `cpu`, `memory` or `io`. Only v2 has it, and only in a kernel with psi switched on.
pub(crate) fn of(places: &Places, resource: &str) -> Option<Pressure> {
    let group = places.v2.as_ref()?;
    parse(&group.dir.read(&format!("{resource}.pressure")).ok()?)
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`; before Linux 5.13 there is no `full` for the CPU.
fn parse(text: &str) -> Option<Pressure> {
    let line = |kind: &str| {
        let words = text
            .lines()
            .find_map(|line| line.strip_prefix(kind)?.strip_prefix(' '))?;
        let value = |key: &str| {
            let mut pairs = words
                .split_whitespace()
                .filter_map(|word| word.split_once('='));
            pairs.find(|(name, _)| *name == key).map(|(_, value)| value)
        };
        let share = |key: &str| value(key)?.parse::<f64>().ok();
        Some(Stall {
            avg10: share("avg10")?,
            avg60: share("avg60")?,
            avg300: share("avg300")?,
            total: value("total")?.parse().ok()?,
        })
    };
    Some(Pressure {
        some: line("some")?,
        full: line("full").unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lines_or_one() {
        let some = "some avg10=1.50 avg60=0.25 avg300=0.00 total=1234\n";
        let both = format!("{some}full avg10=0.50 avg60=0.00 avg300=0.00 total=5\n");
        let pressure = parse(&both).unwrap();
        assert_eq!(
            (
                pressure.some.avg10,
                pressure.some.total,
                pressure.full.total
            ),
            (1.5, 1234, 5)
        );
        assert_eq!(parse(some).unwrap().full, Stall::default());
        assert_eq!(parse("full avg10=x\n"), None);
    }
}
