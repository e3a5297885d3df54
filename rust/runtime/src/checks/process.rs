//! `process`: of a config.json, and of `exec --process`.

use std::path::Path;

use super::{absolute, no_nul, wrong};
use crate::cpu_affinity::CpuAffinity;
use crate::error::{Error, Result};
use crate::spec::{IOPriorityClass, LinuxSchedulerPolicy, PosixRlimit, Process, Scheduler, User};
use crate::{unsupported, weakness};

/// `NGROUPS_MAX`.
const GROUPS: usize = 65536;

/// Checks a `process` object.
pub fn check(process: &Process) -> Result<()> {
    unsupported::check_process(process)?;
    let args = process.args().as_deref().unwrap_or(&[]);
    match args.first().map(String::as_str) {
        None => return Err(wrong("process.args", "names no command")),
        Some("") => return Err(wrong("process.args[0]", "is empty, and names no command")),
        Some(_) => {}
    }
    for (index, text) in args.iter().enumerate() {
        no_nul(format_args!("process.args[{index}]"), text)?;
    }
    check_environment("process.env", process.env().as_deref().unwrap_or(&[]))?;
    absolute("process.cwd", process.cwd())?;
    check_user(process.user())?;
    check_rlimits(process.rlimits().as_deref().unwrap_or(&[]))?;
    if let Some(size) = process.console_size() {
        for (name, value) in [("height", size.height()), ("width", size.width())] {
            if value > u64::from(u16::MAX) {
                return Err(wrong(
                    format_args!("process.consoleSize.{name}"),
                    "is above 65535",
                ));
            }
        }
    }
    if let Some(score) = process
        .oom_score_adj()
        .filter(|score| !(-1000..=1000).contains(score))
    {
        return Err(wrong(
            "process.oomScoreAdj",
            format_args!("{score} is not between -1000 and 1000"),
        ));
    }
    if let Some(priority) = process.io_priority() {
        let highest = match priority.class() {
            IOPriorityClass::IoprioClassRt
            | IOPriorityClass::IoprioClassBe
            | IOPriorityClass::IoprioClassIdle => 7,
        };
        if !(0..=highest).contains(&priority.priority()) {
            return Err(wrong(
                "process.ioPriority.priority",
                format_args!("{} is not between 0 and 7", priority.priority()),
            ));
        }
    }
    if let Some(scheduler) = process.scheduler() {
        check_scheduler(scheduler)?;
    }
    CpuAffinity::parse(process)?;
    check_labels(process)
}

/// `NAME=value` strings.
pub fn check_environment(field: &str, entries: &[String]) -> Result<()> {
    for (index, entry) in entries.iter().enumerate() {
        no_nul(format_args!("{field}[{index}]"), entry)?;
        match entry.split_once('=') {
            Some((name, _)) if !name.is_empty() => {}
            _ => {
                return Err(wrong(
                    format_args!("{field}[{index}]"),
                    format_args!("{entry:?} is not of the form NAME=value"),
                ));
            }
        }
    }
    Ok(())
}

fn check_user(user: &User) -> Result<()> {
    // 2^32-1 means "leave it" to setresuid and chown: it would keep root (CVE-2024-40635's class).
    let reserved = |field: String, id: u32| match id {
        u32::MAX => Err(Error::invalid(format!(
            "{field} is 4294967295, the largest possible is 4294967294"
        ))),
        _ => Ok(()),
    };
    reserved("process.user.uid".to_owned(), user.uid())?;
    reserved("process.user.gid".to_owned(), user.gid())?;
    let groups = user.additional_gids().as_deref().unwrap_or(&[]);
    for (index, gid) in groups.iter().enumerate() {
        reserved(format!("process.user.additionalGids[{index}]"), *gid)?;
    }
    if groups.len() > GROUPS {
        return Err(wrong(
            "process.user.additionalGids",
            format_args!("a process can have {GROUPS} groups at most"),
        ));
    }
    match user.umask() {
        Some(mask) if mask > 0o777 => Err(wrong(
            "process.user.umask",
            format_args!("{mask} is above 511 (octal 777)"),
        )),
        _ => Ok(()),
    }
}

