//! Reading and checking `config.json` (OCI runtime spec 1.2, config.md), so that the steps after it can trust it.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub use oci_spec::runtime::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::checks::check;
pub use crate::checks::check_process;
use crate::error::{Error, Result};
use crate::second_look;
use crate::strict_json::Strict;

/// The annotation that asks for an overlay as the root; its value is [`Overlay`] as JSON.
pub const OVERLAY: &str = "dev.pyd.overlay";

/// An overlay that is mounted on `root.path`, inside the container's mount namespace only.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// Lower directories, top first; none for an empty tree.
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

impl Overlay {
    /// Whether it can be mounted, as far as its text tells; an error begins with the name of the field.
    pub fn check(&self) -> Result<()> {
        if self.upper.is_some() != self.work.is_some() {
            return Err(Error::invalid("\"upper\" and \"work\" go together"));
        }
        let lower = self.lower.iter().map(|path| ("lower", path));
        let upper = self.upper.iter().map(|path| ("upper", path));
        let work = self.work.iter().map(|path| ("work", path));
        for (field, path) in lower.chain(upper).chain(work) {
            let wrong = if !path.is_absolute() {
                "is not absolute"
            } else if path.as_os_str().as_bytes().contains(&0) {
                "contains a NUL byte"
            } else {
                continue;
            };
            return Err(Error::invalid(format!(
                "\"{field}\": {} {wrong}",
                path.display()
            )));
        }
        Ok(())
    }
}

/// Largest config.json that is read. The longest that Linux could execute (arguments and environment of 6 MB) fits
/// several times.
const LARGEST: u64 = 16 << 20;

/// Reads, parses and checks `config.json` of a bundle.
pub fn load(bundle: &Path) -> Result<Spec> {
    load_noting(bundle, &mut Vec::new())
}

/// [`load`]; what was left out, and should be said once, is added to `notes`.
pub fn load_noting(bundle: &Path, notes: &mut Vec<String>) -> Result<Spec> {
    let path = bundle.join("config.json");
    let mut bytes = Vec::with_capacity(32 << 10);
    let read = File::open(&path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes));
    read.map_err(|e| {
        let errno = nix::errno::Errno::from_raw(e.raw_os_error().unwrap_or(0));
        Error::at("spec", "open", &path, errno).hint("a bundle is a directory with a config.json")
    })?;
    parse_noting(&bytes, notes).map_err(|e| e.context(path.display()))
}

/// Parses and checks the text of a `config.json`.
pub fn parse(bytes: &[u8]) -> Result<Spec> {
    parse_noting(bytes, &mut Vec::new())
}

fn parse_noting(bytes: &[u8], notes: &mut Vec<String>) -> Result<Spec> {
    if bytes.len() as u64 > LARGEST {
        return Err(Error::invalid(
            "the text is longer than 16 MiB, which no container's description needs",
        ));
    }
    let mut spec: Spec = understand(bytes, notes)?;
    second_look::complete(&mut spec, bytes)?;
    check(&spec)?;
    Ok(spec)
}

/// Parses and checks one `process` object (`exec --process`).
pub fn parse_process(bytes: &[u8], notes: &mut Vec<String>) -> Result<Process> {
    let process: Process = understand(bytes, notes)?;
    check_process(&process)?;
    Ok(process)
}

fn understand<T: DeserializeOwned>(bytes: &[u8], notes: &mut Vec<String>) -> Result<T> {
    read(bytes).or_else(|error| match second_look::mend(bytes, notes) {
        Some(mended) => read(&mended),
        None => Err(error),
    })
}

/// Parses JSON; an error names the field. Finding its name costs every field a little, so only what has failed is
/// read that way.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    // Once for the whole text: the parser would pass over bad bytes in fields that it ignores.
    let text = std::str::from_utf8(bytes).map_err(|e| {
        Error::invalid(format!("the text is not UTF-8 at byte {}", e.valid_up_to()))
    })?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let parsed = T::deserialize(Strict(&mut reader)).and_then(|value| reader.end().map(|()| value));
    parsed.map_err(|error| {
        let mut again = serde_json::Deserializer::from_str(text);
        Error::invalid(
            match serde_path_to_error::deserialize::<_, T>(Strict(&mut again)) {
                Err(named) => name(&named.path().to_string(), &named.inner().to_string()),
                Ok(_) => error.to_string(),
            },
        )
    })
}

/// `process.cwd: missing field` rather than `process: missing field cwd`.
fn name(path: &str, why: &str) -> String {
    let missing = why
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split_once('`'));
    match (path, missing) {
        (".", None) => why.to_owned(),
        (".", Some((field, _))) => format!("{field}: is missing"),
        (path, Some((field, _))) => format!("{path}.{field}: is missing"),
        (path, None) => format!("{path}: {why}"),
    }
}

/// The overlay that the engine asks for, if it does.
pub fn overlay(spec: &Spec) -> Result<Option<Overlay>> {
    let Some(text) = spec.annotations().as_ref().and_then(|all| all.get(OVERLAY)) else {
        return Ok(None);
    };
    let overlay: Overlay = serde_json::from_str(text)
        .map_err(|e| Error::invalid(format!("annotation {OVERLAY}: {e}")))?;
    let checked = overlay.check();
    checked.map_err(|e| e.context(format_args!("annotation {OVERLAY}")))?;
    Ok(Some(overlay))
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
