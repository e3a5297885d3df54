//! What the types of the `oci-spec` library lose of a config.json, read from its text a second time where it matters.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use crate::capabilities;
use crate::error::Result;
use crate::spec::{self, Spec};

/// Objects of other platforms, which some writers leave empty: nothing is asked for then.
const PLATFORMS: [&str; 4] = ["solaris", "windows", "vm", "zos"];

/// Scheduler flags that the library spells otherwise than the specification and the kernel.
const FLAGS: [(&str, &str); 2] = [
    ("SCHED_FLAG_RESET_ON_FORK", "SCHED_RESET_ON_FORK"),
    ("SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_D_L_OVERRUN"),
];

/// The text of a document that the library has refused, without what it stumbles over and should not.
///
/// Capabilities that are not known here are left out and noted: the specification wants a warning, so that a newer
/// engine's list of all capabilities is no error.
pub fn mend(bytes: &[u8], notes: &mut Vec<String>) -> Option<Vec<u8>> {
    let mut document: Value = serde_json::from_slice(bytes).ok()?;
    let mut changed = false;
    if let Some(object) = document.as_object_mut() {
        let before = object.len();
        // The library wants their required fields.
        object.retain(|name, value| {
            !(PLATFORMS.contains(&name.as_str())
                && value.as_object().is_some_and(serde_json::Map::is_empty))
        });
        changed = object.len() != before;
    }
    for place in ["/process/scheduler/flags", "/scheduler/flags"] {
        for flag in document
            .pointer_mut(place)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some((_, name)) = FLAGS.iter().find(|(name, _)| flag == name) {
                *flag = Value::from(*name);
                changed = true;
            }
        }
    }
    let mut unknown = BTreeSet::new();
    for place in ["/process/capabilities", "/capabilities"] {
        let sets = document.pointer_mut(place).and_then(Value::as_object_mut);
        for set in sets.into_iter().flatten() {
            if let Some(names) = set.1.as_array_mut() {
                names.retain(|name| {
                    let new = name.as_str().is_some_and(is_new_capability);
                    new.then(|| unknown.insert(name.to_string()));
                    !new
                });
            }
        }
    }
    changed |= !unknown.is_empty();
    let note = |name| format!("capability {name} is not known here and left out");
    notes.extend(unknown.into_iter().map(note));
    changed.then(|| document.to_string().into_bytes())
}

/// Whether it has the form of a capability's name and is none that this build knows.
fn is_new_capability(name: &str) -> bool {
    let form = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    name.strip_prefix("CAP_")
        .is_some_and(|rest| !rest.is_empty() && rest.chars().all(form))
        && !capabilities::NAMES.contains(&name)
}

/// Fills in what the library has passed over, and refuses what it has made up.
pub fn complete(spec: &mut Spec, bytes: &[u8]) -> Result<()> {
    // An empty path is none: so Go programs write what they leave out.
    let namespaces = spec
        .linux_mut()
        .as_mut()
        .and_then(|linux| linux.namespaces_mut().as_mut());
    for namespace in namespaces.into_iter().flatten() {
        if namespace
            .path()
            .as_ref()
            .is_some_and(|path| path.as_os_str().is_empty())
        {
            namespace.set_path(None);
        }
    }
    if !doubtful(spec) && (!is_root(spec) || states_user(bytes)) {
        return Ok(());
    }
    let strict: Strict = spec::read(bytes)?;
    let flags = strict.linux.and_then(|linux| linux.intel_rdt);
    let rdt = spec
        .linux_mut()
        .as_mut()
        .and_then(|linux| linux.intel_rdt_mut().as_mut());
    if let (Some(rdt), Some(flags)) = (rdt, flags) {
        #[allow(deprecated, reason = "specs before 1.3 have these two")]
        rdt.set_enable_cmt(flags.enable_cmt)
            .set_enable_mbm(flags.enable_mbm);
    }
    Ok(())
}

fn is_root(spec: &Spec) -> bool {
    let user = spec.process().as_ref().map(spec::Process::user);
    user.is_some_and(|user| user.uid() == 0 || user.gid() == 0)
}

/// Whether uid and gid plainly stand in the text: most containers are root's, and most texts need no second look.
fn states_user(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let user = text.find("\"user\"").map(|start| &text[start..]);
    let object = user
        .and_then(|user| user.split('}').next())
        .unwrap_or_default();
    object.contains("\"uid\"") && object.contains("\"gid\"")
}

