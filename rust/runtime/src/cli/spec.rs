//! `spec`: a config.json to begin with.

use std::path::Path;

use serde_json::{Value, json};

use super::args::{Args, Flag, switch, value};
use super::{Command, Context};
use crate::error::{Error, Result};

/// Version of the runtime spec that is understood.
pub const VERSION: &str = "1.2.0";

pub const COMMAND: Command = Command {
    name: "spec",
    usage: "",
    help: "write a config.json that runs sh in rootfs/",
    flags: FLAGS,
    takes: (0, 0),
    run,
    ..Command::DEFAULT
};

const FLAGS: &[Flag] = &[
    value(
        "bundle",
        Some('b'),
        "directory for it (default: the current one)",
    ),
    switch("rootless", None, "for a user without privileges"),
];

fn run(_: &Context, args: Args) -> Result<u8> {
    let path = Path::new(args.value("bundle").unwrap_or(".")).join("config.json");
    let failed = |e: std::io::Error| {
        Error::at(
            "spec",
            "write",
            &path,
            nix::errno::Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)),
        )
    };
    if path.symlink_metadata().is_ok() {
        return Err(Error::invalid(format!(
            "File {} exists. Remove it first",
            path.display()
        )));
    }
    let spec = example(args.has("rootless"));
    std::fs::write(&path, format!("{spec:#}\n")).map_err(failed)?;
    Ok(0)
}

/// The spec that `runc spec` writes, with pyd's seccomp profile.
#[must_use]
pub fn example(rootless: bool) -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let mut namespaces = vec!["pid", "ipc", "uts", "mount", "cgroup"];
    namespaces.push(if rootless { "user" } else { "network" });
    let namespaces: Vec<Value> = namespaces
        .into_iter()
        .map(|kind| json!({ "type": kind }))
        .collect();
    let mut linux = json!({
        "namespaces": namespaces,
        "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
            "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    });
    let mut pts = vec![
        "nosuid",
        "noexec",
        "newinstance",
        "ptmxmode=0666",
        "mode=0620",
    ];
    if rootless {
        let map = |id: u32| json!([{ "containerID": 0, "hostID": id, "size": 1 }]);
        linux["uidMappings"] = map(nix::unistd::geteuid().as_raw());
        linux["gidMappings"] = map(nix::unistd::getegid().as_raw());
    } else {
        // A user namespace with one id has no group 5.
        pts.push("gid=5");
        linux["resources"] = json!({ "devices": [{ "allow": false, "access": "rwm" }] });
    }
    json!({
        "ociVersion": VERSION,
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "pyd",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": pts },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
              "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
              "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] },
        ],
        "annotations": { "dev.pyd.seccomp": "default" },
        "linux": linux,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_example_is_valid() {
        for rootless in [false, true] {
            crate::spec::parse(super::example(rootless).to_string().as_bytes()).unwrap();
        }
    }
}
