//! What the host's network looks like, for choosing a subnet and for `pyd doctor`.

use std::fs;
use std::net::Ipv4Addr;

use serde::Serialize;

use crate::error::Result;
use crate::link;
use crate::nft;
use crate::socket::Kernel;

/// A link of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LinkInfo {
    pub name: String,
    pub index: u32,
    /// "bridge", "veth", ...; empty for hardware.
    pub kind: String,
    pub up: bool,
    pub mtu: u32,
    pub mac: String,
    /// IPv4 addresses as `a.b.c.d/n`.
    pub addresses: Vec<String>,
}

/// IPv4 subnets that addresses and routes of the host use, as `a.b.c.d/n`: what a new subnet must not overlap.
pub fn addresses() -> Result<Vec<String>> {
    let mut kernel = Kernel::route()?;
    let mut found: Vec<(Ipv4Addr, u8)> = link::routes(&mut kernel)?;
    found.extend(
        link::addresses(&mut kernel)?
            .into_iter()
            .map(|(_, address, prefix)| {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                (Ipv4Addr::from_bits(address.to_bits() & mask), prefix)
            }),
    );
    found.sort_unstable();
    found.dedup();
    Ok(found
        .into_iter()
        .map(|(address, prefix)| format!("{address}/{prefix}"))
        .collect())
}

/// All links of the host with their addresses.
pub fn links() -> Result<Vec<LinkInfo>> {
    let mut kernel = Kernel::route()?;
    let addresses = link::addresses(&mut kernel)?;
    let links = link::list(&mut kernel, None)?;
    Ok(links
        .into_iter()
        .map(|found| LinkInfo {
            addresses: addresses
                .iter()
                .filter(|(index, ..)| *index == found.index)
                .map(|(_, address, prefix)| format!("{address}/{prefix}"))
                .collect(),
            mac: found
                .mac
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<Vec<_>>()
                .join(":"),
            name: found.name,
            index: found.index,
            kind: found.kind,
            up: found.up,
            mtu: found.mtu,
        })
        .collect())
}

/// What keeps containers from the network on this host, one sentence with the remedy each. Empty is good.
pub fn obstacles(bridge: &str) -> Vec<String> {
    let mut found = Vec::new();
    match Kernel::netfilter().and_then(|mut kernel| nft::obstacles(&mut kernel, bridge)) {
        Ok(chains) => found.extend(chains.into_iter().map(|chain| {
            format!(
                "the chain {chain} drops forwarded packets: let the bridge through with \
                 `nft insert rule {chain} iifname {bridge} accept` and `nft insert rule {chain} oifname {bridge} accept`"
            )
        })),
        Err(error) => found.push(format!(
            "nftables is not available, so there is no NAT and published ports go through a proxy: {error}"
        )),
    }
    // Rules of the older kernel interface are invisible to nftables, and drop all the same.
    if fs::read_to_string("/proc/thread-self/net/ip_tables_names")
        .is_ok_and(|tables| tables.lines().any(|table| table == "filter"))
    {
        found.push(format!(
            "iptables-legacy has filter rules; if the policy of its FORWARD chain is DROP, let the bridge through with \
             `iptables-legacy -I FORWARD -i {bridge} -j ACCEPT` and `iptables-legacy -I FORWARD -o {bridge} -j ACCEPT`"
        ));
    }
    if fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|value| value.trim() == "0") {
        found.push(
            "net.ipv4.ip_forward is 0; pyd sets it to 1 with the first container on the bridge"
                .to_owned(),
        );
    }
    found
}
