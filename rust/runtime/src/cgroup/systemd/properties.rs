//! Limits of the spec as properties of a unit (systemd.resource-control(5), org.freedesktop.systemd1(5)).
//!
//! systemd writes what it knows of a unit to the unit's control groups whenever it sees fit (at a reload of its
//! configuration, say), so it must know the same limits that are written there directly. What it has no property for
//! is only written directly.

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::wire::Value;
use crate::cgroup::devices::{Exception, Policy};
use crate::cgroup::{blkio, memory, weight_of_shares};
use crate::error::{Error, Result};

pub type Property = (&'static str, Value);

/// What systemd can be told depends on its version and on the hierarchy that it uses.
#[derive(Debug, Clone, Copy)]
pub struct Manager {
    /// `252` for `252.39-1~deb12u1`.
    pub version: u32,
    /// Whether all controllers are on v2.
    pub v2: bool,
}

const UNLIMITED: u64 = u64::MAX;
/// Period of a CPU quota when none is given, in microseconds.
const DEFAULT_PERIOD: u64 = 100_000;

pub fn of_resources(resources: &LinuxResources, manager: Manager) -> Result<Vec<Property>> {
    let mut all = Vec::new();
    if let Some(rules) = resources
        .devices()
        .as_deref()
        .filter(|rules| !rules.is_empty())
    {
        all.extend(devices(&Policy::from_rules(rules)?, manager));
    }
    if let Some(memory) = resources.memory() {
        all.extend(of_memory(memory, manager)?);
    }
    if let Some(cpu) = resources.cpu() {
        all.extend(of_cpu(cpu, manager)?);
    }
    if let Some(pids) = resources.pids()
        && pids.limit() != 0
    {
        all.push(("TasksMax", limit(pids.limit())));
    }
    if let Some(weight) = resources
        .block_io()
        .as_ref()
        .and_then(|io| io.weight())
        .filter(|n| *n != 0)
    {
        all.push(match manager.v2 {
            true => ("IOWeight", Value::U64(blkio::io_weight(weight))),
            false => ("BlockIOWeight", Value::U64(weight.into())),
        });
    }
    if manager.v2 {
        for (key, text) in resources.unified().iter().flatten() {
            all.extend(of_file(key, text.trim(), manager)?);
        }
    }
    Ok(all)
}

/// A number below zero means no limit.
fn limit(number: i64) -> Value {
    Value::U64(u64::try_from(number).unwrap_or(UNLIMITED))
}

fn of_memory(memory: &LinuxMemory, manager: Manager) -> Result<Vec<Property>> {
    let given = |number: Option<i64>| number.filter(|number| *number != 0);
    let mut all = Vec::new();
    let (max, low) = (given(memory.limit()), given(memory.reservation()));
    if !manager.v2 {
        // No property of v1 holds the soft limit or the limit of memory and swap.
        all.extend(max.map(|number| ("MemoryLimit", limit(number))));
        return Ok(all);
    }
    all.extend(max.map(|number| ("MemoryMax", limit(number))));
    all.extend(low.map(|number| ("MemoryLow", limit(number))));
    let swap = memory::swap_v2(max, given(memory.swap()))?;
    all.extend(swap.map(|number| ("MemorySwapMax", limit(number))));
    Ok(all)
}

fn of_cpu(cpu: &LinuxCpu, manager: Manager) -> Result<Vec<Property>> {
    let mut all = Vec::new();
    let idle = cpu.idle() == Some(1) && manager.v2 && manager.version >= 252;
    if idle {
        // systemd's word for cpu.idle.
        all.push(("CPUWeight", Value::U64(0)));
    }
    if let Some(shares) = cpu.shares().filter(|n| *n != 0 && !idle) {
        all.push(match manager.v2 {
            true => ("CPUWeight", Value::U64(weight_of_shares(shares))),
            false => ("CPUShares", Value::U64(shares)),
        });
    }
    let (quota, period) = (cpu.quota().unwrap_or(0), cpu.period().unwrap_or(0));
    all.extend(bandwidth(quota, period, manager));
    for (name, list) in [
        ("AllowedCPUs", cpu.cpus()),
        ("AllowedMemoryNodes", cpu.mems()),
    ] {
        if let Some(list) = list
            .as_deref()
            .filter(|list| !list.is_empty() && manager.version >= 244)
        {
            all.push((name, Value::Bytes(mask(list)?)));
        }
    }
    Ok(all)
}

/// Quota and period in microseconds; 0: not given.
fn bandwidth(quota: i64, period: u64, manager: Manager) -> Vec<Property> {
    let mut all = Vec::new();
    if period != 0 && manager.version >= 242 {
        all.push(("CPUQuotaPeriodUSec", Value::U64(period)));
    }
    if quota != 0 || period != 0 {
        let per_second = match u64::try_from(quota) {
            Ok(quota @ 1..) => {
                let period = if period == 0 { DEFAULT_PERIOD } else { period };
                let exact = u128::from(quota) * 1_000_000 / u128::from(period);
                // systemd keeps whole percents; rounded down, a group below could not have what was asked for.
                u64::try_from(exact.next_multiple_of(10_000)).unwrap_or(UNLIMITED)
            }
            _ => UNLIMITED,
        };
        all.push(("CPUQuotaPerSecUSec", Value::U64(per_second)));
    }
    all
}

/// `0-2,7` as bits, the lowest first.
fn mask(list: &str) -> Result<Vec<u8>> {
    let wrong = || {
        Error::invalid(format!(
            "\"{list}\" is not a list of CPUs or memory nodes such as 0-2,7"
        ))
    };
    let mut bits = Vec::new();
    for part in list
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.trim().parse().map_err(|_| wrong())?;
        let last: usize = last.trim().parse().map_err(|_| wrong())?;
        // The kernel's own limit of CPUs is 8192.
        if first > last || last > 65_535 {
            return Err(wrong());
        }
        for bit in first..=last {
            if bits.len() <= bit / 8 {
                bits.resize(bit / 8 + 1, 0u8);
            }
            bits[bit / 8] |= 1 << (bit % 8);
        }
    }
    match bits.is_empty() {
        true => Err(wrong()),
        false => Ok(bits),
    }
}

