//! The bridge in the host: made by the first container, kept after the last, removed on request.

use std::fs::{self, OpenOptions};
use std::io::Write;

use crate::error::{Error, Result};
use crate::link::{self, Link};
use crate::message::Batch;
use crate::network::Bridge;
use crate::nft;
use crate::socket::Kernel;

/// Index of the bridge, made if it is missing. Any number of processes may do this at once.
///
/// A bridge that is up is complete: up comes last, so one whose maker was killed half-way is completed by the next.
pub fn ensure(
    kernel: &mut Kernel,
    bridge: &Bridge,
    mtu: u32,
    warnings: &mut Vec<String>,
) -> Result<u32> {
    if let Err(error) = enable_forwarding() {
        warnings.push(format!(
            "IPv4 forwarding is disabled, containers reach this host only: {error}"
        ));
    }
    let found = match link::get(kernel, &bridge.name)? {
        Some(found) => found,
        None => create(kernel, bridge, mtu)?,
    };
    if found.kind != "bridge" {
        return Err(
            Error::kernel("use bridge", &bridge.name, libc::EEXIST).with_hint(format!(
                "the host has a link {} that is no bridge: choose another name with PYD_BRIDGE",
                bridge.name
            )),
        );
    }
    if !found.up {
        // An IPv4 network must not give containers a link-local way to the host (CVE-2024-32473). A kernel without
        // IPv6 has no such file.
        match write(&conf("ipv6", &bridge.name, "disable_ipv6"), "1") {
            Err(error) if error.errno != libc::ENOENT => return Err(error),
            _ => {}
        }
    }
    let mut batch = Batch::new();
    let address = link::add_address(&mut batch, found.index, bridge.gateway, bridge.prefix);
    let up = (!found.up).then(|| link::set_up(&mut batch, found.index));
    let outcome = kernel.request(&batch, |_, _| {})?;
    outcome.require(
        address,
        &[libc::EEXIST],
        "add gateway address",
        &bridge.name,
    )?;
    if let Some(up) = up {
        outcome.require(up, &[], "set link up", &bridge.name)?;
    }
    Ok(found.index)
}

fn create(kernel: &mut Kernel, bridge: &Bridge, mtu: u32) -> Result<Link> {
    let mut mac = [0x02, 0x42, 0, 0, 0, 0];
    mac[2..].copy_from_slice(&bridge.gateway.octets());
    let mut batch = Batch::new();
    let made = link::new_bridge(&mut batch, &bridge.name, mac, mtu);
    let outcome = kernel.request(&batch, |_, _| {})?;
    outcome.require(made, &[libc::EEXIST], "create bridge", &bridge.name)?;
    link::get(kernel, &bridge.name)?
        .ok_or_else(|| Error::kernel("create bridge", &bridge.name, libc::ENODEV))
}

/// Remove a bridge and its NAT rules. A bridge with containers on it is refused (EBUSY); none is no error.
pub fn remove(name: &str) -> Result<()> {
    crate::network::link_name(name)?;
    let mut kernel = Kernel::route()?;
    let links = link::list(&mut kernel, None)?;
    if let Some(bridge) = links.iter().find(|link| link.name == name) {
        if bridge.kind != "bridge" {
            return Err(Error::invalid(name, format!("{name} is not a bridge")));
        }
        let ports = links
            .iter()
            .filter(|link| link.master == bridge.index)
            .count();
        if ports > 0 {
            return Err(Error::kernel("remove bridge", name, libc::EBUSY)
                .with_hint(format!("{ports} containers are attached: stop them first")));
        }
        let mut batch = Batch::new();
        let gone = link::delete(&mut batch, name);
        let outcome = kernel.request(&batch, |_, _| {})?;
        outcome.require(gone, &[libc::ENODEV], "remove bridge", name)?;
    }
    nft::remove_table(name)
}

/// Let answers to a host process that called 127.0.0.1:<published port> come back to 127.0.0.1 through the bridge.
///
/// Only after our table is in place, which drops whatever else comes for 127/8 from there (CVE-2020-8558).
pub fn admit_loopback(bridge: &str) -> Result<()> {
    switch_on(&conf("ipv4", bridge, "route_localnet"))
}

/// Docker turns this on as well.
fn enable_forwarding() -> Result<()> {
    switch_on("/proc/sys/net/ipv4/ip_forward")
}

/// Read first: writing ip_forward resets other settings of every interface.
fn switch_on(path: &str) -> Result<()> {
    match fs::read(path) {
        Ok(value) if value.starts_with(b"1") => Ok(()),
        Ok(_) => write(path, "1"),
        Err(error) => Err(Error::io("read", path, &error)),
    }
}

fn conf(family: &str, link: &str, key: &str) -> String {
    format!("/proc/sys/net/{family}/conf/{link}/{key}")
}

/// Write an existing file of /proc/sys.
pub(crate) fn write(path: &str, value: &str) -> Result<()> {
    // No O_CREAT: procfs answers EACCES to it where the truth is ENOENT.
    let written = OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(value.as_bytes()));
    written.map_err(|error| {
        let failed = Error::io("write", path, &error);
        if failed.errno == libc::EROFS {
            let key = path.trim_start_matches("/proc/sys/").replace('/', ".");
            failed.with_hint(format!(
                "/proc/sys is read-only here: set {key} = {value} from outside"
            ))
        } else {
            failed
        }
    })
}