fn check_rlimits(limits: &[PosixRlimit]) -> Result<()> {
    for (index, limit) in limits.iter().enumerate() {
        if limits[..index]
            .iter()
            .any(|other| other.typ() == limit.typ())
        {
            return Err(wrong(
                format_args!("process.rlimits[{index}].type"),
                format_args!("{} is listed twice", limit.typ()),
            ));
        }
        if limit.soft() > limit.hard() {
            return Err(wrong(
                format_args!("process.rlimits[{index}].soft"),
                format_args!("{} is above the hard limit {}", limit.soft(), limit.hard()),
            ));
        }
    }
    Ok(())
}

/// sched(7): which numbers a policy has. The kernel passes over or refuses others without a word.
fn check_scheduler(scheduler: &Scheduler) -> Result<()> {
    use LinuxSchedulerPolicy as Policy;
    let policy = scheduler.policy();
    let refuse =
        |field: &str, why: &str| Err(wrong(format_args!("process.scheduler.{field}"), why));
    if *policy == Policy::SchedIso {
        return refuse("policy", "SCHED_ISO is not implemented by any Linux kernel");
    }
    if scheduler
        .nice()
        .is_some_and(|nice| !(-20..=19).contains(&nice))
    {
        return refuse("nice", "is not between -20 and 19");
    }
    let priority = scheduler.priority().unwrap_or(0);
    match policy {
        Policy::SchedFifo | Policy::SchedRr if !(1..=99).contains(&priority) => {
            return refuse(
                "priority",
                "is not between 1 and 99, as SCHED_FIFO and SCHED_RR need it",
            );
        }
        Policy::SchedFifo | Policy::SchedRr => {}
        _ if priority != 0 => return refuse("priority", "is for SCHED_FIFO and SCHED_RR only"),
        _ => {}
    }
    let times = [
        ("runtime", scheduler.runtime()),
        ("deadline", scheduler.deadline()),
        ("period", scheduler.period()),
    ];
    if *policy != Policy::SchedDeadline {
        return match times.into_iter().find(|(_, time)| time.unwrap_or(0) != 0) {
            Some((field, _)) => refuse(field, "is for SCHED_DEADLINE only"),
            None => Ok(()),
        };
    }
    // The kernel keeps the two top bits to itself.
    if let Some((field, _)) = times
        .into_iter()
        .find(|(_, time)| time.unwrap_or(0) >> 62 != 0)
    {
        return refuse(field, "is too long");
    }
    let [runtime, deadline, period] = times.map(|(_, time)| time.unwrap_or(0));
    if runtime == 0 || runtime > deadline {
        return refuse(
            "runtime",
            "must be above 0 and at most process.scheduler.deadline",
        );
    }
    if period != 0 && deadline > period {
        return refuse("deadline", "is above process.scheduler.period");
    }
    Ok(())
}

/// A label that nobody enforces would leave the container less confined than its author believes.
fn check_labels(process: &Process) -> Result<()> {
    let given = |label: &Option<String>| label.clone().filter(|text| !text.is_empty());
    if let Some(profile) = given(process.apparmor_profile()) {
        no_nul("process.apparmorProfile", &profile)?;
        let enabled = std::fs::read("/sys/module/apparmor/parameters/enabled");
        let enabled = enabled.is_ok_and(|text| text.starts_with(b"Y"));
        if profile != "unconfined" && !enabled && !weakness::is("labels-unchecked") {
            return Err(wrong(
                "process.apparmorProfile",
                format_args!("\"{profile}\" cannot be enforced: this kernel has no AppArmor"),
            )
            .hint("leave it out"));
        }
    }
    if let Some(label) = given(process.selinux_label()) {
        no_nul("process.selinuxLabel", &label)?;
        if !selinux() {
            return Err(wrong(
                "process.selinuxLabel",
                format_args!("\"{label}\" cannot be enforced: this kernel has no SELinux"),
            )
            .hint("leave it out"));
        }
    }
    Ok(())
}

/// Whether SELinux is enabled.
pub fn selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}
