//! Which CPUs and memory nodes a container may use.

use std::os::fd::BorrowedFd;

use oci_spec::runtime::LinuxCpu;

use super::directory::{Dir, read_at, write_at};
use super::place::{Place, Places};
use crate::error::Result;

pub(crate) fn apply(places: &Places, cpu: &LinuxCpu) -> Result<()> {
    let given = |set: &Option<String>| set.clone().filter(|set| !set.is_empty());
    let (cpus, mems) = (given(cpu.cpus()), given(cpu.mems()));
    if cpus.is_none() && mems.is_none() {
        return Ok(());
    }
    let (Place::V1(dir) | Place::V2(dir)) =
        places.need("cpuset", "cpuset", "set of CPUs or memory nodes")?;
    if let Some(cpus) = cpus {
        dir.set("cpuset.cpus", &cpus).map_err(|error| {
            error.hint("the list must be like 0-3,7 and hold only CPUs of this machine (lscpu)")
        })?;
    }
    if let Some(mems) = mems {
        dir.set("cpuset.mems", &mems).map_err(|error| {
            error.hint("the list must be like 0-1 and hold only memory nodes of this machine")
        })?;
    }
    Ok(())
}

/// A new v1 cpuset is empty, and no process can join an empty one (ENOSPC). Called for each parent that was made:
/// with clone_children the groups below it start with its values.
pub(crate) fn prepare_parent(root: BorrowedFd<'_>, path: &str) -> nix::Result<()> {
    inherit(root, path)?;
    write_at(root, &format!("{path}/cgroup.clone_children"), "1")
}

/// Fills the container's own set where the parent did not: the parent is the user's, or another process had made it
/// and not yet filled it.
pub(crate) fn prepare_leaf(dir: &Dir, path: &str) -> nix::Result<()> {
    if dir.has_new_parent() || !dir.read("cpuset.mems")?.trim().is_empty() {
        return Ok(());
    }
    for (end, _) in path.match_indices('/') {
        inherit(dir.root(), &path[..end])?;
    }
    inherit(dir.root(), path)
}

/// Copies the parent's set into an empty one.
fn inherit(root: BorrowedFd<'_>, path: &str) -> nix::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = format!("{path}/{file}");
        if !read_at(root, &own)?.trim().is_empty() {
            continue;
        }
        let parent = match path.rsplit_once('/') {
            Some((parent, _)) => format!("{parent}/{file}"),
            None => file.to_owned(),
        };
        write_at(root, &own, read_at(root, &parent)?.trim())?;
    }
    Ok(())
}
