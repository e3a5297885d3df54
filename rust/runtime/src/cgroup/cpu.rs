//! CPU shares or weight, quota and period, burst, idle and real-time budget.

use nix::errno::Errno;
use oci_spec::runtime::LinuxCpu;

use super::directory::{Dir, read_at, write_at};
use super::place::{Place, Places};
use crate::error::{Error, Result};

/// The period that the kernel uses when none is given, in microseconds.
const DEFAULT_PERIOD: u64 = 100_000;

pub(crate) fn apply(places: &Places, cpu: &LinuxCpu) -> Result<()> {
    let asked = cpu.shares().is_some_and(|n| n != 0)
        || cpu.quota().is_some_and(|n| n != 0)
        || cpu.period().is_some_and(|n| n != 0)
        || cpu.burst().is_some()
        || cpu.idle().is_some()
        || cpu.realtime_runtime().is_some_and(|n| n != 0)
        || cpu.realtime_period().is_some_and(|n| n != 0);
    if !asked {
        return Ok(());
    }
    // The kernel clamps silently, which would be another limit than the one that was asked for.
    if let Some(shares) = cpu.shares().filter(|n| *n > 262_144) {
        return Err(Error::new(
            "cgroup",
            format!("the maximum allowed cpu-shares is 262144, not {shares}"),
        ));
    }
    match places.need("cpu", "cpu", "CPU limit")? {
        Place::V1(dir) => apply_v1(dir, cpu),
        Place::V2(dir) => apply_v2(dir, cpu),
    }
}

fn apply_v1(dir: &Dir, cpu: &LinuxCpu) -> Result<()> {
    real_time(dir, cpu)?;
    if let Some(shares) = cpu.shares().filter(|n| *n != 0) {
        dir.set("cpu.shares", &shares.to_string())?;
    }
    let period = cpu.period().filter(|n| *n != 0);
    let quota = cpu.quota().filter(|n| *n != 0);
    let burst = cpu.burst().map(|burst| burst.to_string());
    // A burst must not exceed the quota, and is lifted before a smaller quota comes.
    if burst.is_some() && quota.is_some() {
        // A kernel before 5.14 has no such file, which the write below reports if a burst is wanted.
        let _ = dir.write("cpu.cfs_burst_us", "0");
    }
    if let Some(period) = period {
        let value = period.to_string();
        match dir.write("cpu.cfs_period_us", &value) {
            // The old quota with the new period would exceed the parent's share: the quota goes first then.
            Err(Errno::EINVAL) if quota.is_some() => {
                dir.set("cpu.cfs_quota_us", &quota.unwrap_or(-1).to_string())?;
                dir.set("cpu.cfs_period_us", &value)?;
            }
            other => other.map_err(|errno| dir.refused("cpu.cfs_period_us", &value, errno))?,
        }
    }
    if let Some(quota) = quota {
        dir.set("cpu.cfs_quota_us", &quota.max(-1).to_string())?;
    }
    if let Some(burst) = burst.filter(|burst| burst != "0") {
        dir.set("cpu.cfs_burst_us", &burst)?;
    }
    if let Some(idle) = cpu.idle() {
        dir.set("cpu.idle", &idle.to_string())?;
    }
    Ok(())
}

/// Real-time runtime must be granted to every group on the way down, and none is by default.
fn real_time(dir: &Dir, cpu: &LinuxCpu) -> Result<()> {
    let mut files = Vec::new();
    if let Some(period) = cpu.realtime_period().filter(|n| *n != 0) {
        files.push(("cpu.rt_period_us", period.to_string(), i128::from(period)));
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|n| *n != 0) {
        files.push((
            "cpu.rt_runtime_us",
            runtime.to_string(),
            i128::from(runtime),
        ));
    }
    for (file, value, wanted) in files {
        if let Some(parent) = dir.parent() {
            let file = format!("{parent}/{file}");
            let granted = read_at(dir.root(), &file)
                .ok()
                .and_then(|text| text.trim().parse::<i128>().ok());
            if granted.is_some_and(|granted| granted < wanted) {
                // A refusal here shows again, with the container's own file in the message.
                let _ = write_at(dir.root(), &file, &value);
            }
        }
        dir.set(file, &value).map_err(|error| {
            error.hint("the parent group has no real-time budget to give (cpu.rt_runtime_us)")
        })?;
    }
    Ok(())
}

fn apply_v2(dir: &Dir, cpu: &LinuxCpu) -> Result<()> {
    if cpu.realtime_runtime().is_some_and(|n| n != 0)
        || cpu.realtime_period().is_some_and(|n| n != 0)
    {
        return Err(
            Error::new("cgroup", "cgroup v2 has no real-time CPU budget")
                .hint("leave out --cpu-rt-runtime and --cpu-rt-period"),
        );
    }
    if let Some(idle) = cpu.idle() {
        dir.set("cpu.idle", &idle.to_string())?;
    }
    // An idle group has no weight of its own: the kernel refuses the write.
    if let Some(shares) = cpu.shares().filter(|n| *n != 0 && cpu.idle() != Some(1)) {
        dir.set("cpu.weight", &weight_of_shares(shares).to_string())?;
    }
    if cpu.burst().is_some() && cpu.quota().is_some_and(|n| n != 0) {
        // As on v1; a kernel before 5.14 has no such file, which the write below reports if a burst is wanted.
        let _ = dir.write("cpu.max.burst", "0");
    }
    let quota = cpu.quota().filter(|n| *n != 0);
    let period = cpu.period().filter(|n| *n != 0);
    if quota.is_some() || period.is_some() {
        let value = match (quota, period) {
            // Only the period changes: the file holds both.
            (None, Some(period)) => {
                let current = dir.read("cpu.max").unwrap_or_default();
                let quota = current.split_whitespace().next().unwrap_or("max");
                format!("{quota} {period}")
            }
            (Some(quota), period) if quota > 0 => {
                format!("{quota} {}", period.unwrap_or(DEFAULT_PERIOD))
            }
            (_, period) => format!("max {}", period.unwrap_or(DEFAULT_PERIOD)),
        };
        dir.set("cpu.max", &value)?;
    }
    if let Some(burst) = cpu.burst().filter(|n| *n != 0) {
        dir.set("cpu.max.burst", &burst.to_string())?;
    }
    Ok(())
}

/// CPU weight of v2 (1 to 10000, default 100) for the shares of v1 (2 to 262144, default 1024).
///
/// The curve of runc and crun since 2025: log10(weight) is quadratic in log2(shares), through the three pairs of
/// minimum, default and maximum. The older straight line gave a default container a weight of 39.
pub fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            // 1024 shares must give exactly 100, not 101 through a rounding error in the last digit.
            (10f64.powf(exponent) - 1e-9).ceil() as u64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights() {
        let expected = [
            (0, 1),
            (2, 1),
            (1024, 100),
            (262_144, 10_000),
            (1 << 40, 10_000),
        ];
        for (shares, weight) in expected {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
        // Twice the shares is always more weight, except where the steps of 1 are coarse.
        assert!(weight_of_shares(2048) > 150 && weight_of_shares(512) < 70);
        assert!((3..262_144).all(|n| weight_of_shares(n) <= weight_of_shares(n + 1)));
    }
}
