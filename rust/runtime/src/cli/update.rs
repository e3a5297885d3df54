//! `update`: other limits for a running container.

use serde_json::{Map, Value, json};

use super::args::{Args, Flag, value};
use super::{Command, Context};
use crate::cgroup::Cgroup;
use crate::error::{Error, Result};
use crate::spec::LinuxResources;
use crate::state::{Entry, Status};

pub const COMMAND: Command = Command {
    name: "update",
    usage: "ID",
    help: "change the limits of a container",
    flags: FLAGS,
    takes: (1, 1),
    run,
    ..Command::DEFAULT
};

const FLAGS: &[Flag] = &[
    value(
        "resources",
        Some('r'),
        "file with a linux.resources object, - for stdin",
    ),
    value("blkio-weight", None, "weight of block I/O, 10 to 1000"),
    value("cpu-period", None, "period of the CPU quota, microseconds"),
    value("cpu-quota", None, "CPU time in a period, microseconds"),
    value(
        "cpu-burst",
        None,
        "CPU time that may be saved up, microseconds",
    ),
    value("cpu-share", None, "relative weight of CPU time"),
    value(
        "cpu-rt-period",
        None,
        "period of realtime CPU, microseconds",
    ),
    value(
        "cpu-rt-runtime",
        None,
        "realtime CPU time in a period, microseconds",
    ),
    value("cpu-idle", None, "1: only when nobody else wants the CPU"),
    value("cpuset-cpus", None, "CPUs to use, as 0-2,7"),
    value("cpuset-mems", None, "memory nodes to use"),
    value(
        "memory",
        None,
        "bytes, or with a unit (64m), -1 for no limit",
    ),
    value("memory-reservation", None, "bytes, or with a unit"),
    value(
        "memory-swap",
        None,
        "bytes of memory and swap together, -1 for no limit",
    ),
    value("kernel-memory", None, "ignored, with a warning"),
    value("kernel-memory-tcp", None, "ignored, with a warning"),
    value(
        "l3-cache-schema",
        None,
        "Intel RDT: not supported by update",
    ),
    value("mem-bw-schema", None, "Intel RDT: not supported by update"),
    value("pids-limit", None, "number of processes, -1 for no limit"),
];

/// Option, object of linux.resources, key.
const NUMBERS: [(&str, &str, &str); 9] = [
    ("blkio-weight", "blockIO", "weight"),
    ("cpu-period", "cpu", "period"),
    ("cpu-quota", "cpu", "quota"),
    ("cpu-burst", "cpu", "burst"),
    ("cpu-share", "cpu", "shares"),
    ("cpu-rt-period", "cpu", "realtimePeriod"),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime"),
    ("cpu-idle", "cpu", "idle"),
    ("pids-limit", "pids", "limit"),
];

/// The same for sizes.
const SIZES: [(&str, &str); 3] = [
    ("memory", "limit"),
    ("memory-reservation", "reservation"),
    ("memory-swap", "swap"),
];

fn run(context: &Context, args: Args) -> Result<u8> {
    let entry = Entry::open(&context.root, args.id()?)?;
    let record = entry.record()?;
    let mut resources = match args.value("resources").filter(|file| !file.is_empty()) {
        Some(file) => read(file)?,
        None => compose(context, &args)?,
    };
    if resources
        .pids()
        .as_ref()
        .is_some_and(|pids| pids.limit() == 0)
    {
        // The spec's way to leave the field out, which is not "no processes".
        resources.set_pids(None);
    }
    if entry.status(&record) == Status::Stopped {
        return Err(Error::new("state", "container not running"));
    }
    let cgroup = Cgroup::load_present(&record.cgroup)?.of_unit(record.unit);
    context.log.warn(&cgroup.ignored(&resources));
    cgroup.update(&resources)?;
    Ok(0)
}

fn read(file: &str) -> Result<LinuxResources> {
    let text = match file {
        "-" => std::io::read_to_string(std::io::stdin()),
        file => std::fs::read_to_string(file),
    };
    let text = text.map_err(|e| {
        Error::at(
            "spec",
            "read",
            file,
            nix::errno::Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)),
        )
    })?;
    serde_json::from_str(&text).map_err(|e| Error::invalid(format!("{file}: {e}")))
}

fn compose(context: &Context, args: &Args) -> Result<LinuxResources> {
    for option in ["l3-cache-schema", "mem-bw-schema"] {
        if args.value(option).is_some_and(|schema| !schema.is_empty()) {
            return Err(Error::invalid(format!(
                "--{option}: update does not change Intel RDT groups"
            )));
        }
    }
    for option in ["kernel-memory", "kernel-memory-tcp"] {
        if args.value(option).is_some() {
            let text = format!("--{option} is ignored: the kernel has no such limit any more");
            context.log.warn(&[text]);
        }
    }
    let mut all = Map::new();
    let mut put = |object: &str, key: &str, value: Value| {
        all.entry(object).or_insert_with(|| json!({}))[key] = value;
    };
    for (option, object, key) in NUMBERS {
        if let Some(number) = args.number::<i64>(option)? {
            put(object, key, number.into());
        }
    }
    for (option, key) in SIZES {
        if let Some(text) = args.value(option).filter(|text| !text.is_empty()) {
            let bytes = size(text).ok_or_else(|| {
                Error::invalid(format!("--{option} {text:?} is not a size, such as 64m"))
            })?;
            put("memory", key, bytes.into());
        }
    }
    for (option, key) in [("cpuset-cpus", "cpus"), ("cpuset-mems", "mems")] {
        if let Some(list) = args.value(option) {
            put("cpu", key, list.into());
        }
    }
    serde_json::from_value(Value::Object(all)).map_err(|e| Error::invalid(e.to_string()))
}

/// Bytes of `1048576`, `1024k`, `1m`, `1.5 GiB`; -1 is itself (docker/go-units, RAMInBytes).
fn size(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let number: f64 = number.parse().ok()?;
    let unit = unit.trim_start().to_ascii_lowercase();
    let power = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" if matches!(unit.as_str(), "" | "b") => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    Some((number * 1024f64.powi(power)) as i64)
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("-1", -1),
            ("4096", 4096),
            ("64m", 64 << 20),
            ("1.5GiB", 3 << 29),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "m", "-2", "64x", "64mm", "ib"] {
            assert_eq!(size(text), None, "{text}");
        }
    }
}
