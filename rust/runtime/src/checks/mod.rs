//! Whether a parsed spec can mean what its author wants, field by field, before anything is made from it.
//!
//! Every refusal begins with the field's dotted path. What only the kernel can know (a device that does not exist, a
//! limit below what is used) is left to the step that asks it.

mod linux;
mod process;
mod resources;
mod seccomp;

use std::fmt::Display;
use std::path::Path;

pub use process::check as check_process;

use crate::error::{Error, Result};
use crate::layer_mount::{self, LayerMount};
use crate::mount_options::MountOptions;
use crate::spec::{self, Hook, LinuxNamespaceType, Mount, Spec};
use crate::{intel_rdt, net_devices, sysctl, unsupported};

/// Longest host and domain name (`__NEW_UTS_LEN`).
const NAME: usize = 64;

/// Checks a whole spec.
pub fn check(spec: &Spec) -> Result<()> {
    check_version(spec.version())?;
    unsupported::check(spec)?;
    let root = spec
        .root()
        .as_ref()
        .ok_or_else(|| Error::invalid("root is missing"))?;
    path("root.path", root.path())?;
    linux::check_namespaces(spec)?;
    let process = spec
        .process()
        .as_ref()
        .ok_or_else(|| Error::invalid("process is missing"))?;
    check_process(process)?;
    if process.terminal() == Some(true) && !listed(spec, LinuxNamespaceType::Mount) {
        return Err(wrong(
            "process.terminal",
            "needs a mount namespace in linux.namespaces",
        ));
    }
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        check_mount(mount, &format!("mounts[{index}]"))?;
    }
    for (field, value) in [
        ("hostname", spec.hostname()),
        ("domainname", spec.domainname()),
    ] {
        check_name(spec, field, value.as_deref().unwrap_or(""))?;
    }
    check_hooks(spec)?;
    for (name, value) in spec.annotations().iter().flatten() {
        if name.is_empty() {
            return Err(wrong("annotations", "a name is empty"));
        }
        no_nul(format_args!("annotations.{name}"), value)?;
    }
    spec::overlay(spec)?;
    linux::check(spec)?;
    sysctl::check(spec)?;
    net_devices::check(spec)?;
    let linux = spec.linux().as_ref();
    if let Some(rdt) = linux.and_then(|linux| linux.intel_rdt().as_ref()) {
        intel_rdt::check(rdt)?;
    }
    if let Some(seccomp) = linux.and_then(|linux| linux.seccomp().as_ref()) {
        seccomp::check(seccomp)?;
    }
    if let Some(resources) = linux.and_then(|linux| linux.resources().as_ref()) {
        resources::check(resources)?;
    }
    Ok(())
}

/// The refusal of a field.
fn wrong(field: impl Display, why: impl Display) -> Error {
    Error::invalid(format!("{field}: {why}"))
}

/// C ends a string at its first NUL: the kernel would see another value than the author of the spec.
fn no_nul(field: impl Display, text: &str) -> Result<()> {
    match text.contains('\0') {
        true => Err(wrong(field, "contains a NUL byte")),
        false => Ok(()),
    }
}

/// A path that is there and has no NUL.
fn path(field: impl Display, path: &Path) -> Result<()> {
    if path.as_os_str().is_empty() {
        return Err(wrong(field, "is empty"));
    }
    no_nul(field, &path.to_string_lossy())
}

/// The same, from `/`.
fn absolute(field: impl Display, given: &Path) -> Result<()> {
    path(&field, given)?;
    match given.is_absolute() {
        true => Ok(()),
        false => Err(wrong(field, format_args!("{:?} is not absolute", given))),
    }
}

fn listed(spec: &Spec, kind: LinuxNamespaceType) -> bool {
    spec::namespaces(spec).iter().any(|ns| ns.typ() == kind)
}

fn check_version(version: &str) -> Result<()> {
    if version.is_empty() {
        return Err(wrong("ociVersion", "is missing"));
    }
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let numbers: Option<Vec<u32>> = core.split('.').map(|part| part.parse().ok()).collect();
    match numbers.as_deref() {
        Some([1, _, _]) => Ok(()),
        Some([_, _, _]) => Err(wrong(
            "ociVersion",
            format_args!("\"{version}\" is not supported, only 1.x is"),
        )),
        _ => Err(wrong(
            "ociVersion",
            format_args!("\"{version}\" is not a version like 1.2.0"),
        )),
    }
}

fn check_name(spec: &Spec, field: &str, name: &str) -> Result<()> {
    no_nul(field, name)?;
    if name.len() > NAME {
        return Err(wrong(field, format_args!("is longer than {NAME} bytes")));
    }
    if !name.is_empty() && !spec::isolated(spec, LinuxNamespaceType::Uts) {
        return Err(wrong(
            field,
            "needs a uts namespace, or it would be the host's",
        ));
    }
    Ok(())
}

