//! The container's side: the veth into its namespace, address, route.

use std::os::fd::{AsFd, AsRawFd};

use pyd_sys::netns;

use crate::bridge;
use crate::error::{Error, Result};
use crate::link::{self, Veth};
use crate::message::Batch;
use crate::network::Network;
use crate::socket::Kernel;

const CONTAINER_END: &str = "eth0";

/// Plug the namespace of process `pid` into the bridge. Returns the name of the host's end.
pub fn connect(
    kernel: &mut Kernel,
    network: &Network,
    bridge: u32,
    pid: i32,
    container_id: &str,
) -> Result<String> {
    let path = format!("/proc/{pid}/ns/net");
    let namespace = netns::of_process(pid).map_err(|error| Error::io("open", &path, &error))?;
    let mac = network.hardware_address()?;
    let mut host_end = host_end(container_id);
    let mut attempts = 0;
    loop {
        attempts += 1;
        let mut batch = Batch::new();
        let veth = Veth {
            host_end: &host_end,
            bridge,
            container_end: CONTAINER_END,
            netns: namespace.as_raw_fd(),
            mac,
            mtu: network.mtu,
        };
        let made = link::new_veth(&mut batch, &veth);
        let outcome = kernel.request(&batch, |_, _| {})?;
        if outcome.errno(made) != libc::EEXIST || attempts > 2 {
            outcome.require(made, &[], "create veth", &host_end)?;
            break;
        }
        // The kernel removes the veth of a namespace that ended some time later: a restarted container can meet its
        // own old one. Another container with the same first 8 digits keeps its link, and this one takes the next 8.
        match link::get(kernel, &host_end)? {
            Some(old) if old.alias == alias(container_id) => {
                remove(kernel, &host_end)?;
            }
            Some(_) => host_end = format!("pyd{}", container_id.get(8..16).unwrap_or(container_id)),
            None => {}
        }
    }
    let mut batch = Batch::new();
    let marked = link::mark_port(&mut batch, &host_end, &alias(container_id));
    kernel
        .request(&batch, |_, _| {})?
        .require(marked, &[], "set bridge port", &host_end)?;
    // The host's side exists from here on; the container's goes with its namespace, so nothing is undone here.
    address(network, namespace.as_fd())?;
    Ok(host_end)
}

/// Address, link and default route inside the namespace.
fn address(network: &Network, namespace: impl AsFd) -> Result<()> {
    // A netlink socket belongs to the namespace in which it was opened, and /proc/sys/net shows the reader's: both are
    // had in one visit, and everything else is done from outside.
    let mut kernel = netns::inside(namespace, || {
        let path = format!("/proc/sys/net/ipv6/conf/{CONTAINER_END}/disable_ipv6");
        // An IPv4 network gives no IPv6 address, link-local ones neither (CVE-2024-32473); the link is still down.
        match bridge::write(&path, "1") {
            Err(error) if error.errno != libc::ENOENT && error.errno != libc::EROFS => Err(error),
            _ => Kernel::route(),
        }
    })
    .map_err(|error| Error::io("enter network namespace", CONTAINER_END, &error))??;
    let link = link::get(&mut kernel, CONTAINER_END)?
        .ok_or_else(|| Error::kernel("find link", CONTAINER_END, libc::ENODEV))?;
    let mut batch = Batch::new();
    let prefix = network.bridge.prefix;
    let address = link::add_address(&mut batch, link.index, network.address, prefix);
    let up = link::set_up(&mut batch, link.index);
    let route = link::add_default_route(&mut batch, link.index, network.bridge.gateway);
    let outcome = kernel.request(&batch, |_, _| {})?;
    let shown = network.address.to_string();
    outcome.require(address, &[], "add address", &shown)?;
    outcome.require(up, &[], "set link up", CONTAINER_END)?;
    outcome.require(
        route,
        &[],
        "add default route via",
        &network.bridge.gateway.to_string(),
    )
}

/// Remove the host's end of a container's veth, and with it the other end. None is no error.
pub fn disconnect(container_id: &str) -> Result<()> {
    let wanted = alias(container_id);
    let name = host_end(container_id);
    let mut kernel = Kernel::route()?;
    match link::get(&mut kernel, &name)? {
        Some(found) if found.alias == wanted => remove(&mut kernel, &name),
        _ => Ok(()),
    }
}

fn remove(kernel: &mut Kernel, name: &str) -> Result<()> {
    let mut batch = Batch::new();
    let gone = link::delete(&mut batch, name);
    let outcome = kernel.request(&batch, |_, _| {})?;
    outcome.require(gone, &[libc::ENODEV], "remove link", name)
}

fn host_end(container_id: &str) -> String {
    format!("pyd{}", container_id.get(..8).unwrap_or(container_id))
}

fn alias(container_id: &str) -> String {
    format!("pyd container {container_id}")
}
