//! Kernel parameters of the container's namespaces (`linux.sysctl`).

use std::collections::HashMap;

use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::procfs::Procfs;
use crate::spec::{self, LinuxNamespaceType, Spec};

/// Parameters of the ipc namespace (`ipc_namespaces(7)`).
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Parent: refuses a parameter that would be the host's, because the container shares the namespace it belongs to.
pub fn check(spec: &Spec) -> Result<()> {
    for name in parameters(spec).map(HashMap::keys).into_iter().flatten() {
        let dotted = path(name).replace('/', ".");
        let (kind, word) = if IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
            (LinuxNamespaceType::Ipc, "ipc")
        } else if dotted.starts_with("net.") {
            (LinuxNamespaceType::Network, "network")
        } else if matches!(dotted.as_str(), "kernel.hostname" | "kernel.domainname") {
            (LinuxNamespaceType::Uts, "uts")
        } else if dotted.starts_with("user.") {
            (LinuxNamespaceType::User, "user")
        } else {
            return Err(Error::invalid(format!(
                "linux.sysctl.{name}: belongs to no namespace, it would change the host"
            )));
        };
        if !spec::isolated(spec, kind) {
            return Err(Error::invalid(format!(
                "linux.sysctl.{name}: needs a {word} namespace of the container, or it would change the host"
            )));
        }
    }
    Ok(())
}

/// Child, in its namespaces: sets the parameters.
pub fn apply(spec: &Spec, host: &Procfs) -> Result<()> {
    let Some(parameters) = parameters(spec) else {
        return Ok(());
    };
    let mut private = None;
    for (name, value) in parameters {
        let file = format!("sys/{}", path(name));
        let mut written = host.write(&file, value);
        if matches!(written, Err(Errno::EROFS | Errno::EXDEV)) {
            // Where pyd itself runs in a container, /proc/sys is a read-only mount on top of procfs.
            let own = match &private {
                Some(own) => own,
                None => private
                    .insert(Procfs::private().map_err(|e| Error::os("sysctl", "mount procfs", e))?),
            };
            written = own.write(&file, value);
        }
        written.map_err(|e| {
            let error = Error::at("sysctl", "write", format!("/proc/{file}"), e)
                .context(format!("linux.sysctl.{name}={value}"));
            match e {
                Errno::ENOENT => error.hint("this kernel does not have it, or not in a namespace"),
                Errno::EACCES | Errno::EPERM => error.hint("it cannot be changed in a namespace"),
                _ => error,
            }
        })?;
    }
    Ok(())
}

fn parameters(spec: &Spec) -> Option<&HashMap<String, String>> {
    spec.linux().as_ref()?.sysctl().as_ref()
}

/// `net.ipv4.conf.eth0/1.forwarding` and `net/ipv4/conf/eth0.1/forwarding` as a path (sysctl.d(5): the first
/// separator decides which of the two is meant; the other character stands for itself).
fn path(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(at) if name.as_bytes()[at] == b'/' => name.to_owned(),
        _ => name
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(sysctl: &str, namespaces: &str) -> Result<Spec> {
        spec::parse(
            format!(
                r#"{{"ociVersion":"1.2.0","root":{{"path":"r"}},"process":{{"args":["a"],"cwd":"/","user":{{"uid":0,"gid":0}}}},
                "linux":{{"sysctl":{{"{sysctl}":"1"}},"namespaces":[{namespaces}]}}}}"#
            )
            .as_bytes(),
        )
    }

    #[test]
    fn names() {
        assert_eq!(
            path("net.ipv4.conf.eth0/1.forwarding"),
            "net/ipv4/conf/eth0.1/forwarding"
        );
        assert_eq!(
            path("net/ipv4/conf/eth0.1/forwarding"),
            "net/ipv4/conf/eth0.1/forwarding"
        );
    }

    #[test]
    fn the_host_is_never_changed() {
        let net = r#"{"type":"network"}"#;
        // The caller's own is the host's.
        let own = r#"{"type":"network","path":"/proc/self/ns/net"}"#;
        spec("net.ipv4.ip_forward", net).unwrap();
        for (name, namespaces) in [
            ("net.ipv4.ip_forward", ""),
            ("net/ipv4/ip_forward", ""),
            ("net.ipv4.ip_forward", own),
            ("kernel.shmmax", net),
            ("kernel.core_pattern", net),
            ("vm.swappiness", net),
            ("kernel/core_pattern", net),
            ("../sys/kernel/core_pattern", net),
        ] {
            let error = spec(name, namespaces).expect_err(name);
            assert!(
                error.message.contains(&format!("linux.sysctl.{name}")),
                "{error}"
            );
        }
    }
}
