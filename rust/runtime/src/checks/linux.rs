//! `linux`, without its resources and its seccomp rules.

use std::path::{Component, Path};

use super::process::selinux;
use super::{absolute, listed, no_nul, wrong};
use crate::devices::Devices;
use crate::error::Result;
use crate::memory_policy::MemoryPolicy;
use crate::mount_options::propagation;
use crate::spec::{self, Linux, LinuxIdMapping, LinuxNamespaceType, Spec};

/// Lines of an id map (`user_namespaces(7)`).
const MAPS: usize = 340;

pub(super) fn check(spec: &Spec) -> Result<()> {
    Devices::prepare(spec)?;
    let Some(linux) = spec.linux() else {
        return Ok(());
    };
    check_users(spec, linux)?;
    check_clocks(spec, linux)?;
    check_paths(spec, linux)?;
    let personality = linux.personality().as_ref();
    let flags = personality.and_then(|personality| personality.flags().as_ref());
    if flags.is_some_and(|flags| !flags.is_empty()) {
        return Err(wrong(
            "linux.personality.flags",
            "the spec defines none yet",
        ));
    }
    if let Some(policy) = linux.memory_policy() {
        MemoryPolicy::parse(policy)?;
    }
    let named = linux.rootfs_propagation().as_deref().unwrap_or("");
    if !named.is_empty() && propagation(named).is_none() {
        return Err(wrong(
            "linux.rootfsPropagation",
            format_args!("\"{named}\" is none of shared, slave, private, unbindable"),
        ));
    }
    let label = linux.mount_label().as_deref().unwrap_or("");
    no_nul("linux.mountLabel", label)?;
    if !label.is_empty() && !selinux() {
        return Err(wrong(
            "linux.mountLabel",
            format_args!("\"{label}\" cannot be set: this kernel has no SELinux"),
        )
        .hint("leave it out"));
    }
    Ok(())
}

pub(super) fn check_namespaces(spec: &Spec) -> Result<()> {
    let all = spec::namespaces(spec);
    for (index, ns) in all.iter().enumerate() {
        if all[..index].iter().any(|other| other.typ() == ns.typ()) {
            return Err(wrong(
                format_args!("linux.namespaces[{index}].type"),
                format_args!("{} is listed twice", ns.typ()),
            ));
        }
        if let Some(path) = ns.path() {
            absolute(format_args!("linux.namespaces[{index}].path"), path)?;
        }
    }
    if !listed(spec, LinuxNamespaceType::Mount)
        && (spec.mounts().iter().flatten().next().is_some() || spec::overlay(spec)?.is_some())
    {
        return Err(wrong(
            "mounts",
            "need a mount namespace in linux.namespaces, or they would appear on the host",
        ));
    }
    Ok(())
}

fn check_users(spec: &Spec, linux: &Linux) -> Result<()> {
    let (uids, gids) = (
        linux.uid_mappings().as_deref().unwrap_or(&[]),
        linux.gid_mappings().as_deref().unwrap_or(&[]),
    );
    let new = spec::new_namespaces(spec) & spec::flag(LinuxNamespaceType::User) != 0;
    for (field, maps) in [("linux.uidMappings", uids), ("linux.gidMappings", gids)] {
        if maps.is_empty() && new {
            return Err(wrong(
                field,
                "is missing: a new user namespace needs both mappings",
            ));
        }
        if !maps.is_empty() && !listed(spec, LinuxNamespaceType::User) {
            return Err(wrong(field, "needs a user namespace"));
        }
        if !maps.is_empty() {
            check_maps(field, maps)?;
        }
    }
    Ok(())
}

/// Checks an id map that is not empty.
pub(super) fn check_maps(field: &str, maps: &[LinuxIdMapping]) -> Result<()> {
    if maps.is_empty() || maps.len() > MAPS {
        return Err(wrong(
            field,
            format_args!("must have between 1 and {MAPS} entries"),
        ));
    }
    for (index, map) in maps.iter().enumerate() {
        if map.size() == 0 {
            return Err(wrong(format_args!("{field}[{index}].size"), "is 0"));
        }
        // 2^32-1 is no id.
        for (name, first) in [
            ("containerID", map.container_id()),
            ("hostID", map.host_id()),
        ] {
            if u64::from(first) + u64::from(map.size()) > u64::from(u32::MAX) {
                return Err(wrong(
                    format_args!("{field}[{index}].{name}"),
                    format_args!("{first} and size {} go beyond 4294967294", map.size()),
                ));
            }
        }
    }
    Ok(())
}

fn check_clocks(spec: &Spec, linux: &Linux) -> Result<()> {
    let Some(offsets) = linux.time_offsets().as_ref().filter(|all| !all.is_empty()) else {
        return Ok(());
    };
    // The clocks of one that is given by path are set for good (time_namespaces(7)).
    if spec::new_namespaces(spec) & spec::flag(LinuxNamespaceType::Time) == 0 {
        return Err(wrong("linux.timeOffsets", "needs a new time namespace"));
    }
    for (clock, offset) in offsets {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(wrong(
                format_args!("linux.timeOffsets.{clock}"),
                "is neither monotonic nor boottime, which are the clocks that a container can have",
            ));
        }
        if offset.nanosecs().is_some_and(|n| n > 999_999_999) {
            return Err(wrong(
                format_args!("linux.timeOffsets.{clock}.nanosecs"),
                "is a second or more",
            ));
        }
        // The kernel lets no clock begin after half of its range (KTIME_SEC_MAX / 2).
        if offset
            .secs()
            .is_some_and(|secs| secs.unsigned_abs() > i64::MAX as u64 / 1_000_000_000 / 2)
        {
            return Err(wrong(
                format_args!("linux.timeOffsets.{clock}.secs"),
                "is beyond the range of the kernel's clocks, 146 years",
            ));
        }
    }
    Ok(())
}

fn check_paths(spec: &Spec, linux: &Linux) -> Result<()> {
    for (field, paths) in [
        ("linux.maskedPaths", linux.masked_paths()),
        ("linux.readonlyPaths", linux.readonly_paths()),
    ] {
        let paths = paths.as_deref().unwrap_or(&[]);
        if !paths.is_empty() && !listed(spec, LinuxNamespaceType::Mount) {
            return Err(wrong(
                field,
                "needs a mount namespace, or the host's files would be covered",
            ));
        }
        for (index, path) in paths.iter().enumerate() {
            absolute(format_args!("{field}[{index}]"), Path::new(path))?;
        }
    }
    for (name, value) in linux.sysctl().iter().flatten() {
        let field = format!("linux.sysctl.{name}");
        no_nul(&field, value)?;
        if value.is_empty() {
            return Err(wrong(field, "is empty"));
        }
    }
    if let Some(path) = linux.cgroups_path() {
        no_nul("linux.cgroupsPath", &path.to_string_lossy())?;
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(wrong(
                "linux.cgroupsPath",
                format_args!("{path:?} leads out of itself with \"..\""),
            ));
        }
    }
    Ok(())
}
