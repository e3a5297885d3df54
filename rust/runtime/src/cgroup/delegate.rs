//! Giving a v2 group to the container's user, so that an init system in the container can manage groups of its own.
//!
//! As runc does it: only when the container has its own cgroup namespace and a writable mount of its groups, since
//! otherwise nobody in it could use them (docs/cgroup-v2.md there). The group's limits stay with the host's root.

use std::fs;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::unistd::{Uid, fchown, fchownat};

use super::place::Places;
use crate::error::{Error, Result};
use crate::spec::{LinuxIdMapping, LinuxNamespaceType, Spec};

/// Files of a delegated group when the kernel names none (before Linux 4.15, cgroups(7)).
const FILES: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

/// Host id of the user who should own the container's group, if the spec makes it useful to anybody.
pub fn owner(spec: &Spec) -> Option<u32> {
    let linux = spec.linux().as_ref()?;
    let kind = |wanted| {
        let mut all = linux.namespaces().iter().flatten();
        all.find(|namespace| namespace.typ() == wanted)
    };
    // One that is joined belongs to somebody else.
    if kind(LinuxNamespaceType::Cgroup)?.path().is_some() {
        return None;
    }
    let writable = spec.mounts().iter().flatten().any(|mount| {
        mount.typ().as_deref() == Some("cgroup")
            && mount.destination().as_os_str() == "/sys/fs/cgroup"
            && !mount
                .options()
                .iter()
                .flatten()
                .any(|option| option == "ro")
    });
    let user = spec.process().as_ref()?.user().uid();
    match kind(LinuxNamespaceType::User) {
        _ if !writable => None,
        None => (user != 0).then_some(user),
        Some(_) => host_id(linux.uid_mappings().as_deref()?, user),
    }
}

fn host_id(maps: &[LinuxIdMapping], id: u32) -> Option<u32> {
    maps.iter().find_map(|map| {
        let offset = id.checked_sub(map.container_id())?;
        (offset < map.size()).then_some(map.host_id().checked_add(offset))?
    })
}

/// On v2 alone: v1 has no safe delegation (cgroups(7), "Cgroups v1").
pub(crate) fn give(places: &Places, uid: u32) -> Result<()> {
    let Some(group) = places.v2.as_ref().filter(|_| places.v1.is_empty()) else {
        return Ok(());
    };
    let dir = &group.dir;
    let failed = |file: &str, errno| {
        Error::at("cgroup", "chown", format!("{}/{file}", dir.label), errno)
            .context("cannot give the container its control group")
    };
    let owner = Some(Uid::from_raw(uid));
    match fchown(dir.fd(), owner, None) {
        Ok(()) => {}
        // Rootless: the group is the caller's already.
        Err(Errno::EPERM) => return Ok(()),
        Err(errno) => return Err(failed("", errno)),
    }
    let named = fs::read_to_string("/sys/kernel/cgroup/delegate");
    for file in named.as_deref().unwrap_or(FILES).lines() {
        match fchownat(dir.fd(), file, owner, None, AtFlags::AT_SYMLINK_NOFOLLOW) {
            // Each controller has its own, and not all are on.
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(failed(file, errno)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn owner_of(change: impl FnOnce(&mut Value)) -> Option<u32> {
        let mut spec = json!({
            "ociVersion": "1.2.0", "root": { "path": "rootfs" },
            "process": { "args": ["true"], "cwd": "/", "user": { "uid": 5, "gid": 0 } },
            "mounts": [{ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup" }],
            "linux": {
                "namespaces": [{ "type": "cgroup" }, { "type": "user" }],
                "uidMappings": [{ "containerID": 0, "hostID": 100_000, "size": 6 }],
            },
        });
        change(&mut spec);
        owner(&serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn only_who_can_use_it() {
        assert_eq!(owner_of(|_| {}), Some(100_005));
        assert_eq!(
            owner_of(|spec| spec["process"]["user"]["uid"] = json!(6)),
            None
        );
        assert_eq!(
            owner_of(|spec| spec["mounts"][0]["options"] = json!(["ro"])),
            None
        );
        assert_eq!(
            owner_of(|spec| spec["linux"]["namespaces"] = json!([{ "type": "user" }])),
            None
        );
        let host = json!([{ "type": "cgroup" }]);
        assert_eq!(owner_of(|spec| spec["linux"]["namespaces"] = host), Some(5));
        let joined = json!([{ "type": "cgroup", "path": "/proc/1/ns/cgroup" }]);
        assert_eq!(owner_of(|spec| spec["linux"]["namespaces"] = joined), None);
    }
}
