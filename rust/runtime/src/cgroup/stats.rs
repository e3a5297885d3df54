//! Resource usage of a container, in the shape of the Docker Engine API (`GET /containers/{id}/stats`).
//!
//! Times are in nanoseconds, sizes in bytes. What the kernel does not tell is 0 or absent.

use std::collections::BTreeMap;
use std::fs;

use serde::Serialize;

use super::directory::Dir;
use super::place::{Place, Places};
use super::pressure::Pressure;
use super::{hugetlb, pressure};

/// Microseconds to nanoseconds.
const MICRO: u64 = 1000;
/// v1's cpuacct.stat counts in USER_HZ, which is 100 on every architecture: 10 ms.
const TICK: u64 = 10_000_000;

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Stats {
    pub cpu_stats: Cpu,
    pub memory_stats: Memory,
    pub pids_stats: Pids,
    pub blkio_stats: Blkio,
    /// Not in Docker's answer: processes killed for lack of memory.
    pub oom_kills: u64,
    /// Of CPU, memory and I/O. Not in Docker's answer.
    #[serde(skip)]
    pub pressure: [Option<Pressure>; 3],
    /// By size of page (`2MB`). Not in Docker's answer.
    #[serde(skip)]
    pub hugetlb: BTreeMap<String, Counter>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Cpu {
    pub cpu_usage: CpuUsage,
    /// CPU time of the whole machine, for percentages.
    pub system_cpu_usage: u64,
    pub online_cpus: u64,
    pub throttling_data: Throttling,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CpuUsage {
    pub total_usage: u64,
    pub usage_in_kernelmode: u64,
    pub usage_in_usermode: u64,
    /// v1 only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_usage: Vec<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Throttling {
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled_time: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    pub usage: u64,
    /// Highest usage so far; on v2 since Linux 5.19.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_usage: Option<u64>,
    /// The container's limit, or the machine's memory where that is less.
    pub limit: u64,
    /// v1 only: how often the limit was hit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failcnt: Option<u64>,
    /// Swap alone, on v1 and v2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<u64>,
    /// `memory.stat` as the kernel prints it.
    pub stats: BTreeMap<String, u64>,
    /// Memory and swap together, not in Docker's answer.
    #[serde(skip)]
    pub with_swap: Counter,
    /// Memory of the kernel for the container; v1 only.
    #[serde(skip)]
    pub kernel: Counter,
    /// The part of it that is buffers of TCP; v1 only.
    #[serde(skip)]
    pub kernel_tcp: Counter,
}

/// One of v1's memory counters; 0 is also "not known".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counter {
    pub usage: u64,
    pub max_usage: u64,
    pub limit: u64,
    pub failcnt: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Pids {
    pub current: u64,
    /// 0: unlimited.
    pub limit: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Blkio {
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    pub io_serviced_recursive: Vec<BlkioEntry>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BlkioEntry {
    pub major: u64,
    pub minor: u64,
    /// `Read`, `Write`, `Discard`, on v1 also `Sync`, `Async` and `Total`.
    pub op: String,
    pub value: u64,
}

pub(crate) fn collect(places: &Places) -> Stats {
    Stats {
        cpu_stats: cpu(places),
        memory_stats: memory(places),
        pids_stats: pids(places),
        blkio_stats: blkio(places),
        oom_kills: super::oom::kills(places),
        pressure: ["cpu", "memory", "io"].map(|resource| pressure::of(places, resource)),
        hugetlb: hugetlb::usage(places),
    }
}

fn cpu(places: &Places) -> Cpu {
    let mut stats = Cpu::default();
    (stats.system_cpu_usage, stats.online_cpus) = machine_cpu();
    if let Some(dir) = places.v1("cpuacct") {
        stats.cpu_usage = cpu_usage_v1(dir);
    }
    let throttling = |text: &str, time: &str, unit: u64| Throttling {
        periods: value_of(text, "nr_periods").unwrap_or(0),
        throttled_periods: value_of(text, "nr_throttled").unwrap_or(0),
        throttled_time: value_of(text, time).unwrap_or(0) * unit,
    };
    if let Some(dir) = places.v1("cpu") {
        let text = dir.read("cpu.stat").unwrap_or_default();
        stats.throttling_data = throttling(&text, "throttled_time", 1);
    } else if let Some(group) = &places.v2 {
        // The usage half of this file exists even where the controller is not enabled.
        let text = group.dir.read("cpu.stat").unwrap_or_default();
        let time = |key: &str| value_of(&text, key).unwrap_or(0) * MICRO;
        stats.throttling_data = throttling(&text, "throttled_usec", MICRO);
        stats.cpu_usage = CpuUsage {
            total_usage: time("usage_usec"),
            usage_in_kernelmode: time("system_usec"),
            usage_in_usermode: time("user_usec"),
            percpu_usage: Vec::new(),
        };
    }
    stats
}

fn cpu_usage_v1(dir: &Dir) -> CpuUsage {
    let ticks = dir.read("cpuacct.stat").unwrap_or_default();
    let exact = |file: &str, key: &str| {
        number(dir, file).unwrap_or_else(|| value_of(&ticks, key).unwrap_or(0) * TICK)
    };
    CpuUsage {
        total_usage: number(dir, "cpuacct.usage").unwrap_or(0),
        usage_in_kernelmode: exact("cpuacct.usage_sys", "system"),
        usage_in_usermode: exact("cpuacct.usage_user", "user"),
        percpu_usage: dir
            .read("cpuacct.usage_percpu")
            .unwrap_or_default()
            .split_whitespace()
            .filter_map(|value| value.parse().ok())
            .collect(),
    }
}

/// Time that all CPUs together have spent since boot, and their number (proc_stat(5)).
fn machine_cpu() -> (u64, u64) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let total = text.lines().next().map_or(0, |line| {
        // user nice system idle iowait irq softirq steal; guest time is already in user and nice.
        let ticks = line.split_whitespace().skip(1).take(8);
        ticks
            .filter_map(|value| value.parse::<u64>().ok())
            .sum::<u64>()
            * TICK
    });
    let cpus = text
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with("cpu"))
        .count();
    (total, cpus as u64)
}

fn memory(places: &Places) -> Memory {
    let Some(place) = places.find("memory", "memory") else {
        return Memory::default();
    };
    let machine = machine_memory();
    let (Place::V1(dir) | Place::V2(dir)) = place;
    let mut stats = match place {
        Place::V1(_) => {
            let usage = number(dir, "memory.usage_in_bytes").unwrap_or(0);
            Memory {
                usage,
                max_usage: number(dir, "memory.max_usage_in_bytes"),
                limit: number(dir, "memory.limit_in_bytes").unwrap_or(u64::MAX),
                failcnt: number(dir, "memory.failcnt"),
                swap: number(dir, "memory.memsw.usage_in_bytes")
                    .map(|both| both.saturating_sub(usage)),
                with_swap: counter(dir, "memory.memsw"),
                kernel: counter(dir, "memory.kmem"),
                kernel_tcp: counter(dir, "memory.kmem.tcp"),
                ..Memory::default()
            }
        }
        Place::V2(_) => Memory {
            usage: number(dir, "memory.current").unwrap_or(0),
            max_usage: number(dir, "memory.peak"),
            limit: number(dir, "memory.max").unwrap_or(u64::MAX),
            swap: number(dir, "memory.swap.current"),
            ..Memory::default()
        },
    };
    stats.limit = stats.limit.min(machine);
    stats.stats = pairs(&dir.read("memory.stat").unwrap_or_default());
    stats
}

fn counter(dir: &Dir, prefix: &str) -> Counter {
    let read = |name: &str| number(dir, &format!("{prefix}.{name}")).unwrap_or(0);
    Counter {
        usage: read("usage_in_bytes"),
        max_usage: read("max_usage_in_bytes"),
        limit: read("limit_in_bytes"),
        failcnt: read("failcnt"),
    }
}

fn machine_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    text.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse::<u64>().ok())
        .map_or(u64::MAX, |kib| kib * 1024)
}

