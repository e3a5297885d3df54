//! Memory, swap, reservation, kernel TCP buffers, swappiness and the OOM killer's switch.

use nix::errno::Errno;
use oci_spec::runtime::LinuxMemory;

use super::directory::{Dir, has};
use super::place::{Place, Places, max_or};
use crate::error::{Error, Result};

pub(crate) fn apply(places: &Places, memory: &LinuxMemory) -> Result<()> {
    let asked = memory.limit().is_some_and(|n| n != 0)
        || memory.swap().is_some_and(|n| n != 0)
        || memory.reservation().is_some_and(|n| n != 0)
        || memory.kernel_tcp().is_some_and(|n| n != 0)
        || memory.swappiness().is_some()
        || memory.disable_oom_killer() == Some(true);
    if !asked {
        return Ok(());
    }
    if let Some(swappiness) = memory.swappiness().filter(|n| *n > 100) {
        return Err(Error::invalid(format!(
            "memory swappiness must be between 0 and 100, not {swappiness}"
        )));
    }
    match places.need("memory", "memory", "memory limit")? {
        Place::V1(dir) => apply_v1(dir, memory),
        Place::V2(dir) => apply_v2(dir, memory),
    }
}

fn apply_v1(dir: &Dir, memory: &LinuxMemory) -> Result<()> {
    let limit = memory.limit().filter(|n| *n != 0);
    let mut swap = memory.swap().filter(|n| *n != 0);
    if limit == Some(-1) && swap.is_none() {
        // Lifting the memory limit alone would leave it below the limit of memory plus swap.
        swap = Some(-1);
    }
    // Without swap accounting (swapaccount=0) the file is missing: memory is limited all the same, as Docker does it.
    let swap = swap.filter(|_| has(dir, "memory.memsw.limit_in_bytes"));
    set_limits_v1(dir, limit, swap)?;
    if let Some(reservation) = memory.reservation().filter(|n| *n != 0) {
        dir.set("memory.soft_limit_in_bytes", &reservation.to_string())?;
    }
    if let Some(tcp) = memory.kernel_tcp().filter(|n| *n != 0) {
        dir.set("memory.kmem.tcp.limit_in_bytes", &tcp.to_string())?;
    }
    if memory.disable_oom_killer() == Some(true) {
        dir.set("memory.oom_control", "1")?;
    }
    if let Some(swappiness) = memory.swappiness() {
        dir.set("memory.swappiness", &swappiness.to_string())?;
    }
    Ok(())
}

/// The kernel keeps "memory <= memory plus swap" after each single write, so the order depends on whether the limits
/// grow or shrink: memory first is right for a new group and for smaller limits.
fn set_limits_v1(dir: &Dir, limit: Option<i64>, swap: Option<i64>) -> Result<()> {
    const LIMIT: &str = "memory.limit_in_bytes";
    const BOTH: &str = "memory.memsw.limit_in_bytes";
    let Some(limit) = limit else {
        return swap.map_or(Ok(()), |swap| dir.set(BOTH, &swap.to_string()));
    };
    let value = limit.to_string();
    match (dir.write(LIMIT, &value), swap) {
        (Ok(()), None) => Ok(()),
        (Ok(()), Some(swap)) => dir.set(BOTH, &swap.to_string()),
        (Err(Errno::EINVAL), Some(swap)) => {
            dir.set(BOTH, &swap.to_string())?;
            dir.write(LIMIT, &value)
                .map_err(|errno| too_small(dir, &value, errno))
        }
        (Err(errno), _) => Err(too_small(dir, &value, errno)),
    }
}

fn too_small(dir: &Dir, value: &str, errno: Errno) -> Error {
    let error = dir.refused("memory.limit_in_bytes", value, errno);
    if errno != Errno::EBUSY {
        return error;
    }
    let read = |file| dir.read(file).unwrap_or_default().trim().to_owned();
    error.context(format_args!(
        "unable to set memory limit to {value} (current usage: {}, peak usage: {})",
        read("memory.usage_in_bytes"),
        read("memory.max_usage_in_bytes"),
    ))
}