/// A file of v2 (`linux.resources.unified`), where systemd has a property for it.
fn of_file(key: &str, text: &str, manager: Manager) -> Result<Vec<Property>> {
    let wrong = || {
        Error::invalid(format!(
            "linux.resources.unified: \"{text}\" is no value for {key}"
        ))
    };
    let number = |text: &str| match text {
        "max" => Ok(UNLIMITED),
        text => text.parse::<u64>().map_err(|_| wrong()),
    };
    Ok(match key {
        "cpu.idle" if text == "1" && manager.version >= 252 => vec![("CPUWeight", Value::U64(0))],
        "cpu.weight" => vec![("CPUWeight", Value::U64(number(text)?))],
        "cpu.max" => {
            let mut words = text.split_whitespace();
            let quota = match number(words.next().ok_or_else(wrong)?)? {
                UNLIMITED => -1,
                quota => i64::try_from(quota).map_err(|_| wrong())?,
            };
            let period = words
                .next()
                .map_or(Ok(DEFAULT_PERIOD), |text| text.parse().map_err(|_| wrong()))?;
            bandwidth(quota, period, manager)
        }
        "cpuset.cpus" if manager.version >= 244 => vec![("AllowedCPUs", Value::Bytes(mask(text)?))],
        "cpuset.mems" if manager.version >= 244 => {
            vec![("AllowedMemoryNodes", Value::Bytes(mask(text)?))]
        }
        "memory.min" => vec![("MemoryMin", Value::U64(number(text)?))],
        "memory.low" => vec![("MemoryLow", Value::U64(number(text)?))],
        "memory.high" => vec![("MemoryHigh", Value::U64(number(text)?))],
        "memory.max" => vec![("MemoryMax", Value::U64(number(text)?))],
        "memory.swap.max" => vec![("MemorySwapMax", Value::U64(number(text)?))],
        "pids.max" => vec![("TasksMax", Value::U64(number(text)?))],
        _ => Vec::new(),
    })
}

/// systemd knows "only these devices" and "no rules"; "all but these" is only written directly.
fn devices(policy: &Policy, manager: Manager) -> Vec<Property> {
    let pair =
        |node: String, access: String| Value::Struct(vec![Value::Str(node), Value::Str(access)]);
    let open = policy.allow && (policy.exceptions.is_empty() || manager.v2);
    let allowed: Vec<Value> = match policy.allow {
        true => Vec::new(),
        false => policy
            .exceptions
            .iter()
            .filter_map(|exception| Some(pair(node(exception)?, exception.letters())))
            .collect(),
    };
    let policy = if open { "auto" } else { "strict" };
    vec![
        ("DevicePolicy", Value::str(policy)),
        ("DeviceAllow", Value::Array("(ss)", allowed)),
    ]
}

/// How systemd names devices; it has no way to say "any major, this minor".
fn node(exception: &Exception) -> Option<String> {
    let kind = if exception.block { "block" } else { "char" };
    match (exception.major, exception.minor) {
        (None, None) => Some(format!("{kind}-*")),
        (Some(major), Some(minor)) => Some(format!("/dev/{kind}/{major}:{minor}")),
        (Some(major), None) => {
            let text = std::fs::read_to_string("/proc/devices").unwrap_or_default();
            driver(&text, exception.block, major).map(|name| format!("{kind}-{name}"))
        }
        (None, Some(_)) => None,
    }
}

