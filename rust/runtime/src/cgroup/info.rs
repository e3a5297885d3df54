//! What this machine offers for limits, for `pyd info` and `pyd doctor`.

use std::collections::BTreeMap;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};
use serde::Serialize;

use super::layout::{Hierarchy, Layout, Mode};
use crate::error::Result;

/// The controllers of a container's limits, as v2 names them, with their v1 names.
const CONTROLLERS: [(&str, &str); 9] = [
    ("cpu", "cpu"),
    ("cpuset", "cpuset"),
    ("memory", "memory"),
    ("io", "blkio"),
    ("pids", "pids"),
    ("devices", "devices"),
    ("freezer", "freezer"),
    ("hugetlb", "hugetlb"),
    ("rdma", "rdma"),
];

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Info {
    pub mode: Mode,
    /// Every usable controller (v2's name) and the interface it is used through: `v1` or `v2`.
    pub controllers: BTreeMap<String, &'static str>,
    /// Mounted but not writable for this user, with the reason.
    pub unusable: BTreeMap<String, String>,
    /// Controllers of limits that are mounted nowhere.
    pub missing: Vec<String>,
    /// Whether memory plus swap can be limited.
    pub swap_limit: bool,
    /// Whether a block device weight can be given.
    pub block_weight: bool,
    /// Whether a container can be started right in its group (CLONE_INTO_CGROUP) and be killed at once.
    pub v2_membership: bool,
}

pub fn info() -> Result<Info> {
    let layout = Layout::detect()?;
    let mut info = Info {
        mode: layout.mode(),
        controllers: BTreeMap::new(),
        unusable: BTreeMap::new(),
        missing: Vec::new(),
        swap_limit: false,
        block_weight: false,
        v2_membership: layout.v2.as_ref().is_some_and(|v2| unusable(v2).is_none()),
    };
    for (name, v1_name) in CONTROLLERS {
        let on_v1 = layout
            .v1
            .iter()
            .find(|hierarchy| hierarchy.controllers.iter().any(|c| c == v1_name));
        // v2 has devices (BPF) and the freezer built in.
        let on_v2 = layout.v2.as_ref().filter(|v2| {
            matches!(name, "devices" | "freezer") || v2.controllers.iter().any(|c| c == name)
        });
        let (hierarchy, version) = match (on_v1, on_v2) {
            (Some(v1), _) => (v1, "v1"),
            (None, Some(v2)) => (v2, "v2"),
            (None, None) => {
                info.missing.push(name.to_owned());
                continue;
            }
        };
        match unusable(hierarchy) {
            Some(reason) => drop(info.unusable.insert(name.to_owned(), reason)),
            None => drop(info.controllers.insert(name.to_owned(), version)),
        }
        let has = |file: &str| hierarchy.mountpoint.join(file).exists();
        match (name, version) {
            ("memory", "v1") => info.swap_limit = has("memory.memsw.limit_in_bytes"),
            // The root of v2 has no limits to look at; accounting of swap cannot be turned off there since 6.1.
            ("memory", _) => info.swap_limit = std::path::Path::new("/proc/swaps").exists(),
            ("io", "v1") => info.block_weight = has("blkio.weight") || has("blkio.bfq.weight"),
            ("io", _) => info.block_weight = has("io.cost.qos") || has("io.bfq.weight"),
            _ => {}
        }
    }
    Ok(info)
}

fn unusable(hierarchy: &Hierarchy) -> Option<String> {
    if hierarchy.read_only {
        return Some(format!(
            "{} is mounted read-only",
            hierarchy.mountpoint.display()
        ));
    }
    match access(&hierarchy.mountpoint, AccessFlags::W_OK) {
        Ok(()) => None,
        Err(Errno::EACCES) => Some(format!(
            "{} belongs to root",
            hierarchy.mountpoint.display()
        )),
        Err(errno) => Some(errno.desc().to_owned()),
    }
}
