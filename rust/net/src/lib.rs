//! The network of one container: bridge, veth, address, NAT and published ports, without `ip`, `iptables` or `nft`.
//!
//! In order of events: [`loopback_up`] by init in its new namespace; [`setup`] by the shim, which gives a [`Lease`];
//! the shim polls [`Lease::poll_fd`] and calls [`Lease::serve`]; [`Lease::teardown`] at exit; [`forget`] by whoever
//! finds that a shim died without it. The bridge stays when its last container goes, until [`remove_bridge`].
#![forbid(unsafe_code)]

mod bridge;
mod conntrack;
mod device;
mod error;
mod inspect;
mod lease;
mod link;
mod message;
mod network;
mod nft;
mod proxy;
mod reserve;
mod sandbox;
mod socket;

pub use bridge::remove as remove_bridge;
pub use device::move_devices;
pub use error::{Error, Result};
pub use inspect::{LinkInfo, addresses, links, obstacles};
pub use lease::{Lease, forget, setup};
pub use network::{Bridge, Network, Port, Proto};

/// Bring `lo` up in the network namespace of the calling thread: two system calls, no allocation.
pub fn loopback_up() -> Result<()> {
    pyd_sys::netns::loopback_up().map_err(|error| Error::io("set link up", "lo", &error))
}
