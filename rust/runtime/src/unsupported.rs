//! Fields of the spec that this runtime knows and does not act on. Passing over them would give a container that is
//! less confined, or another one, than its author believes.

use crate::error::{Error, Result};
use crate::spec::{Process, Spec};

/// Refuses a spec that asks for what is not done.
pub fn check(spec: &Spec) -> Result<()> {
    let linux = spec.linux().as_ref();
    let memory = linux
        .and_then(|linux| linux.resources().as_ref())
        .and_then(|resources| resources.memory().as_ref());
    let elsewhere = "describes a container of another platform";
    #[allow(
        deprecated,
        reason = "never part of the specification, but read by the library"
    )]
    let maps = spec.uid_mappings().is_some() || spec.gid_mappings().is_some();
    let asked = [
        (asks(spec.solaris()), "solaris", elsewhere),
        (asks(spec.windows()), "windows", elsewhere),
        (asks(spec.zos()), "zos", elsewhere),
        (asks(spec.vm()), "vm", "asks for a virtual machine"),
        (
            maps,
            "uidMappings or gidMappings",
            "belongs into linux or a mount",
        ),
        (
            // Without it on version 1, with it on version 2: one behaviour cannot be had on both.
            memory.is_some_and(|memory| memory.use_hierarchy() == Some(false)),
            "linux.resources.memory.useHierarchy",
            "cannot be false: limits always cover the groups below",
        ),
    ];
    refuse(&asked)
}

/// The same for a `process` object.
pub fn check_process(process: &Process) -> Result<()> {
    let text = |value: &Option<String>| value.as_deref().is_some_and(|value| !value.is_empty());
    let windows = "is for Windows";
    refuse(&[
        (text(process.command_line()), "process.commandLine", windows),
        (
            text(process.user().username()),
            "process.user.username",
            windows,
        ),
    ])
}

/// An empty object asks for nothing.
fn asks<T: Default + PartialEq>(platform: &Option<T>) -> bool {
    platform
        .as_ref()
        .is_some_and(|platform| *platform != T::default())
}

fn refuse(asked: &[(bool, &str, &str)]) -> Result<()> {
    match asked.iter().find(|(asked, ..)| *asked) {
        Some((_, field, reason)) => Err(Error::invalid(format!("{field}: {reason}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::spec;

    #[test]
    fn each_is_named() {
        let base = json!({
            "ociVersion": "1.2.0", "root": { "path": "rootfs" },
            "process": { "args": ["true"], "cwd": "/", "user": { "uid": 0, "gid": 0 } },
            "linux": { "resources": { "memory": {} } },
        });
        let cases = [
            ("/vm", json!({ "kernel": { "path": "/k" } })),
            ("/linux/resources/memory/useHierarchy", json!(false)),
            ("/process/user/username", json!("u")),
            ("/process/commandLine", json!("cmd")),
        ];
        spec::parse(base.to_string().as_bytes()).unwrap();
        for (place, value) in cases {
            let mut bad = base.clone();
            let (parent, name) = place.rsplit_once('/').unwrap();
            let parent: &mut Value = bad.pointer_mut(parent).unwrap();
            parent[name] = value;
            let error = spec::parse(bad.to_string().as_bytes()).expect_err(place);
            let field = place[1..].replace('/', ".");
            assert!(error.message.starts_with(&field), "{place}: {error}");
        }
    }
}
