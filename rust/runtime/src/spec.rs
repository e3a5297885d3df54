//! Reading and checking `config.json` (OCI runtime spec 1.2, config.md), so that the steps after it can trust it.

use std::fs;
use std::path::{Path, PathBuf};

pub use oci_spec::runtime::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::unsupported;

/// The annotation that asks for an overlay as the root; its value is [`Overlay`] as JSON.
pub const OVERLAY: &str = "dev.pyd.overlay";

/// An overlay that is mounted on `root.path`, inside the container's mount namespace only.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// Lower directories, top first.
    pub lower: Vec<PathBuf>,
    /// Upper directory; without it the overlay is read-only.
    #[serde(default)]
    pub upper: Option<PathBuf>,
    /// Work directory, on the filesystem of `upper`.
    #[serde(default)]
    pub work: Option<PathBuf>,
    /// Do without syncing: the upper directory is worthless after a crash.
    #[serde(default)]
    pub volatile: bool,
}

/// Reads, parses and checks `config.json` of a bundle.
pub fn load(bundle: &Path) -> Result<Spec> {
    let path = bundle.join("config.json");
    let bytes = fs::read(&path).map_err(|e| {
        let errno = nix::errno::Errno::from_raw(e.raw_os_error().unwrap_or(0));
        Error::at("spec", "open", &path, errno).hint("a bundle is a directory with a config.json")
    })?;
    parse(&bytes).map_err(|e| e.context(path.display()))
}

/// Parses and checks the text of a `config.json`.
pub fn parse(bytes: &[u8]) -> Result<Spec> {
    let spec: Spec = read(bytes)?;
    check(&spec)?;
    Ok(spec)
}

/// Parses and checks one `process` object (`exec --process`).
pub fn parse_process(bytes: &[u8]) -> Result<Process> {
    let process: Process = read(bytes)?;
    check_process(&process)?;
    Ok(process)
}

/// Parses JSON; an error names the field. Finding its name costs every field a little, so only what has failed is
/// read that way.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        let mut again = serde_json::Deserializer::from_slice(bytes);
        Error::invalid(match serde_path_to_error::deserialize::<_, T>(&mut again) {
            Err(named) => named.to_string(),
            Ok(_) => error.to_string(),
        })
    })
}

/// The overlay that the engine asks for, if it does.
pub fn overlay(spec: &Spec) -> Result<Option<Overlay>> {
    let Some(text) = spec.annotations().as_ref().and_then(|all| all.get(OVERLAY)) else {
        return Ok(None);
    };
    let overlay: Overlay = serde_json::from_str(text)
        .map_err(|e| Error::invalid(format!("annotation {OVERLAY}: {e}")))?;
    if overlay.lower.is_empty() {
        return Err(Error::invalid(format!(
            "annotation {OVERLAY}: \"lower\" names no directory"
        )));
    }
    if overlay.upper.is_some() != overlay.work.is_some() {
        return Err(Error::invalid(format!(
            "annotation {OVERLAY}: \"upper\" and \"work\" go together"
        )));
    }
    let all = overlay
        .lower
        .iter()
        .chain(&overlay.upper)
        .chain(&overlay.work);
    match all.into_iter().find(|path| !path.is_absolute()) {
        Some(path) => Err(Error::invalid(format!(
            "annotation {OVERLAY}: {} is not absolute",
            path.display()
        ))),
        None => Ok(Some(overlay)),
    }
}

/// The flags of the namespaces that the container gets for itself (no path given).
#[must_use]
pub fn new_namespaces(spec: &Spec) -> u64 {
    namespaces(spec)
        .iter()
        .filter(|ns| ns.path().is_none())
        .fold(0, |all, ns| all | flag(ns.typ()))
}

/// The namespaces of the spec.
#[must_use]
pub fn namespaces(spec: &Spec) -> &[LinuxNamespace] {
    spec.linux()
        .as_ref()
        .and_then(|linux| linux.namespaces().as_deref())
        .unwrap_or(&[])
}