/// Whether a value may be the library's and not the author's: it takes a missing number for 0.
fn doubtful(spec: &Spec) -> bool {
    let maps =
        |mount: &spec::Mount| mount.uid_mappings().is_some() || mount.gid_mappings().is_some();
    let process = spec.process().as_ref().is_some_and(|process| {
        process.io_priority().is_some()
            || process.scheduler().is_some()
            || process
                .console_size()
                .is_some_and(|size| size.height() == 0 || size.width() == 0)
            || process
                .rlimits()
                .iter()
                .flatten()
                .any(|limit| limit.soft() == 0 || limit.hard() == 0)
    });
    let linux = spec.linux().as_ref().is_some_and(|linux| {
        linux.uid_mappings().is_some()
            || linux.gid_mappings().is_some()
            || linux.intel_rdt().is_some()
            || linux.resources().as_ref().is_some_and(|resources| {
                let rates = resources.block_io().as_ref().is_some_and(|io| {
                    io.weight_device().is_some()
                        || io.throttle_read_bps_device().is_some()
                        || io.throttle_write_bps_device().is_some()
                        || io.throttle_read_iops_device().is_some()
                        || io.throttle_write_iops_device().is_some()
                });
                rates || resources.hugepage_limits().is_some() || resources.network().is_some()
            })
    });
    process || linux || spec.mounts().iter().flatten().any(maps)
}

/// A type with required fields whose values nobody reads here.
macro_rules! required {
    ($name:ident { $($key:literal : $field:ident : $kind:ty),* $(,)? }) => {
        #[derive(Deserialize)]
        struct $name {
            $(#[serde(rename = $key)] #[allow(dead_code, reason = "only its presence counts")] $field: $kind,)*
        }
    };
}

required!(IdMapping { "containerID": container: u32, "hostID": host: u32 });
required!(Mount { "uidMappings": uids: Option<Vec<IdMapping>>, "gidMappings": gids: Option<Vec<IdMapping>> });
required!(Size { "height": height: u64, "width": width: u64 });
required!(Rlimit { "soft": soft: u64, "hard": hard: u64 });
required!(IoPriority { "class": class: String, "priority": priority: i64 });
required!(Scheduler { "policy": policy: String });
required!(User { "uid": uid: u32, "gid": gid: u32 });
required!(Process {
    "user": user: User,
    "consoleSize": size: Option<Size>,
    "rlimits": rlimits: Option<Vec<Rlimit>>,
    "ioPriority": io_priority: Option<IoPriority>,
    "scheduler": scheduler: Option<Scheduler>,
});
required!(Device { "major": major: i64, "minor": minor: i64 });
required!(Rate { "major": major: i64, "minor": minor: i64, "rate": rate: u64 });
required!(BlockIo {
    "weightDevice": weight: Option<Vec<Device>>,
    "throttleReadBpsDevice": read: Option<Vec<Rate>>,
    "throttleWriteBpsDevice": write: Option<Vec<Rate>>,
    "throttleReadIOPSDevice": reads: Option<Vec<Rate>>,
    "throttleWriteIOPSDevice": writes: Option<Vec<Rate>>,
});
required!(HugePages { "pageSize": size: String, "limit": limit: i64 });
required!(Priority { "name": name: String, "priority": priority: u32 });
required!(Network { "priorities": priorities: Option<Vec<Priority>> });
required!(Resources {
    "blockIO": io: Option<BlockIo>,
    "hugepageLimits": pages: Option<Vec<HugePages>>,
    "network": network: Option<Network>,
});
// The library looks for `enableCmt` and `enableMbm`.
required!(IntelRdt { "enableCMT": enable_cmt: Option<bool>, "enableMBM": enable_mbm: Option<bool> });
required!(Linux {
    "uidMappings": uids: Option<Vec<IdMapping>>,
    "gidMappings": gids: Option<Vec<IdMapping>>,
    "resources": resources: Option<Resources>,
    "intelRdt": intel_rdt: Option<IntelRdt>,
});
required!(Strict {
    "process": process: Option<Process>,
    "mounts": mounts: Option<Vec<Mount>>,
    "linux": linux: Option<Linux>,
});
