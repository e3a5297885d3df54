//! Network devices of the host that become a container's (runtime-spec config-linux.md, "Network Devices").

use std::os::fd::{AsFd, AsRawFd};

use pyd_sys::netns;

use crate::error::{Error, Result};
use crate::link::{self, Link};
use crate::message::{
    Batch, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, attributes, u32_at,
};
use crate::socket::Kernel;

const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
/// `IFA_F_PERMANENT`
const PERMANENT: u32 = 0x80;

/// Moves each device `(name here, name there)` from the calling thread's network namespace into `netns` and brings it
/// up there, with the permanent addresses of global scope that it had. `%d` in a name there is filled by the kernel.
///
/// Everything that can be known before is checked before the first device moves: one that is in the container's
/// namespace when its creation fails goes with that namespace, unless it is hardware.
pub fn move_devices(netns: impl AsFd, devices: &[(&str, &str)]) -> Result<()> {
    let mut here = Kernel::route()?;
    // A socket belongs to the namespace in which it was opened.
    let mut there = netns::inside(&netns, Kernel::route)
        .map_err(|error| Error::io("enter", "the container's network namespace", &error))??;
    let outside = link::list(&mut here, None)?;
    let mut inside = link::list(&mut there, None)?;
    let mut found = Vec::with_capacity(devices.len());
    for (name, new_name) in devices {
        let device = outside
            .iter()
            .find(|link| link.name == *name)
            .ok_or_else(|| {
                Error::kernel("get link", *name, libc::ENODEV)
                    .with_hint("the host has no such network device")
            })?;
        if inside.iter().any(|link| link.name == *new_name) {
            return Err(
                Error::kernel("move link", *new_name, libc::EEXIST).with_hint(
                    "the container has a network device of that name: give another, or one with %d",
                ),
            );
        }
        found.push((device, *new_name));
    }
    for (device, new_name) in found {
        let kept = addresses(&mut here, device)?;
        let mut batch = Batch::new();
        let sequence = batch.push(
            libc::RTM_NEWLINK,
            NLM_F_ACK,
            &ifinfo(device.index, false),
            |a| {
                a.put_u32(IFLA_NET_NS_FD, netns.as_fd().as_raw_fd() as u32);
                a.put_name(IFLA_IFNAME, new_name);
            },
        );
        here.request(&batch, |_, _| {})?
            .require(sequence, &[], "move link", &device.name)?;
        // Neither its index nor, with %d, its name need be what they were.
        let now = link::list(&mut there, None)?;
        let arrived = now
            .iter()
            .find(|link| inside.iter().all(|old| old.index != link.index))
            .ok_or_else(|| Error::kernel("find link", new_name, libc::ENODEV))?;
        settle(&mut there, arrived, &kept)?;
        inside = now;
    }
    Ok(())
}

/// An address as it is asked for again.
#[derive(Debug)]
struct Address {
    header: [u8; 8],
    attributes: Vec<(u16, Vec<u8>)>,
}

/// The addresses that go along: moving a device drops all of them.
fn addresses(kernel: &mut Kernel, device: &Link) -> Result<Vec<Address>> {
    let mut batch = Batch::new();
    batch.push(libc::RTM_GETADDR, NLM_F_DUMP, &[0; 8], |_| {});
    let mut found = Vec::new();
    let outcome = kernel.request(&batch, |kind, body| {
        if kind == libc::RTM_NEWADDR && u32_at(body, 4) == Some(device.index) {
            found.extend(permanent(body));
        }
    })?;
    outcome
        .require_all("get addresses", &device.name)
        .map(|()| found)
}

fn permanent(body: &[u8]) -> Option<Address> {
    let mut header: [u8; 8] = body.get(..8)?.try_into().ok()?;
    let all = || attributes(&body[8..]);
    // The flags have outgrown the header's one byte.
    let flags = all()
        .find(|(kind, _)| *kind == IFA_FLAGS)
        .and_then(|(_, value)| u32_at(value, 0))
        .unwrap_or(u32::from(header[2]));
    if flags & PERMANENT == 0 || header[3] != libc::RT_SCOPE_UNIVERSE {
        return None;
    }
    // What the kernel sets by itself (tentative, permanent) is its own to set again.
    header[2] = 0;
    let kept = all().filter(|(kind, _)| matches!(*kind, IFA_ADDRESS | IFA_LOCAL | IFA_BROADCAST));
    Some(Address {
        header,
        attributes: kept.map(|(kind, value)| (kind, value.to_vec())).collect(),
    })
}

fn settle(kernel: &mut Kernel, device: &Link, addresses: &[Address]) -> Result<()> {
    let mut batch = Batch::new();
    for address in addresses {
        let mut header = address.header;
        header[4..].copy_from_slice(&device.index.to_ne_bytes());
        let flags = NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK;
        batch.push(libc::RTM_NEWADDR, flags, &header, |a| {
            for (kind, value) in &address.attributes {
                a.put(*kind, value);
            }
        });
    }
    batch.push(
        libc::RTM_NEWLINK,
        NLM_F_ACK,
        &ifinfo(device.index, true),
        |_| {},
    );
    kernel
        .request(&batch, |_, _| {})?
        .require_all("set link up", &device.name)
}

/// `struct ifinfomsg`
fn ifinfo(index: u32, up: bool) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    if up {
        let flag = (libc::IFF_UP as u32).to_ne_bytes();
        header[8..12].copy_from_slice(&flag);
        header[12..].copy_from_slice(&flag);
    }
    header
}
