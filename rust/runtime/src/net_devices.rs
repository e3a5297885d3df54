//! Network devices of the host that the container gets (`linux.netDevices`).

use nix::unistd::Pid;

use crate::error::{Error, Result};
use crate::spec::{self, LinuxNamespaceType, Spec};

/// Longest name of a device: `IFNAMSIZ` with its NUL.
const LONGEST: usize = 15;

/// Refuses names that the kernel would, and a container whose network is the host's: there is nowhere to move to.
pub fn check(spec: &Spec) -> Result<()> {
    let devices = devices(spec);
    let mut inside: Vec<&str> = Vec::with_capacity(devices.len());
    for (name, new_name) in &devices {
        check_name(name, false).map_err(|why| {
            Error::invalid(format!("linux.netDevices: the device name {name:?} {why}"))
        })?;
        check_name(new_name, true).map_err(|why| {
            Error::invalid(format!("linux.netDevices.{name}.name {new_name:?} {why}"))
        })?;
        if inside.contains(new_name) && !new_name.contains('%') {
            return Err(Error::invalid(format!(
                "linux.netDevices.{name}.name {new_name:?} is used twice"
            )));
        }
        inside.push(new_name);
    }
    if !devices.is_empty() && !spec::isolated(spec, LinuxNamespaceType::Network) {
        return Err(Error::invalid(
            "linux.netDevices needs a network namespace of the container",
        ));
    }
    Ok(())
}

/// Parent: moves them into the network namespace of the container's init.
pub fn attach(spec: &Spec, init: Pid) -> Result<()> {
    let devices = devices(spec);
    if devices.is_empty() {
        return Ok(());
    }
    let namespace = pyd_sys::netns::of_process(init.as_raw()).map_err(|e| {
        Error::new(
            "network",
            format!("open the container's network namespace: {e}"),
        )
    })?;
    pyd_net::move_devices(namespace, &devices).map_err(|e| {
        let mut error = Error::new("network", e.message).context("linux.netDevices");
        (error.op, error.errno) = (e.op, Some(e.errno));
        match e.errno {
            libc::EPERM => error.hint("moving a network device needs CAP_NET_ADMIN over it"),
            libc::EINVAL => error.hint("some devices, lo among them, cannot leave their namespace"),
            _ => match e.hint {
                Some(hint) => error.hint(hint),
                None => error,
            },
        }
    })
}

/// Names outside and inside, in the order of those outside.
fn devices(spec: &Spec) -> Vec<(&str, &str)> {
    let all = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.net_devices().as_ref());
    let mut devices: Vec<(&str, &str)> = all
        .into_iter()
        .flatten()
        .map(|(name, device)| {
            let inside = device.name().as_deref().filter(|inside| !inside.is_empty());
            (name.as_str(), inside.unwrap_or(name))
        })
        .collect();
    devices.sort_unstable();
    devices
}

/// `dev_valid_name` of the kernel, and its one `%d`.
fn check_name(name: &str, template: bool) -> std::result::Result<(), &'static str> {
    let rest = match name.split_once("%d") {
        Some((before, after)) if template => format!("{before}{after}"),
        _ => name.to_owned(),
    };
    match () {
        () if name.is_empty() => Err("is empty"),
        () if name.len() > LONGEST => Err("is longer than 15 bytes"),
        () if name == "." || name == ".." => Err("is a directory's"),
        () if rest.contains('%') => Err("has a % that is not one %d"),
        () if name.contains(['/', ':', '\0']) || name.contains(char::is_whitespace) => {
            Err("has a character that names of devices cannot have")
        }
        () => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::check_name;

    #[test]
    fn names() {
        for good in ["eth0", "a", "veth-1.2@x", "fifteen-bytes-x"] {
            check_name(good, true).unwrap();
        }
        check_name("eth%d", true).unwrap();
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a b",
            "a:b",
            "sixteen-bytes-xx",
            "%d%d",
            "%s",
            "a\nb",
        ] {
            assert!(check_name(bad, true).is_err(), "{bad:?}");
        }
        assert!(check_name("eth%d", false).is_err());
    }
}