/// Whether the container has a namespace of the kind that is not the caller's: one made for it, or one given by path.
/// What is set in a namespace that is the caller's own changes the host.
#[must_use]
pub fn isolated(spec: &Spec, kind: LinuxNamespaceType) -> bool {
    use std::os::unix::fs::MetadataExt;
    let Some(namespace) = namespaces(spec).iter().find(|ns| ns.typ() == kind) else {
        return false;
    };
    let Some(path) = namespace.path() else {
        return true;
    };
    let file = match kind {
        LinuxNamespaceType::Mount => "mnt",
        LinuxNamespaceType::Cgroup => "cgroup",
        LinuxNamespaceType::Uts => "uts",
        LinuxNamespaceType::Ipc => "ipc",
        LinuxNamespaceType::User => "user",
        LinuxNamespaceType::Pid => "pid",
        LinuxNamespaceType::Network => "net",
        LinuxNamespaceType::Time => "time",
    };
    let inode = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    // A path that cannot be looked at cannot be joined either, and its own error says so.
    inode(path) != inode(Path::new(&format!("/proc/self/ns/{file}")))
}

/// `CLONE_NEW*` of a kind of namespace (the discriminants are those numbers).
#[must_use]
pub fn flag(kind: LinuxNamespaceType) -> u64 {
    kind as u64
}

fn check(spec: &Spec) -> Result<()> {
    if !spec.version().starts_with("1.") {
        return Err(Error::invalid(format!(
            "ociVersion \"{}\" is not supported, only 1.x is",
            spec.version()
        )));
    }
    unsupported::check(spec)?;
    let root = spec
        .root()
        .as_ref()
        .ok_or_else(|| Error::invalid("root is missing"))?;
    if root.path().as_os_str().is_empty() {
        return Err(Error::invalid("root.path is empty"));
    }
    let process = spec
        .process()
        .as_ref()
        .ok_or_else(|| Error::invalid("process is missing"))?;
    check_process(process)?;
    for mount in spec.mounts().iter().flatten() {
        // A relative destination is allowed for old bundles: it is meant from "/".
        no_nul(&mount.destination().to_string_lossy(), "mounts.destination")?;
        for option in mount.options().iter().flatten() {
            no_nul(option, "mounts.options")?;
        }
    }
    check_namespaces(spec)?;
    for (name, value) in spec.annotations().iter().flatten() {
        if name.is_empty() {
            return Err(Error::invalid("an annotation has an empty name"));
        }
        no_nul(value, name)?;
    }
    overlay(spec).map(drop)
}

fn check_namespaces(spec: &Spec) -> Result<()> {
    let mut seen = 0;
    for ns in namespaces(spec) {
        if seen & flag(ns.typ()) != 0 {
            return Err(Error::invalid(format!(
                "namespace {} is listed twice",
                ns.typ()
            )));
        }
        seen |= flag(ns.typ());
        if ns.path().as_ref().is_some_and(|path| !path.is_absolute()) {
            return Err(Error::invalid(format!(
                "path of the {} namespace is not absolute",
                ns.typ()
            )));
        }
    }
    let has = |kind| seen & flag(kind) != 0;
    if spec
        .hostname()
        .as_ref()
        .is_some_and(|name| !name.is_empty())
        && !isolated(spec, LinuxNamespaceType::Uts)
    {
        return Err(Error::invalid(
            "hostname needs a uts namespace, or it would rename the host",
        ));
    }
    if spec
        .domainname()
        .as_ref()
        .is_some_and(|name| !name.is_empty())
        && !isolated(spec, LinuxNamespaceType::Uts)
    {
        return Err(Error::invalid(
            "domainname needs a uts namespace, or it would change the host's",
        ));
    }
    let linux = spec.linux().as_ref();
    let maps =
        |maps: &Option<Vec<LinuxIdMapping>>| maps.as_ref().is_some_and(|maps| !maps.is_empty());
    let mapped =
        linux.is_some_and(|linux| maps(linux.uid_mappings()) || maps(linux.gid_mappings()));
    if mapped && !has(LinuxNamespaceType::User) {
        return Err(Error::invalid(
            "uidMappings and gidMappings need a user namespace",
        ));
    }
    if linux.is_some_and(|linux| {
        linux
            .time_offsets()
            .as_ref()
            .is_some_and(|all| !all.is_empty())
    }) && new_namespaces(spec) & flag(LinuxNamespaceType::Time) == 0
    {
        // The clocks of one that is given by path are set for good (time_namespaces(7)).
        return Err(Error::invalid(
            "linux.timeOffsets needs a new time namespace",
        ));
    }
    if !has(LinuxNamespaceType::Mount)
        && (spec.mounts().iter().flatten().next().is_some() || overlay(spec)?.is_some())
    {
        return Err(Error::invalid(
            "mounts need a mount namespace, or they would appear on the host",
        ));
    }
    Ok(())
}