fn check_mount(mount: &Mount, field: &str) -> Result<()> {
    // A relative destination is allowed for old bundles: it is meant from "/".
    path(format_args!("{field}.destination"), mount.destination())?;
    for (index, option) in mount.options().iter().flatten().enumerate() {
        no_nul(format_args!("{field}.options[{index}]"), option)?;
    }
    let options = MountOptions::parse(mount.options().as_deref().unwrap_or(&[]))
        .map_err(|e| e.context(format_args!("{field}.options")))?;
    let kind = mount.typ().as_deref().unwrap_or("");
    no_nul(format_args!("{field}.type"), kind)?;
    let bind = options.bind.is_some() || kind == "bind";
    if let Some(source) = mount.source() {
        no_nul(format_args!("{field}.source"), &source.to_string_lossy())?;
    }
    if !bind && !options.remount && matches!(kind, "" | "none") {
        return Err(wrong(
            format_args!("{field}.type"),
            format_args!("is missing, and {field}.options do not ask for a bind mount"),
        ));
    }
    if bind && !options.remount {
        path(
            format_args!("{field}.source"),
            mount.source().as_deref().unwrap_or(Path::new("")),
        )?;
        if let Some((name, _)) = options.data.iter().find(|(name, _)| !harmless(name)) {
            let words = mount.options().iter().flatten();
            let index = words
                .take_while(|word| !word.starts_with(name.as_str()))
                .count();
            return Err(wrong(
                format_args!("{field}.options[{index}]"),
                format_args!("\"{name}\" means nothing for a bind mount"),
            ));
        }
    }
    if kind == layer_mount::KIND {
        check_layers(mount, &options, field)?;
    }
    let maps = [
        ("uidMappings", mount.uid_mappings()),
        ("gidMappings", mount.gid_mappings()),
    ];
    for (name, maps) in maps {
        if let Some(maps) = maps {
            linux::check_maps(&format!("{field}.{name}"), maps)?;
        }
    }
    match maps {
        [(_, Some(_)), (_, None)] => Err(wrong(
            format_args!("{field}.gidMappings"),
            "is missing beside uidMappings",
        )),
        [(_, None), (_, Some(_))] => Err(wrong(
            format_args!("{field}.uidMappings"),
            "is missing beside gidMappings",
        )),
        [(name, Some(_)), _] if !bind => Err(wrong(
            format_args!("{field}.{name}"),
            "only bind mounts can be id-mapped",
        )),
        _ => Ok(()),
    }
}

/// A mount from layers: its source, and that its options are those of a bind mount.
fn check_layers(mount: &Mount, options: &MountOptions, field: &str) -> Result<()> {
    let source = mount.source().as_deref().unwrap_or(Path::new(""));
    LayerMount::parse(&source.to_string_lossy())
        .map_err(|e| e.context(format_args!("{field}.source")))?;
    let flag = |set: bool, name| set.then_some(name);
    let foreign = flag(options.bind.is_some(), "bind")
        .or(flag(options.remount, "remount"))
        .or(flag(options.copy_up, "tmpcopyup"))
        .or(flag(options.subpath.is_some(), "dev.pyd.subpath"))
        .or(flag(options.idmap.is_some(), "idmap"))
        .or(options.data.first().map(|(name, _)| name.as_str()));
    match foreign {
        Some(name) => Err(wrong(
            format_args!("{field}.options"),
            format_args!("\"{name}\" means nothing for a mount from layers"),
        )),
        None => Ok(()),
    }
}

/// Words of /etc/fstab that no mount has ever acted upon, flags of the filesystem that a bind mount shares, and those
/// of a tmpfs, which some writers (the runtime-tools) put into every mount: as mount(2), which passes over them.
fn harmless(option: &str) -> bool {
    const WORDS: [&str; 16] = [
        "auto",
        "noauto",
        "nofail",
        "user",
        "nouser",
        "_netdev",
        "comment",
        "async",
        "sync",
        "dirsync",
        "lazytime",
        "nolazytime",
        "mand",
        "nomand",
        "mode",
        "size",
    ];
    option.starts_with("x-") || WORDS.contains(&option)
}

fn check_hooks(spec: &Spec) -> Result<()> {
    let Some(all) = spec.hooks() else {
        return Ok(());
    };
    // Deprecated by the spec; engines still send them.
    #[allow(deprecated)]
    let prestart = all.prestart();
    for (kind, hooks) in [
        ("prestart", prestart),
        ("createRuntime", all.create_runtime()),
        ("createContainer", all.create_container()),
        ("startContainer", all.start_container()),
        ("poststart", all.poststart()),
        ("poststop", all.poststop()),
    ] {
        for (index, hook) in hooks.iter().flatten().enumerate() {
            check_hook(hook, &format!("hooks.{kind}[{index}]"))?;
        }
    }
    Ok(())
}

fn check_hook(hook: &Hook, field: &str) -> Result<()> {
    absolute(format_args!("{field}.path"), hook.path())?;
    for (index, text) in hook.args().iter().flatten().enumerate() {
        no_nul(format_args!("{field}.args[{index}]"), text)?;
    }
    process::check_environment(
        &format!("{field}.env"),
        hook.env().as_deref().unwrap_or(&[]),
    )?;
    if hook.timeout().is_some_and(|seconds| seconds <= 0) {
        return Err(wrong(
            format_args!("{field}.timeout"),
            "must be greater than 0 seconds",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
