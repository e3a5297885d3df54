//! `features`: what this runtime can do (features.md of the runtime spec).

use serde_json::{Value, json};

use super::args::Args;
use super::{Command, Context};
use crate::error::Result;
use crate::{capabilities, seccomp};

pub const COMMAND: Command = Command {
    name: "features",
    usage: "",
    help: "print what this runtime supports as JSON",
    takes: (0, 0),
    run,
    ..Command::DEFAULT
};

const MOUNT_OPTIONS: &[&str] = &[
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "idmap",
    "lazytime",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "remount",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "slave",
    "strictatime",
    "suid",
    "sync",
    "tmpcopyup",
    "unbindable",
];

/// The newest version of the specification whose fields are all known here.
const NEWEST: &str = "1.3.0";

const HOOKS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

const NAMESPACES: [&str; 8] = [
    "cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts",
];

/// Of calls that this machine never makes (its kernel has no such architecture) nothing is filtered.
const ARCHITECTURES: [&str; 20] = [
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
];

const ACTIONS: [&str; 9] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

const OPERATORS: [&str; 7] = [
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];

const POLICIES: [&str; 7] = [
    "MPOL_BIND",
    "MPOL_DEFAULT",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];

const POLICY_FLAGS: [&str; 3] = [
    "MPOL_F_NUMA_BALANCING",
    "MPOL_F_RELATIVE_NODES",
    "MPOL_F_STATIC_NODES",
];

fn run(_: &Context, _: Args) -> Result<u8> {
    println!("{:#}", features());
    Ok(0)
}

/// What is implemented, whether or not this machine has it (features-linux.md).
fn features() -> Value {
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": NEWEST,
        "hooks": HOOKS,
        "mountOptions": MOUNT_OPTIONS,
        "linux": {
            "namespaces": NAMESPACES,
            "capabilities": capabilities::names(u64::MAX),
            "cgroup": { "v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true },
            "seccomp": {
                "enabled": true,
                "actions": ACTIONS,
                "operators": OPERATORS,
                "archs": ARCHITECTURES,
                "knownFlags": seccomp::known_flags(),
                "supportedFlags": seccomp::supported_flags(),
            },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "intelRdt": { "enabled": true, "schemata": true, "monitoring": true },
            "memoryPolicy": { "modes": POLICIES, "flags": POLICY_FLAGS },
            "mountExtensions": { "idmap": { "enabled": true } },
            "netDevices": { "enabled": true },
        },
        "annotations": {
            "dev.pyd.runtime.version": env!("CARGO_PKG_VERSION"),
            // The name that engines look for before they offer checkpoints.
            "org.opencontainers.runc.checkpoint.enabled": "false",
        },
        "potentiallyUnsafeConfigAnnotations": [crate::spec::OVERLAY, "dev.pyd.seccomp", "org.systemd.property."],
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::features;
    use crate::mount_options::MountOptions;
    use crate::spec;

    /// A spec that uses each name that is announced at `list`, made by `place` one by one.
    fn every(list: &str, place: impl Fn(&Value) -> Value) {
        let features = features();
        let names = features.pointer(list).and_then(Value::as_array).unwrap();
        assert!(!names.is_empty(), "{list}");
        for name in names {
            let mut document = json!({
                "ociVersion": "1.3.0", "root": { "path": "r" },
                "process": { "args": ["a"], "cwd": "/", "user": { "uid": 0, "gid": 0 } },
            });
            for (key, value) in place(name).as_object().unwrap() {
                match value.as_object().filter(|_| document[key].is_object()) {
                    Some(more) => more.iter().for_each(|(k, v)| document[key][k] = v.clone()),
                    None => document[key] = value.clone(),
                }
            }
            spec::parse(document.to_string().as_bytes())
                .unwrap_or_else(|e| panic!("{list} {name}: {e}"));
        }
    }

    #[test]
    fn every_name_that_is_announced_is_understood() {
        every(
            "/hooks",
            |kind| json!({ "hooks": { kind.as_str().unwrap(): [{ "path": "/x" }] } }),
        );
        let maps = json!([{ "containerID": 0, "hostID": 1, "size": 1 }]);
        every("/linux/namespaces", |kind| match kind.as_str() {
            Some("user") => {
                json!({ "linux": { "namespaces": [{ "type": kind }], "uidMappings": maps, "gidMappings": maps } })
            }
            _ => json!({ "linux": { "namespaces": [{ "type": kind }] } }),
        });
        every(
            "/linux/capabilities",
            |name| json!({ "process": { "capabilities": { "bounding": [name] } } }),
        );
        let seccomp = |more: Value| {
            let mut all = json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/s" });
            more.as_object()
                .unwrap()
                .iter()
                .for_each(|(k, v)| all[k] = v.clone());
            json!({ "linux": { "seccomp": all } })
        };
        every("/linux/seccomp/actions", |name| {
            seccomp(json!({ "syscalls": [{ "names": ["mkdir"], "action": name }] }))
        });
        every("/linux/seccomp/operators", |name| {
            let args = json!([{ "index": 0, "value": 1, "op": name }]);
            seccomp(
                json!({ "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": args }] }),
            )
        });
        every("/linux/seccomp/archs", |name| {
            seccomp(json!({ "architectures": [name] }))
        });
        every("/linux/seccomp/knownFlags", |name| {
            seccomp(json!({ "flags": [name] }))
        });
        every("/linux/seccomp/supportedFlags", |name| {
            seccomp(json!({ "flags": [name] }))
        });
        every("/linux/memoryPolicy/modes", |mode| match mode.as_str() {
            Some("MPOL_DEFAULT" | "MPOL_LOCAL") => {
                json!({ "linux": { "memoryPolicy": { "mode": mode } } })
            }
            _ => json!({ "linux": { "memoryPolicy": { "mode": mode, "nodes": "0" } } }),
        });
        every(
            "/linux/memoryPolicy/flags",
            |flag| json!({ "linux": { "memoryPolicy": { "mode": "MPOL_BIND", "nodes": "0", "flags": [flag] } } }),
        );
    }

    #[test]
    fn every_mount_option_is_more_than_a_word_for_the_filesystem() {
        // Flags of a superblock, which are the filesystem's.
        let superblock = [
            "async",
            "dirsync",
            "lazytime",
            "mand",
            "nolazytime",
            "nomand",
            "sync",
        ];
        for option in super::MOUNT_OPTIONS {
            let parsed = MountOptions::parse(&[(*option).to_owned()]).unwrap();
            assert_eq!(
                !parsed.data.is_empty(),
                superblock.contains(option),
                "{option}"
            );
        }
    }
}