/// Checks a `process` object.
pub fn check_process(process: &Process) -> Result<()> {
    unsupported::check_process(process)?;
    let args = process.args().as_deref().unwrap_or(&[]);
    if args.first().is_none_or(String::is_empty) {
        return Err(Error::invalid("process.args names no command"));
    }
    for text in args.iter().chain(process.env().iter().flatten()) {
        no_nul(text, "process")?;
    }
    if !process.cwd().is_absolute() {
        return Err(Error::invalid(format!(
            "process.cwd \"{}\" is not absolute",
            process.cwd().display()
        )));
    }
    no_nul(&process.cwd().to_string_lossy(), "process.cwd")?;
    let user = process.user();
    // 2^32-1 means "leave it" to setresuid and chown: it would keep root (CVE-2024-40635's class).
    let ids = [user.uid(), user.gid()]
        .into_iter()
        .chain(user.additional_gids().iter().flatten().copied());
    if ids.into_iter().any(|id| id == u32::MAX) {
        return Err(Error::invalid(
            "a user or group id is 4294967295, the largest possible is 4294967294",
        ));
    }
    Ok(())
}

fn no_nul(text: &str, field: &str) -> Result<()> {
    if text.contains('\0') {
        return Err(Error::invalid(format!("{field} contains a NUL byte")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_user(user: &str) -> Result<Spec> {
        parse(
            format!(
                r#"{{"ociVersion":"1.2.0","root":{{"path":"rootfs"}},
                    "process":{{"args":["true"],"cwd":"/","user":{user}}}}}"#
            )
            .as_bytes(),
        )
    }

    #[test]
    fn ids_that_do_not_fit_are_refused_never_wrapped() {
        for bad in [
            "4294967296",
            "4294967295",
            "-1",
            "\"0\"",
            "1.5",
            "18446744073709551616",
            "null",
            "\"٣\"",
        ] {
            let error = parse_user(&format!(r#"{{"uid":{bad},"gid":0}}"#)).expect_err(bad);
            assert!(!error.message.contains('\n'), "one sentence: {error}");
            parse_user(&format!(r#"{{"uid":0,"gid":{bad}}}"#)).expect_err(bad);
            parse_user(&format!(r#"{{"uid":0,"gid":0,"additionalGids":[{bad}]}}"#)).expect_err(bad);
        }
        parse_user(r#"{"uid":4294967294,"gid":0}"#).unwrap();
    }

    #[test]
    fn wrong_types_name_the_place() {
        let error = parse_user(r#"{"uid":4294967296,"gid":0}"#).unwrap_err();
        let said = "process.user.uid: invalid value: integer `4294967296`, expected u32 at line 2";
        assert!(error.message.starts_with(said), "{error}");
        let error = parse(br#"{"ociVersion":"1.2.0","root":"rootfs"}"#).unwrap_err();
        assert!(error.message.starts_with("root: "), "{error}");
    }

    #[test]
    fn overlay_annotation() {
        let text = r#"{"ociVersion":"1.2.0","root":{"path":"rootfs"},"process":{"args":["true"],"cwd":"/","user":{"uid":0,"gid":0}},
            "linux":{"namespaces":[{"type":"mount"}]},
            "annotations":{"dev.pyd.overlay":"{\"lower\":[\"/a\",\"/b\"],\"upper\":\"/u\",\"work\":\"/w\"}"}}"#;
        let spec = parse(text.as_bytes()).unwrap();
        assert_eq!(overlay(&spec).unwrap().unwrap().lower.len(), 2);
        assert!(
            parse(
                text.replace("\\\"work\\\":\\\"/w\\\"", "\\\"volatile\\\":true")
                    .as_bytes()
            )
            .is_err()
        );
        assert!(parse(text.replace("[{\"type\":\"mount\"}]", "[]").as_bytes()).is_err());
    }
}