/// The name of a major number in `/proc/devices`.
fn driver(text: &str, block: bool, major: u32) -> Option<&str> {
    let (characters, blocks) = text.split_once("Block devices:")?;
    let mut lines = if block { blocks } else { characters }.lines();
    lines.find_map(|line| {
        let (number, name) = line.trim().split_once(' ')?;
        (number.parse() == Ok(major)).then_some(name.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: Manager = Manager {
        version: 252,
        v2: true,
    };
    const V1: Manager = Manager {
        version: 252,
        v2: false,
    };

    fn of(json: &str, manager: Manager) -> Vec<Property> {
        of_resources(&serde_json::from_str(json).unwrap(), manager).unwrap()
    }

    fn number(name: &'static str, value: u64) -> Property {
        (name, Value::U64(value))
    }

    #[test]
    fn memory_and_pids() {
        let json = r#"{"memory":{"limit":1000,"reservation":500,"swap":3000},"pids":{"limit":-1}}"#;
        assert_eq!(
            of(json, V2),
            [
                number("MemoryMax", 1000),
                number("MemoryLow", 500),
                number("MemorySwapMax", 2000),
                number("TasksMax", UNLIMITED)
            ]
        );
        assert_eq!(
            of(json, V1),
            [number("MemoryLimit", 1000), number("TasksMax", UNLIMITED)]
        );
    }

    #[test]
    fn processor_time() {
        let json = r#"{"cpu":{"shares":1024,"quota":25001,"period":50000,"cpus":"0,9"}}"#;
        let cpus = ("AllowedCPUs", Value::Bytes(vec![1, 2]));
        let time = [
            number("CPUQuotaPeriodUSec", 50_000),
            number("CPUQuotaPerSecUSec", 510_000),
            cpus,
        ];
        assert_eq!(
            of(json, V2),
            [&[number("CPUWeight", 100)], &time[..]].concat()
        );
        assert_eq!(
            of(json, V1),
            [&[number("CPUShares", 1024)], &time[..]].concat()
        );
        let old = Manager { version: 241, ..V2 };
        assert_eq!(
            of(json, old),
            [
                number("CPUWeight", 100),
                number("CPUQuotaPerSecUSec", 510_000)
            ]
        );
        assert_eq!(
            of(r#"{"cpu":{"quota":-1}}"#, V2),
            [number("CPUQuotaPerSecUSec", UNLIMITED)]
        );
        assert_eq!(
            of(r#"{"cpu":{"idle":1,"shares":5}}"#, V2),
            [number("CPUWeight", 0)]
        );
    }

    #[test]
    fn files_of_v2() {
        let json = r#"{"unified":{"memory.high":"max"},"blockIO":{"weight":1000}}"#;
        assert_eq!(
            of(json, V2),
            [number("IOWeight", 10_000), number("MemoryHigh", UNLIMITED)]
        );
        assert_eq!(of(json, V1), [number("BlockIOWeight", 1000)]);
        assert_eq!(
            of(r#"{"unified":{"cpu.max":"max 100000"}}"#, V2),
            [
                number("CPUQuotaPeriodUSec", 100_000),
                number("CPUQuotaPerSecUSec", UNLIMITED)
            ]
        );
        for unified in [
            "{\"memory.max\":\"x\"}",
            "{\"cpu.max\":\"\"}",
            "{\"cpuset.cpus\":\"3-1\"}",
        ] {
            let json = format!("{{\"unified\":{unified}}}");
            assert!(
                of_resources(&serde_json::from_str(&json).unwrap(), V2).is_err(),
                "{json}"
            );
        }
    }

    #[test]
    fn device_rules() {
        let json = r#"{"devices":[{"allow":false},{"allow":true,"type":"c","access":"m"},
            {"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"},
            {"allow":true,"type":"b","minor":3,"access":"r"}]}"#;
        let pair =
            |node: &str, access: &str| Value::Struct(vec![Value::str(node), Value::str(access)]);
        let allowed = vec![pair("char-*", "m"), pair("/dev/char/1:3", "rwm")];
        let expected = [
            ("DevicePolicy", Value::str("strict")),
            ("DeviceAllow", Value::Array("(ss)", allowed)),
        ];
        assert_eq!(of(json, V2), expected);
        let all = r#"{"devices":[{"allow":true,"access":"rwm"}]}"#;
        assert_eq!(of(all, V1)[0], ("DevicePolicy", Value::str("auto")));
        let but =
            r#"{"devices":[{"allow":true,"access":"rwm"},{"allow":false,"type":"c","major":1}]}"#;
        assert_eq!(of(but, V1)[0], ("DevicePolicy", Value::str("strict")));
        let list = "Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n  8 sd\n";
        assert_eq!(driver(list, false, 136), Some("pts"));
        assert_eq!(driver(list, true, 8), Some("sd"));
        assert_eq!(driver(list, true, 136), None);
    }
}
