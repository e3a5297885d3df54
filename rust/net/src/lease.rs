//! What a running container holds of the host's network.

use std::os::fd::BorrowedFd;

use crate::error::Result;
use crate::network::Network;
use crate::proxy::Proxy;
use crate::socket::Kernel;
use crate::{bridge, conntrack, nft, reserve, sandbox};

/// Reserved host ports, NAT entries and forwarded connections of one container.
#[derive(Debug)]
pub struct Lease {
    /// One sentence for each thing that this host cannot give.
    pub warnings: Vec<String>,
    bridge: String,
    container_id: String,
    published: bool,
    /// Kept open: closing it waits for RCU to free what anybody deleted lately, 10 ms in the middle of a start.
    netfilter: Option<Kernel>,
    proxy: Option<Proxy>,
}

/// Attach the network namespace of `netns_pid` to the bridge as `eth0` and publish its ports.
///
/// On failure the host is as before, but for the veth, that the namespace takes along when its last process ends.
pub fn setup(network: &Network, netns_pid: i32, container_id: &str) -> Result<Lease> {
    network.validate()?;
    let mut warnings = Vec::new();
    // First what most often fails, while there is nothing yet to undo.
    let listeners = reserve::reserve(network, container_id)?;
    let proxy = match listeners.is_empty() {
        true => None,
        false => Some(Proxy::new(listeners)?),
    };
    // The rules before the links: no packet of a container passes a bridge that is not guarded.
    let mut nat = guard(network);
    let mut kernel = Kernel::route()?;
    let index = bridge::ensure(&mut kernel, &network.bridge, network.mtu, &mut warnings)?;
    sandbox::connect(&mut kernel, network, index, netns_pid, container_id)?;
    // Last, so that a port answers only when there is somebody to answer.
    if let Ok(netfilter) = &mut nat
        && let Err(error) = publish(netfilter, network, container_id)
    {
        nat = Err(error);
    }
    if let Err(error) = &nat {
        warnings.push(format!(
            "no NAT on this host: containers reach this host only, and published ports go through a proxy that hides \
             the client's address: {error}"
        ));
    }
    let netfilter = nat.ok();
    Ok(Lease {
        warnings,
        bridge: network.bridge.name.clone(),
        container_id: container_id.to_owned(),
        published: netfilter.is_some() && !network.ports.is_empty(),
        netfilter,
        proxy,
    })
}

fn guard(network: &Network) -> Result<Kernel> {
    let mut netfilter = Kernel::netfilter()?;
    nft::ensure_table(&mut netfilter, &network.bridge)?;
    nft::admit(&mut netfilter, &network.bridge.name)?;
    Ok(netfilter)
}

fn publish(netfilter: &mut Kernel, network: &Network, container_id: &str) -> Result<()> {
    if network.ports.is_empty() {
        return Ok(());
    }
    bridge::admit_loopback(&network.bridge.name)?;
    nft::publish(netfilter, network, container_id)?;
    conntrack::forget_flows(netfilter, &network.ports);
    Ok(())
}

impl Lease {
    /// One descriptor to poll for reading (an epoll of its own), `None` when no port is published.
    pub fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.proxy.as_ref().map(Proxy::poll_fd)
    }

    /// Do what is ready on [`Lease::poll_fd`]: accept, forward, expire. Never blocks, starts no thread.
    pub fn serve(&mut self) {
        if let Some(proxy) = &mut self.proxy {
            proxy.serve();
        }
    }

    /// Take the NAT entries away, then release the host ports, so that no other container can get a port that still
    /// leads here. Safe to call twice; on an error the ports are free all the same.
    pub fn teardown(&mut self) -> Result<()> {
        let withdrawn = match &mut self.netfilter {
            Some(kernel) if self.published => {
                nft::withdraw(kernel, &self.bridge, &self.container_id)
            }
            _ => Ok(()),
        };
        self.published = false;
        self.proxy = None;
        // Not closed here but by the end of the process, or the wait for RCU would delay the exit record.
        std::mem::forget(self.netfilter.take());
        withdrawn
    }
}

/// Remove what a container left in the host's network when its shim was killed. Nothing left is no error.
pub fn forget(container_id: &str) -> Result<()> {
    let ports = nft::forget(container_id);
    let link = sandbox::disconnect(container_id);
    ports.and(link)
}
