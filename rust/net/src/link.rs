//! rtnetlink requests about links, addresses and routes (`rtnetlink(7)`, linux/if_link.h).

use std::net::Ipv4Addr;
use std::os::fd::RawFd;

use crate::error::Result;
use crate::message::{
    Attributes, Batch, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, attributes, name, u32_at,
};
use crate::socket::Kernel;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_MODE: u16 = 4;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_TABLE: u16 = 15;

/// A link as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub up: bool,
    pub mtu: u32,
    pub mac: Vec<u8>,
    pub master: u32,
    pub kind: String,
    pub alias: String,
}

/// The link of this name, or all links.
pub fn list(kernel: &mut Kernel, only: Option<&str>) -> Result<Vec<Link>> {
    let mut batch = Batch::new();
    let flags = if only.is_some() { 0 } else { NLM_F_DUMP };
    batch.push(libc::RTM_GETLINK, flags, &ifinfo(0, 0, 0), |a| {
        if let Some(name) = only {
            a.put_name(IFLA_IFNAME, name);
        }
    });
    let mut links = Vec::new();
    let outcome = kernel.request(&batch, |kind, body| {
        if kind == libc::RTM_NEWLINK {
            links.extend(parse(body));
        }
    })?;
    match outcome.first() {
        0 | libc::ENODEV => Ok(links),
        _ => outcome
            .require_all("get link", only.unwrap_or("*"))
            .map(|()| links),
    }
}

/// The link of this name, `None` if there is none.
pub fn get(kernel: &mut Kernel, name: &str) -> Result<Option<Link>> {
    Ok(list(kernel, Some(name))?.pop())
}

fn parse(body: &[u8]) -> Option<Link> {
    let mut link = Link {
        index: u32_at(body, 4)?,
        name: String::new(),
        up: u32_at(body, 8)? & libc::IFF_UP as u32 != 0,
        mtu: 0,
        mac: Vec::new(),
        master: 0,
        kind: String::new(),
        alias: String::new(),
    };
    for (kind, value) in attributes(body.get(16..)?) {
        match kind {
            IFLA_IFNAME => link.name = name(value),
            IFLA_MTU => link.mtu = u32_at(value, 0)?,
            IFLA_ADDRESS => link.mac = value.to_vec(),
            IFLA_MASTER => link.master = u32_at(value, 0)?,
            IFLA_IFALIAS => link.alias = name(value),
            IFLA_LINKINFO => {
                if let Some((_, value)) =
                    attributes(value).find(|(kind, _)| *kind == IFLA_INFO_KIND)
                {
                    link.kind = name(value);
                }
            }
            _ => {}
        }
    }
    Some(link)
}

/// A bridge that is down. Its MAC is fixed, or the kernel would change it with every container that comes and goes.
pub fn new_bridge(batch: &mut Batch, name: &str, mac: [u8; 6], mtu: u32) -> u32 {
    let flags = NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK;
    batch.push(libc::RTM_NEWLINK, flags, &ifinfo(0, 0, 0), |a| {
        a.put_name(IFLA_IFNAME, name);
        a.put(IFLA_ADDRESS, &mac);
        a.put_u32(IFLA_MTU, mtu);
        a.nest(IFLA_LINKINFO, |a| a.put_name(IFLA_INFO_KIND, "bridge"));
    })
}

/// What a veth pair is made of; both ends exist, or neither.
#[derive(Debug)]
pub struct Veth<'a> {
    pub host_end: &'a str,
    pub bridge: u32,
    pub container_end: &'a str,
    pub netns: RawFd,
    pub mac: [u8; 6],
    pub mtu: u32,
}

/// A pair whose host end is up in the bridge and whose other end is made, down, inside the container's namespace.
///
/// One queue each: the kernel would make one for every possible CPU, which nothing uses without XDP and which was a
/// third of the whole cost (603 to 395 microseconds on two CPUs).
pub fn new_veth(batch: &mut Batch, veth: &Veth<'_>) -> u32 {
    let flags = NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK;
    let up = libc::IFF_UP as u32;
    batch.push(libc::RTM_NEWLINK, flags, &ifinfo(0, up, up), |a| {
        a.put_name(IFLA_IFNAME, veth.host_end);
        a.put_u32(IFLA_MTU, veth.mtu);
        a.put_u32(IFLA_MASTER, veth.bridge);
        one_queue(a);
        a.nest(IFLA_LINKINFO, |a| {
            a.put_name(IFLA_INFO_KIND, "veth");
            a.nest(IFLA_INFO_DATA, |a| {
                a.nest(VETH_INFO_PEER, |a| {
                    a.raw(&ifinfo(0, 0, 0));
                    a.put_name(IFLA_IFNAME, veth.container_end);
                    a.put(IFLA_ADDRESS, &veth.mac);
                    a.put_u32(IFLA_MTU, veth.mtu);
                    a.put_u32(IFLA_NET_NS_FD, veth.netns as u32);
                    one_queue(a);
                });
            });
        });
    })
}

