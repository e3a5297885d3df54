//! Annotations `org.systemd.property.*`, which an engine uses to set properties of the container's unit.
//!
//! Annotations often come from whoever describes the container, so only properties that reach nothing outside of the
//! unit are taken (CVE-2024-3154: others let a pod's author run commands as root on the host). These are the ones that
//! engines send. Values are GVariant text, as runc reads them.

use std::collections::HashMap;

use super::name;
use super::properties::Property;
use super::wire::Value;
use crate::error::{Error, Result};

const PREFIX: &str = "org.systemd.property.";

const ALLOWED: &str = "TimeoutStopUSec, TimeoutStopSec, CollectMode, DefaultDependencies, After";

pub fn properties(annotations: &HashMap<String, String>) -> Result<Vec<Property>> {
    let mut all: Vec<Property> = Vec::new();
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix(PREFIX) else {
            continue;
        };
        let text = text.trim();
        let wrong = || {
            Error::invalid(format!(
                "the annotation {key} has a value that does not fit: {text}"
            ))
        };
        let property = match name {
            // runc reads seconds of any number type, microseconds of systemd's own type only.
            "TimeoutStopSec" => ("TimeoutStopUSec", seconds(text).map(Value::U64)),
            "TimeoutStopUSec" => {
                let number = text
                    .strip_prefix("uint64 ")
                    .and_then(|n| n.trim().parse().ok());
                ("TimeoutStopUSec", number.map(Value::U64))
            }
            "CollectMode" => {
                let mode =
                    quoted(text).filter(|mode| matches!(*mode, "inactive" | "inactive-or-failed"));
                ("CollectMode", mode.map(Value::str))
            }
            "DefaultDependencies" => ("DefaultDependencies", text.parse().ok().map(Value::Bool)),
            "After" => ("After", units(text)),
            _ => {
                return Err(Error::invalid(format!(
                    "the annotation {key} sets a property of the systemd unit that is not allowed"
                ))
                .hint(format!("allowed are {ALLOWED}")));
            }
        };
        let value = property.1.ok_or_else(wrong)?;
        // Said twice (Sec and USec), it would be the map's order that decides.
        if all.iter().any(|(name, _)| *name == property.0) {
            return Err(Error::invalid(format!(
                "two annotations set the property {}",
                property.0
            )));
        }
        all.push((property.0, value));
    }
    Ok(all)
}

fn seconds(text: &str) -> Option<u64> {
    let number = match text.split_once(' ') {
        Some(("uint16" | "uint32" | "uint64" | "int16" | "int32" | "int64" | "double", number)) => {
            number
        }
        Some(_) => return None,
        None => text,
    };
    let seconds: f64 = number.trim().parse().ok()?;
    // A year: beyond it, a misunderstanding is likelier than a wish.
    (0.0..=31_536_000.0)
        .contains(&seconds)
        .then_some((seconds * 1e6) as u64)
}

fn quoted(text: &str) -> Option<&str> {
    let inner = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    inner('\'').or_else(|| inner('"'))
}

/// `['a.service', 'b.service']`
fn units(text: &str) -> Option<Value> {
    let list = text.strip_prefix('[')?.strip_suffix(']')?;
    let names = list
        .split(',')
        .map(|name| quoted(name.trim()).filter(|name| name::valid(name)));
    Some(Value::Array(
        "s",
        names
            .map(|name| name.map(Value::str))
            .collect::<Option<_>>()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, text: &str) -> Result<Vec<Property>> {
        properties(&HashMap::from([(
            format!("{PREFIX}{name}"),
            text.to_owned(),
        )]))
    }

    #[test]
    fn known_ones_are_taken() {
        let usec = |number| ("TimeoutStopUSec", Value::U64(number));
        assert_eq!(one("TimeoutStopUSec", "uint64 123").unwrap(), [usec(123)]);
        assert_eq!(one("TimeoutStopSec", "2.5").unwrap(), [usec(2_500_000)]);
        assert_eq!(
            one("TimeoutStopSec", "uint32 5").unwrap(),
            [usec(5_000_000)]
        );
        let mode = ("CollectMode", Value::str("inactive-or-failed"));
        assert_eq!(one("CollectMode", "'inactive-or-failed'").unwrap(), [mode]);
        let after = Value::Array("s", vec![Value::str("a.service"), Value::str("b.service")]);
        assert_eq!(
            one("After", "['a.service', \"b.service\"]").unwrap(),
            [("After", after)]
        );
        assert_eq!(
            properties(&HashMap::from([("org.systemd".into(), "x".into())])).unwrap(),
            []
        );
    }

    #[test]
    fn others_are_refused() {
        let dangerous = [
            "ExecStartPost",
            "ExecStop",
            "User",
            "Slice",
            "Delegate",
            "PIDs",
            "DeviceAllow",
            "MemoryMax",
            "OnFailure",
            "BindsTo",
            "RootDirectory",
            "",
            "timeoutStopUSec",
        ];
        for name in dangerous {
            let error = one(name, "'x'").expect_err(name);
            assert!(
                error.message.contains(name) && error.message.contains("not allowed"),
                "{error}"
            );
        }
        for (name, text) in [
            ("TimeoutStopUSec", "5"),
            ("TimeoutStopSec", "-1"),
            ("TimeoutStopSec", "nan"),
            ("CollectMode", "inactive"),
            ("CollectMode", "'x'"),
            ("After", "['a b']"),
            ("After", "'a.service'"),
            ("DefaultDependencies", "1"),
        ] {
            assert!(one(name, text).is_err(), "{name} {text}");
        }
    }
}