fn pids(places: &Places) -> Pids {
    let Some(Place::V1(dir) | Place::V2(dir)) = places.find("pids", "pids") else {
        return Pids::default();
    };
    Pids {
        current: number(dir, "pids.current").unwrap_or(0),
        limit: number(dir, "pids.max").unwrap_or(0),
    }
}

fn blkio(places: &Places) -> Blkio {
    match places.find("blkio", "io") {
        Some(Place::V1(dir)) => {
            // BFQ counts what goes through it, the throttling layer everything; both count the groups below only in
            // their recursive files, which old kernels lack.
            let first = |files: &[&str]| {
                files
                    .iter()
                    .map(|file| entries_v1(&dir.read(file).unwrap_or_default()))
                    .find(|entries| !entries.is_empty())
                    .unwrap_or_default()
            };
            Blkio {
                io_service_bytes_recursive: first(&[
                    "blkio.bfq.io_service_bytes_recursive",
                    "blkio.throttle.io_service_bytes_recursive",
                    "blkio.throttle.io_service_bytes",
                ]),
                io_serviced_recursive: first(&[
                    "blkio.bfq.io_serviced_recursive",
                    "blkio.throttle.io_serviced_recursive",
                    "blkio.throttle.io_serviced",
                ]),
            }
        }
        Some(Place::V2(dir)) => io_stat(&dir.read("io.stat").unwrap_or_default()),
        None => Blkio::default(),
    }
}

