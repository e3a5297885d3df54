//! Resource use in the shape of runc's `events` (types/events.go there), which containerd's go-runc reads.

use serde_json::{Map, Value, json};

use crate::cgroup::{BlkioEntry, Counter, Stall, Stats};

/// The `data` of one line. Zeros that runc leaves out are left out.
pub fn value(stats: &Stats) -> Value {
    let cpu = &stats.cpu_stats;
    let throttled = &cpu.throttling_data;
    let memory = &stats.memory_stats;
    let own = Counter {
        usage: memory.usage,
        max_usage: memory.max_usage.unwrap_or(0),
        limit: memory.limit,
        failcnt: memory.failcnt.unwrap_or(0),
    };
    let both = match memory.with_swap {
        known if known != Counter::default() => known,
        // v2 counts swap alone.
        _ => Counter {
            usage: memory.usage + memory.swap.unwrap_or(0),
            ..Counter::default()
        },
    };
    let mut usage = sparse(&[("total", cpu.cpu_usage.total_usage)]);
    usage.insert("kernel".into(), cpu.cpu_usage.usage_in_kernelmode.into());
    usage.insert("user".into(), cpu.cpu_usage.usage_in_usermode.into());
    if !cpu.cpu_usage.percpu_usage.is_empty() {
        usage.insert("percpu".into(), json!(cpu.cpu_usage.percpu_usage));
    }
    let mut memory_value = json!({
        "usage": counter(own),
        "swap": counter(both),
        "kernel": counter(memory.kernel),
        "kernelTCP": counter(memory.kernel_tcp),
        "raw": memory.stats,
    });
    // "cache" on v1, "file" on v2.
    let cache = memory.stats.get("cache").or(memory.stats.get("file"));
    if let Some(cache) = cache.filter(|bytes| **bytes > 0) {
        memory_value["cache"] = json!(cache);
    }
    let mut value = json!({
        "cpu": {
            "usage": usage,
            "throttling": sparse(&[
                ("periods", throttled.periods),
                ("throttledPeriods", throttled.throttled_periods),
                ("throttledTime", throttled.throttled_time),
            ]),
        },
        "memory": memory_value,
        "pids": sparse(&[
            ("current", stats.pids_stats.current),
            ("limit", stats.pids_stats.limit),
        ]),
        "blkio": blkio(&[
            ("ioServiceBytesRecursive", &stats.blkio_stats.io_service_bytes_recursive),
            ("ioServicedRecursive", &stats.blkio_stats.io_serviced_recursive),
        ]),
        "hugetlb": stats.hugetlb.iter().map(|(size, counter)| (size.clone(), hugetlb(*counter))).collect::<Map<_, _>>(),
        "intel_rdt": {},
        "network_interfaces": null,
    });
    for (name, pressure) in ["cpu", "memory", "blkio"].into_iter().zip(stats.pressure) {
        if let Some(pressure) = pressure {
            value[name]["psi"] =
                json!({ "some": stall(pressure.some), "full": stall(pressure.full) });
        }
    }
    value
}

fn stall(stall: Stall) -> Value {
    json!({ "avg10": stall.avg10, "avg60": stall.avg60, "avg300": stall.avg300, "total": stall.total })
}

fn hugetlb(counter: Counter) -> Value {
    let mut value = sparse(&[("usage", counter.usage), ("max", counter.max_usage)]);
    value.insert("failcnt".into(), counter.failcnt.into());
    value.into()
}

fn counter(counter: Counter) -> Value {
    let mut value = sparse(&[("usage", counter.usage), ("max", counter.max_usage)]);
    value.insert("limit".into(), counter.limit.into());
    value.insert("failcnt".into(), counter.failcnt.into());
    value.into()
}

fn blkio(lists: &[(&str, &[BlkioEntry])]) -> Value {
    let entry = |entry: &BlkioEntry| {
        let mut value = sparse(&[
            ("major", entry.major),
            ("minor", entry.minor),
            ("value", entry.value),
        ]);
        value.insert("op".into(), entry.op.clone().into());
        Value::from(value)
    };
    let filled = lists.iter().filter(|(_, entries)| !entries.is_empty());
    let mut value = Map::new();
    for (name, entries) in filled {
        value.insert((*name).to_owned(), entries.iter().map(entry).collect());
    }
    value.into()
}

fn sparse(pairs: &[(&str, u64)]) -> Map<String, Value> {
    let known = pairs.iter().filter(|(_, value)| *value != 0);
    known
        .map(|(name, value)| ((*name).to_owned(), (*value).into()))
        .collect()
}