fn apply_v2(dir: &Dir, memory: &LinuxMemory) -> Result<()> {
    let limit = memory.limit().filter(|n| *n != 0);
    let swap = swap_v2(limit, memory.swap().filter(|n| *n != 0))?;
    if memory.check_before_update() == Some(true) {
        check_before_update(dir, limit, memory.swap())?;
    }
    if let Some(swap) = swap {
        let value = max_or(swap);
        match dir.write("memory.swap.max", &value) {
            // No swap in this kernel: then none will be used, which is what 0 and max amount to.
            Err(Errno::ENOENT) if swap <= 0 => {}
            other => {
                other.map_err(|errno| dir.refused("memory.swap.max", &value, errno))?;
            }
        }
    }
    if let Some(limit) = limit {
        dir.set("memory.max", &max_or(limit))?;
    }
    if let Some(reservation) = memory.reservation().filter(|n| *n != 0) {
        dir.set("memory.low", &max_or(reservation))?;
    }
    // kernel_tcp, swappiness and the OOM switch have no counterpart on v2. Docker discards them too, but an engine that
    // pauses instead of killing is something the user would wait for in vain.
    if memory.disable_oom_killer() == Some(true) {
        return Err(
            Error::new("cgroup", "the OOM killer cannot be disabled on cgroup v2")
                .hint("leave out --oom-kill-disable, or give the container a larger memory limit"),
        );
    }
    Ok(())
}

/// v1 and the spec count memory plus swap, v2 counts swap alone (runtime-spec config-linux.md, "Memory").
pub(crate) fn swap_v2(limit: Option<i64>, both: Option<i64>) -> Result<Option<i64>> {
    match (limit, both) {
        (Some(-1), None) => Ok(Some(-1)),
        (_, None) => Ok(None),
        (_, Some(-1)) => Ok(Some(-1)),
        (None, Some(_)) => Err(
            Error::invalid("a limit of memory plus swap needs a memory limit")
                .hint("give --memory together with --memory-swap"),
        ),
        (Some(-1), Some(_)) => Err(Error::invalid(
            "memory plus swap cannot be limited while memory is unlimited",
        )),
        (Some(limit), Some(both)) if both < limit => Err(Error::invalid(format!(
            "the limit of memory plus swap ({both}) is below the memory limit ({limit})"
        ))),
        (Some(limit), Some(both)) => Ok(Some(both - limit)),
    }
}

/// v2 takes any limit and then kills until it is met; the spec can ask for a refusal instead.
fn check_before_update(dir: &Dir, limit: Option<i64>, both: Option<i64>) -> Result<()> {
    let read = |file| {
        let text = dir.read(file).ok();
        text.and_then(|text| text.trim().parse::<i64>().ok())
    };
    let Some(usage) = read("memory.current") else {
        return Ok(());
    };
    let with_swap = usage + read("memory.swap.current").unwrap_or(0);
    for (what, limit, usage) in [
        ("memory limit", limit, usage),
        ("limit of memory plus swap", both, with_swap),
    ] {
        if let Some(limit) = limit.filter(|limit| *limit > 0 && *limit < usage) {
            return Err(Error::new(
                "cgroup",
                format!("rejecting the {what} {limit}: {usage} bytes are in use"),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_is_counted_alone_on_v2() {
        let mb = 1 << 20;
        assert_eq!(swap_v2(None, None).unwrap(), None);
        assert_eq!(swap_v2(Some(64 * mb), None).unwrap(), None);
        assert_eq!(swap_v2(Some(-1), None).unwrap(), Some(-1));
        assert_eq!(swap_v2(Some(64 * mb), Some(-1)).unwrap(), Some(-1));
        // The same value for both means no swap at all.
        assert_eq!(swap_v2(Some(64 * mb), Some(64 * mb)).unwrap(), Some(0));
        assert_eq!(
            swap_v2(Some(64 * mb), Some(96 * mb)).unwrap(),
            Some(32 * mb)
        );
        assert!(swap_v2(Some(64 * mb), Some(32 * mb)).is_err());
        assert!(swap_v2(None, Some(32 * mb)).is_err());
        assert!(swap_v2(Some(-1), Some(32 * mb)).is_err());
    }
}
