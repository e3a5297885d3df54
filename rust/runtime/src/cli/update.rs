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
    words: usize::MAX,
    enters: false,
    run,
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
    value("memory", None, "bytes, -1 for no limit"),
    value("memory-reservation", None, "bytes"),
    value(
        "memory-swap",
        None,
        "bytes of memory and swap together, -1 for no limit",
    ),
    value("pids-limit", None, "number of processes, -1 for no limit"),
];

/// Option, object of linux.resources, key.
const NUMBERS: [(&str, &str, &str); 12] = [
    ("blkio-weight", "blockIO", "weight"),
    ("cpu-period", "cpu", "period"),
    ("cpu-quota", "cpu", "quota"),
    ("cpu-burst", "cpu", "burst"),
    ("cpu-share", "cpu", "shares"),
    ("cpu-rt-period", "cpu", "realtimePeriod"),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime"),
    ("cpu-idle", "cpu", "idle"),
    ("memory", "memory", "limit"),
    ("memory-reservation", "memory", "reservation"),
    ("memory-swap", "memory", "swap"),
    ("pids-limit", "pids", "limit"),
];

fn run(context: &Context, args: Args) -> Result<u8> {
    let entry = Entry::open(&context.root, args.id()?)?;
    let record = entry.record()?;
    let resources = match args.value("resources") {
        Some(file) => read(file)?,
        None => compose(&args)?,
    };
    if entry.status(&record) == Status::Stopped {
        return Err(Error::new("state", "container not running"));
    }
    let cgroup = Cgroup::load(&record.cgroup)?.of_unit(record.unit);
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

fn compose(args: &Args) -> Result<LinuxResources> {
    let mut all = Map::new();
    let mut put = |object: &str, key: &str, value: Value| {
        all.entry(object).or_insert_with(|| json!({}))[key] = value;
    };
    for (option, object, key) in NUMBERS {
        if let Some(number) = args.number::<i64>(option)? {
            put(object, key, number.into());
        }
    }
    for (option, key) in [("cpuset-cpus", "cpus"), ("cpuset-mems", "mems")] {
        if let Some(list) = args.value(option) {
            put("cpu", key, list.into());
        }
    }
    serde_json::from_value(Value::Object(all)).map_err(|e| Error::invalid(e.to_string()))
}
