//! `linux.resources`: ranges that hold on every kernel. Whether this one grants a limit, the cgroup says.

use super::{no_nul, wrong};
use crate::cgroup;
use crate::devices::with_default_rules;
use crate::error::Result;
use crate::number_list;
use crate::spec::{
    LinuxBlockIo, LinuxCpu, LinuxDeviceType, LinuxMemory, LinuxResources, LinuxThrottleDevice,
};

/// `PID_MAX_LIMIT` of the kernel, the largest value of pids.max.
const PIDS: i64 = 4_194_304;

/// `NR_CPUS` and `MAX_NUMNODES` of any kernel are below it.
const NUMBERS: u32 = 1 << 16;

pub(super) fn check(resources: &LinuxResources) -> Result<()> {
    check_devices(resources)?;
    if let Some(memory) = resources.memory() {
        check_memory(memory)?;
    }
    if let Some(cpu) = resources.cpu() {
        check_cpu(cpu)?;
    }
    if let Some(pids) = resources.pids().filter(|pids| pids.limit() > PIDS) {
        return Err(wrong(
            "linux.resources.pids.limit",
            format_args!("{} is above {PIDS}, what Linux can have", pids.limit()),
        ));
    }
    if let Some(io) = resources.block_io() {
        check_io(io)?;
    }
    for (index, limit) in resources.hugepage_limits().iter().flatten().enumerate() {
        let field = format!("linux.resources.hugepageLimits[{index}]");
        let digits = ["KB", "MB", "GB"]
            .iter()
            .find_map(|unit| limit.page_size().strip_suffix(unit));
        if !digits.is_some_and(|n| {
            !n.is_empty() && !n.starts_with('0') && n.bytes().all(|b| b.is_ascii_digit())
        }) {
            return Err(wrong(
                format_args!("{field}.pageSize"),
                format_args!("{:?} is not of the form 2MB or 1GB", limit.page_size()),
            ));
        }
        if limit.limit() < 0 {
            return Err(wrong(format_args!("{field}.limit"), "is negative"));
        }
    }
    for (index, priority) in resources
        .network()
        .iter()
        .flat_map(|n| n.priorities().iter().flatten())
        .enumerate()
    {
        word(
            &format!("linux.resources.network.priorities[{index}].name"),
            priority.name(),
        )?;
    }
    for (device, limit) in resources.rdma().iter().flatten() {
        let field = format!("linux.resources.rdma.{device}");
        word(&field, device)?;
        if limit.hca_handles().is_none() && limit.hca_objects().is_none() {
            return Err(wrong(field, "has neither hcaHandles nor hcaObjects"));
        }
    }
    for (file, value) in resources.unified().iter().flatten() {
        let field = format!("linux.resources.unified.{file}");
        if file.contains('/') || file.contains('\0') || !file.contains('.') {
            return Err(wrong(field, "is not the name of a cgroup file"));
        }
        no_nul(field, value)?;
    }
    Ok(())
}

/// A name that is written to the kernel between blanks.
fn word(field: &str, text: &str) -> Result<()> {
    match text.is_empty() || text.contains(|c: char| c.is_whitespace() || c == '\0') {
        true => Err(wrong(
            field,
            format_args!("{text:?} is not the name of a device"),
        )),
        false => Ok(()),
    }
}

fn check_devices(resources: &LinuxResources) -> Result<()> {
    let Some(rules) = resources
        .devices()
        .as_deref()
        .filter(|rules| !rules.is_empty())
    else {
        return Ok(());
    };
    for (index, rule) in rules.iter().enumerate() {
        let field = format!("linux.resources.devices[{index}]");
        if rule.typ() == Some(LinuxDeviceType::P) {
            return Err(wrong(
                format_args!("{field}.type"),
                "a FIFO is no device: rules are of type a, b or c",
            ));
        }
        // Engines write -1 for every number.
        for (name, number) in [("major", rule.major()), ("minor", rule.minor())] {
            if number.is_some_and(|n| !(-1..=i64::from(u32::MAX)).contains(&n)) {
                return Err(wrong(format_args!("{field}.{name}"), "is no device number"));
            }
        }
        let access = rule.access().as_deref().unwrap_or("");
        if access.contains(|c: char| !"rwm".contains(c)) || (access.is_empty() && rule.allow()) {
            return Err(wrong(
                format_args!("{field}.access"),
                format_args!("\"{access}\" is no device access: use letters of \"rwm\""),
            ));
        }
    }
    cgroup::check_device_rules(&with_default_rules(rules))
        .map_err(|e| e.context("linux.resources.devices"))
}