/// Lines such as `8:0 Read 4096`; the last line, a total over all devices, has no device.
fn entries_v1(text: &str) -> Vec<BlkioEntry> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (major, minor) = fields.next()?.split_once(':')?;
            Some(BlkioEntry {
                major: major.parse().ok()?,
                minor: minor.parse().ok()?,
                op: fields.next()?.to_owned(),
                value: fields.next()?.parse().ok()?,
            })
        })
        .collect()
}

/// Lines such as `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`.
fn io_stat(text: &str) -> Blkio {
    let mut stats = Blkio::default();
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let Some((major, minor)) = fields.next().and_then(|device| device.split_once(':')) else {
            continue;
        };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else {
            continue;
        };
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut stats.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut stats.io_service_bytes_recursive, "Write"),
                "dbytes" => (&mut stats.io_service_bytes_recursive, "Discard"),
                "rios" => (&mut stats.io_serviced_recursive, "Read"),
                "wios" => (&mut stats.io_serviced_recursive, "Write"),
                "dios" => (&mut stats.io_serviced_recursive, "Discard"),
                _ => continue,
            };
            list.push(BlkioEntry {
                major,
                minor,
                op: op.to_owned(),
                value: value.parse().unwrap_or(0),
            });
        }
    }
    stats
}

pub(crate) fn number(dir: &Dir, file: &str) -> Option<u64> {
    dir.read(file).ok()?.trim().parse().ok()
}

/// The number behind a key in a file of `key value` lines.
pub(crate) fn value_of(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
        .and_then(|value| value.trim().parse().ok())
}

fn pairs(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter_map(|line| {
            let (key, value) = line.split_once(' ')?;
            Some((key.to_owned(), value.trim().parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_match_whole_words() {
        let text = "oom 5\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(value_of(text, "oom_kill"), Some(2));
        assert_eq!(value_of(text, "oom"), Some(5));
        assert_eq!(value_of(text, "nothing"), None);
        assert_eq!(pairs(text).len(), 3);
    }

    #[test]
    fn block_devices() {
        let v1 = entries_v1("8:0 Read 4096\n8:0 Write 0\nTotal 4096\n");
        assert_eq!(v1.len(), 2);
        assert_eq!(
            (v1[0].major, v1[0].op.as_str(), v1[0].value),
            (8, "Read", 4096)
        );
        let v2 = io_stat("254:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n7:0 \n");
        assert_eq!(
            v2.io_service_bytes_recursive
                .iter()
                .map(|e| e.value)
                .collect::<Vec<_>>(),
            [1, 2, 5]
        );
        assert_eq!(v2.io_serviced_recursive[1].op, "Write");
    }
}
