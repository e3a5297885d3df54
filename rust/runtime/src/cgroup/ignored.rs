//! Limits of the spec that this machine's kernel has nothing for, and that mean no harm when they are left out.

use oci_spec::runtime::LinuxResources;

use super::place::{Place, Places};

/// One sentence for each.
pub(crate) fn warnings(places: &Places, resources: &LinuxResources) -> Vec<String> {
    let mut all = Vec::new();
    let mut note = |asked: bool, field: &str, why: &str| {
        if asked {
            all.push(format!("linux.resources.{field} is left out: {why}"));
        }
    };
    let v2 = |v1: &str, v2: &str| matches!(places.find(v1, v2), Some(Place::V2(_)));
    if let Some(memory) = resources.memory() {
        #[allow(deprecated, reason = "specs still have it")]
        let kernel = memory.kernel().is_some_and(|bytes| bytes > 0);
        note(kernel, "memory.kernel", "Linux has dropped this limit");
        let v2 = v2("memory", "memory");
        let none = "cgroup v2 has no such setting";
        note(
            v2 && memory.swappiness().is_some(),
            "memory.swappiness",
            none,
        );
        let tcp = memory.kernel_tcp().is_some_and(|bytes| bytes > 0);
        note(
            v2 && tcp,
            "memory.kernelTCP",
            "cgroup v2 counts it as memory",
        );
    }
    if let Some(io) = resources.block_io() {
        let leaf = io.leaf_weight().is_some_and(|weight| weight != 0);
        let none = "cgroup v2 has no leaf weights";
        note(v2("blkio", "io") && leaf, "blockIO.leafWeight", none);
    }
    all
}