fn check_memory(memory: &LinuxMemory) -> Result<()> {
    #[allow(
        deprecated,
        reason = "passed over, as by every runtime since the kernel dropped it, but still a number"
    )]
    let kernel = memory.kernel();
    for (name, bytes) in [
        ("limit", memory.limit()),
        ("reservation", memory.reservation()),
        ("swap", memory.swap()),
        ("kernel", kernel),
        ("kernelTCP", memory.kernel_tcp()),
    ] {
        if bytes.is_some_and(|bytes| bytes < -1) {
            return Err(wrong(
                format_args!("linux.resources.memory.{name}"),
                "is negative (only -1, for no limit, may be)",
            ));
        }
    }
    if memory.swappiness().is_some_and(|n| n > 100) {
        return Err(wrong(
            "linux.resources.memory.swappiness",
            "is not between 0 and 100",
        ));
    }
    let limit = memory.limit().unwrap_or(0);
    match memory.swap() {
        Some(both) if both > 0 && limit <= 0 => Err(wrong(
            "linux.resources.memory.swap",
            "limits memory and swap together, which needs linux.resources.memory.limit as well",
        )),
        Some(both) if both > 0 && both < limit => Err(wrong(
            "linux.resources.memory.swap",
            format_args!(
                "{both} for memory and swap together is below linux.resources.memory.limit, {limit}"
            ),
        )),
        _ => Ok(()),
    }
}

/// kernel: Documentation/scheduler/sched-bwc.rst.
fn check_cpu(cpu: &LinuxCpu) -> Result<()> {
    let refuse =
        |field: &str, why: &str| Err(wrong(format_args!("linux.resources.cpu.{field}"), why));
    if cpu.shares().is_some_and(|n| n > 262_144) {
        return refuse("shares", "is above 262144");
    }
    if cpu
        .period()
        .is_some_and(|n| n != 0 && !(1000..=1_000_000).contains(&n))
    {
        return refuse("period", "is not between 1000 and 1000000 microseconds");
    }
    let quota = cpu.quota().unwrap_or(0);
    // MAX_BW of the kernel: (1 << 44) - 1 microseconds.
    if (1..1000).contains(&quota) || quota >= 1 << 44 {
        return refuse(
            "quota",
            "is not between 1000 and 17592186044415 microseconds (or -1 for no limit)",
        );
    }
    match cpu.burst() {
        Some(burst) if quota > 0 && burst > quota as u64 => {
            return refuse("burst", "is above the quota");
        }
        Some(burst) if burst >= 1 << 44 => {
            return refuse("burst", "is above 17592186044415 microseconds");
        }
        _ => {}
    }
    if cpu.idle().is_some_and(|n| !(0..=1).contains(&n)) {
        return refuse("idle", "is neither 0 nor 1");
    }
    let (runtime, period) = (
        cpu.realtime_runtime().unwrap_or(0),
        cpu.realtime_period().unwrap_or(0),
    );
    if period > i64::MAX as u64 / 1000 {
        return refuse(
            "realtimePeriod",
            "is beyond the range of the kernel's clocks",
        );
    }
    if runtime < -1 {
        return refuse(
            "realtimeRuntime",
            "is negative (only -1, for no limit, may be)",
        );
    }
    // Without a period it is the kernel's: one second.
    if runtime
        > if period == 0 {
            1_000_000
        } else {
            period as i64
        }
    {
        return refuse("realtimeRuntime", "is above the period");
    }
    for (name, list) in [("cpus", cpu.cpus()), ("mems", cpu.mems())] {
        let list = list.as_deref().unwrap_or("");
        if let Err(why) = number_list::parse(list, NUMBERS)
            && !list.is_empty()
        {
            return refuse(name, &format!("\"{list}\": {why}"));
        }
    }
    Ok(())
}

fn check_io(io: &LinuxBlockIo) -> Result<()> {
    let weight = |field: &str, weight: Option<u16>| match weight {
        // 0 means that none is given, as engines send it.
        Some(n) if n != 0 && !(10..=1000).contains(&n) => Err(wrong(
            format_args!("linux.resources.blockIO.{field}"),
            format_args!("{n} is not between 10 and 1000"),
        )),
        _ => Ok(()),
    };
    let number = |field: String, major: i64, minor: i64| {
        let good = |n: i64| (0..=i64::from(u32::MAX)).contains(&n);
        match (good(major), good(minor)) {
            (true, true) => Ok(()),
            (false, _) => Err(wrong(format_args!("{field}.major"), "is no device number")),
            _ => Err(wrong(format_args!("{field}.minor"), "is no device number")),
        }
    };
    weight("weight", io.weight())?;
    weight("leafWeight", io.leaf_weight())?;
    for (index, device) in io.weight_device().iter().flatten().enumerate() {
        let field = format!("weightDevice[{index}]");
        weight(&format!("{field}.weight"), device.weight())?;
        weight(&format!("{field}.leafWeight"), device.leaf_weight())?;
        let field = format!("linux.resources.blockIO.{field}");
        if device.weight().is_none() && device.leaf_weight().is_none() {
            return Err(wrong(
                format_args!("{field}.weight"),
                "is missing, as is leafWeight",
            ));
        }
        number(field, device.major(), device.minor())?;
    }
    let lists: [(&str, &Option<Vec<LinuxThrottleDevice>>); 4] = [
        ("throttleReadBpsDevice", io.throttle_read_bps_device()),
        ("throttleWriteBpsDevice", io.throttle_write_bps_device()),
        ("throttleReadIOPSDevice", io.throttle_read_iops_device()),
        ("throttleWriteIOPSDevice", io.throttle_write_iops_device()),
    ];
    for (name, list) in lists {
        for (index, device) in list.iter().flatten().enumerate() {
            number(
                format!("linux.resources.blockIO.{name}[{index}]"),
                device.major(),
                device.minor(),
            )?;
        }
    }
    Ok(())
}
