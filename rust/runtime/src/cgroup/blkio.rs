//! Weight and throttling of block devices: `blkio` on v1, `io` on v2.

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice};

use super::directory::{Dir, has};
use super::place::{Place, Places};
use crate::error::{Error, Result};

pub(crate) fn apply(places: &Places, io: &LinuxBlockIo) -> Result<()> {
    let any =
        |list: &Option<Vec<LinuxThrottleDevice>>| list.as_ref().is_some_and(|l| !l.is_empty());
    let asked = io.weight().is_some_and(|n| n != 0)
        || io.leaf_weight().is_some_and(|n| n != 0)
        || io.weight_device().as_ref().is_some_and(|l| !l.is_empty())
        || any(io.throttle_read_bps_device())
        || any(io.throttle_write_bps_device())
        || any(io.throttle_read_iops_device())
        || any(io.throttle_write_iops_device());
    if !asked {
        return Ok(());
    }
    match places.need("blkio", "io", "block device limit")? {
        Place::V1(dir) => apply_v1(dir, io),
        Place::V2(dir) => apply_v2(dir, io),
    }
}

fn devices(list: &Option<Vec<LinuxThrottleDevice>>) -> &[LinuxThrottleDevice] {
    list.as_deref().unwrap_or_default()
}

fn apply_v1(dir: &Dir, io: &LinuxBlockIo) -> Result<()> {
    if let Some(weight) = io.weight().filter(|n| *n != 0) {
        // CFQ's file went with CFQ in Linux 5.0; BFQ's exists while a disk uses that scheduler.
        let file = weight_file(dir, &["blkio.weight", "blkio.bfq.weight"])?;
        dir.set(file, &weight.to_string())?;
    }
    if let Some(weight) = io.leaf_weight().filter(|n| *n != 0) {
        let file = weight_file(dir, &["blkio.leaf_weight"])?;
        dir.set(file, &weight.to_string())?;
    }
    for device in io.weight_device().as_deref().unwrap_or_default() {
        let number = format!("{}:{}", device.major(), device.minor());
        if let Some(weight) = device.weight().filter(|n| *n != 0) {
            let file = weight_file(dir, &["blkio.weight_device", "blkio.bfq.weight_device"])?;
            dir.set(file, &format!("{number} {weight}"))?;
        }
        if let Some(weight) = device.leaf_weight().filter(|n| *n != 0) {
            let file = weight_file(dir, &["blkio.leaf_weight_device"])?;
            dir.set(file, &format!("{number} {weight}"))?;
        }
    }
    for (file, list) in [
        (
            "blkio.throttle.read_bps_device",
            io.throttle_read_bps_device(),
        ),
        (
            "blkio.throttle.write_bps_device",
            io.throttle_write_bps_device(),
        ),
        (
            "blkio.throttle.read_iops_device",
            io.throttle_read_iops_device(),
        ),
        (
            "blkio.throttle.write_iops_device",
            io.throttle_write_iops_device(),
        ),
    ] {
        for device in devices(list) {
            let value = format!("{}:{} {}", device.major(), device.minor(), device.rate());
            dir.set(file, &value)?;
        }
    }
    Ok(())
}

fn apply_v2(dir: &Dir, io: &LinuxBlockIo) -> Result<()> {
    let bfq = has(dir, "io.bfq.weight");
    if let Some(weight) = io.weight().filter(|n| *n != 0) {
        if bfq {
            dir.set("io.bfq.weight", &weight.to_string())?;
        } else {
            weight_file(dir, &["io.weight"])?;
            dir.set("io.weight", &format!("default {}", io_weight(weight)))?;
        }
    }
    for device in io.weight_device().as_deref().unwrap_or_default() {
        let number = format!("{}:{}", device.major(), device.minor());
        if let Some(weight) = device.weight().filter(|n| *n != 0) {
            if bfq {
                dir.set("io.bfq.weight", &format!("{number} {weight}"))?;
            } else {
                weight_file(dir, &["io.weight"])?;
                dir.set("io.weight", &format!("{number} {}", io_weight(weight)))?;
            }
        }
    }
    for (key, list) in [
        ("rbps", io.throttle_read_bps_device()),
        ("wbps", io.throttle_write_bps_device()),
        ("riops", io.throttle_read_iops_device()),
        ("wiops", io.throttle_write_iops_device()),
    ] {
        for device in devices(list) {
            let rate = match device.rate() {
                // v1's way to lift a limit.
                0 => "max".to_owned(),
                rate => rate.to_string(),
            };
            dir.set(
                "io.max",
                &format!("{}:{} {key}={rate}", device.major(), device.minor()),
            )?;
        }
    }
    Ok(())
}

fn weight_file<'a>(dir: &Dir, names: &[&'a str]) -> Result<&'a str> {
    names.iter().copied().find(|name| has(dir, name)).ok_or_else(|| {
        Error::new(
            "cgroup",
            format!("block device weights are not available here: {}/{} is missing", dir.label, names[0]),
        )
        .hint("weights need an I/O scheduler that has them (bfq): echo bfq > /sys/block/<disk>/queue/scheduler")
    })
}

/// v1 and the spec: 10 to 1000; `io.weight`: 1 to 10000.
pub(crate) fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight).max(10) - 10) * 9999 / 990
}

#[cfg(test)]
mod tests {
    #[test]
    fn weights_span_the_range_of_v2() {
        assert_eq!([10, 500, 1000].map(super::io_weight), [1, 4950, 10_000]);
    }
}