fn one_queue(a: &mut Attributes<'_>) {
    a.put_u32(IFLA_NUM_TX_QUEUES, 1);
    a.put_u32(IFLA_NUM_RX_QUEUES, 1);
}

/// Let a bridge port send back what came in through it (a container that calls its own published port), and write down
/// whose it is. `NEWLINK` takes neither while it creates a link.
pub fn mark_port(batch: &mut Batch, name: &str, alias: &str) -> u32 {
    batch.push(libc::RTM_NEWLINK, NLM_F_ACK, &ifinfo(0, 0, 0), |a| {
        a.put_name(IFLA_IFNAME, name);
        a.put(IFLA_IFALIAS, alias.as_bytes());
        a.nest(IFLA_LINKINFO, |a| {
            a.put_name(IFLA_INFO_SLAVE_KIND, "bridge");
            a.nest(IFLA_INFO_SLAVE_DATA, |a| a.put(IFLA_BRPORT_MODE, &[1]));
        });
    })
}

pub fn set_up(batch: &mut Batch, index: u32) -> u32 {
    let up = libc::IFF_UP as u32;
    batch.push(libc::RTM_NEWLINK, NLM_F_ACK, &ifinfo(index, up, up), |_| {})
}

pub fn delete(batch: &mut Batch, name: &str) -> u32 {
    batch.push(libc::RTM_DELLINK, NLM_F_ACK, &ifinfo(0, 0, 0), |a| {
        a.put_name(IFLA_IFNAME, name);
    })
}

pub fn add_address(batch: &mut Batch, index: u32, address: Ipv4Addr, prefix: u8) -> u32 {
    let flags = NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK;
    let mut header = [0; 8];
    header[0] = libc::AF_INET as u8;
    header[1] = prefix;
    header[4..].copy_from_slice(&index.to_ne_bytes());
    let host_bits = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    let broadcast = Ipv4Addr::from_bits(address.to_bits() | host_bits);
    batch.push(libc::RTM_NEWADDR, flags, &header, |a| {
        a.put(IFA_LOCAL, &address.octets());
        a.put(IFA_ADDRESS, &address.octets());
        a.put(IFA_BROADCAST, &broadcast.octets());
    })
}

pub fn add_default_route(batch: &mut Batch, index: u32, gateway: Ipv4Addr) -> u32 {
    let flags = NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK;
    let mut header = [0; 12];
    header[0] = libc::AF_INET as u8;
    header[4] = libc::RT_TABLE_MAIN;
    header[5] = libc::RTPROT_BOOT;
    header[6] = libc::RT_SCOPE_UNIVERSE;
    header[7] = libc::RTN_UNICAST;
    batch.push(libc::RTM_NEWROUTE, flags, &header, |a| {
        a.put(RTA_GATEWAY, &gateway.octets());
        a.put_u32(RTA_OIF, index);
    })
}

/// IPv4 addresses of all links as (link index, address, prefix).
pub fn addresses(kernel: &mut Kernel) -> Result<Vec<(u32, Ipv4Addr, u8)>> {
    let mut batch = Batch::new();
    batch.push(
        libc::RTM_GETADDR,
        NLM_F_DUMP,
        &[libc::AF_INET as u8, 0, 0, 0, 0, 0, 0, 0],
        |_| {},
    );
    let mut found = Vec::new();
    let outcome = kernel.request(&batch, |kind, body| {
        if kind == libc::RTM_NEWADDR
            && let (Some(index), Some(address)) = (u32_at(body, 4), ipv4(body.get(8..), IFA_LOCAL))
        {
            found.push((index, address, body[1]));
        }
    })?;
    outcome.require_all("get addresses", "*").map(|()| found)
}

/// IPv4 destinations of all routes to others as (address, prefix), the default route left out.
pub fn routes(kernel: &mut Kernel) -> Result<Vec<(Ipv4Addr, u8)>> {
    let mut batch = Batch::new();
    let mut header = [0; 12];
    header[0] = libc::AF_INET as u8;
    batch.push(libc::RTM_GETROUTE, NLM_F_DUMP, &header, |_| {});
    let mut found = Vec::new();
    let outcome = kernel.request(&batch, |kind, body| {
        // The local table repeats each address of the host as a /32.
        let table = attributes(body.get(12..).unwrap_or_default())
            .find_map(|(kind, value)| (kind == RTA_TABLE).then(|| u32_at(value, 0)).flatten());
        if kind == libc::RTM_NEWROUTE
            && body.len() >= 12
            && body[1] > 0
            && table != Some(u32::from(libc::RT_TABLE_LOCAL))
            && let Some(address) = ipv4(body.get(12..), RTA_DST)
        {
            found.push((address, body[1]));
        }
    })?;
    outcome.require_all("get routes", "*").map(|()| found)
}

fn ipv4(attributes: Option<&[u8]>, kind: u16) -> Option<Ipv4Addr> {
    let value = crate::message::find(attributes?, kind)?;
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?))
}

/// `struct ifinfomsg`
fn ifinfo(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&change.to_ne_bytes());
    header
}
