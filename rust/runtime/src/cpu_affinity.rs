//! CPUs of a process that joins a container (`process.execCPUAffinity`): those it begins on, so that joining disturbs
//! no CPU that the container has for itself, and those it is to run on afterwards.

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::error::{Error, Result};
use crate::number_list;
use crate::spec::Process;

const ITSELF: Pid = Pid::from_raw(0);

/// The two sets, as far as they are given.
#[derive(Debug, Default)]
pub struct CpuAffinity {
    initial: Option<CpuSet>,
    last: Option<CpuSet>,
}

impl CpuAffinity {
    /// Parses `process.execCPUAffinity`; empty lists are none.
    pub fn parse(process: &Process) -> Result<Self> {
        let Some(affinity) = process.exec_cpu_affinity() else {
            return Ok(Self::default());
        };
        Ok(Self {
            initial: set("initial", affinity.initial())?,
            last: set("final", affinity.cpu_affinity_final())?,
        })
    }

    /// Parent: runs `spawn` on the initial CPUs, which the process that it makes inherits.
    pub fn begin<T>(&self, spawn: impl FnOnce() -> Result<T>) -> Result<T> {
        let Some(initial) = &self.initial else {
            return spawn();
        };
        let before =
            sched_getaffinity(ITSELF).map_err(|e| Error::os("exec", "sched_getaffinity", e))?;
        sched_setaffinity(ITSELF, initial).map_err(|e| refused("initial", e))?;
        let spawned = spawn();
        // The set it had cannot be refused, but for a change of the caller's own cpuset in between.
        let _ = sched_setaffinity(ITSELF, &before);
        spawned
    }

    /// Child: once it is in the container's cpuset, which bounds what it may run on.
    pub fn settle(&self) -> Result<()> {
        match &self.last {
            Some(last) => sched_setaffinity(ITSELF, last).map_err(|e| refused("final", e)),
            None => Ok(()),
        }
    }
}

fn set(name: &str, list: &Option<String>) -> Result<Option<CpuSet>> {
    let Some(list) = list.as_deref().filter(|list| !list.is_empty()) else {
        return Ok(None);
    };
    let wrong =
        |why: String| Error::invalid(format!("process.execCPUAffinity.{name} \"{list}\": {why}"));
    let mut set = CpuSet::new();
    for cpu in number_list::parse(list, CpuSet::count() as u32).map_err(wrong)? {
        set.set(cpu as usize).map_err(|e| wrong(e.to_string()))?;
    }
    Ok(Some(set))
}

fn refused(name: &str, errno: Errno) -> Error {
    let error = Error::os("exec", "sched_setaffinity", errno)
        .context(format!("process.execCPUAffinity.{name}"));
    match errno {
        Errno::EINVAL => error.hint("none of these CPUs is online and in the cpuset"),
        _ => error,
    }
}
