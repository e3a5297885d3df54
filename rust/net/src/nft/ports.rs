//! Published ports: elements of the two maps, each with its container's id as a comment.

use std::net::{IpAddr, Ipv4Addr};

use super::transaction::{
    DELSETELEM, GETSETELEM, GETTABLE, NEWSETELEM, NEWTABLE, Transaction, open, query,
};
use super::{MAP_ANY, MAP_ONE, TABLE_PREFIX, table_name};
use crate::error::{Error, Result};
use crate::message::{Attributes, NLM_F_CREATE, NLM_F_EXCL, attributes, find, name};
use crate::network::{Network, Port};
use crate::socket::Kernel;

const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_DATA: u16 = 2;
const NFTA_SET_ELEM_USERDATA: u16 = 6;
const NFTA_DATA_VALUE: u16 = 1;

/// A map and a key in it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Slot {
    map: &'static str,
    key: Vec<u8>,
}

/// Send what arrives at the container's host ports to its address.
pub fn publish(kernel: &mut Kernel, network: &Network, container_id: &str) -> Result<()> {
    let table = table_name(&network.bridge.name);
    let ports: Vec<(Slot, [u8; 8])> = network
        .ports
        .iter()
        .filter_map(|port| Some((slot(port)?, target(network.address, port.container_port))))
        .collect();
    if ports.is_empty() {
        return Ok(());
    }
    let insert = |transaction: &mut Transaction| {
        for (slot, data) in &ports {
            transaction.add(NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL, |a| {
                element(a, &table, slot, Some((data, container_id)));
            });
        }
    };
    let mut transaction = Transaction::new();
    insert(&mut transaction);
    let outcome = transaction.commit(kernel)?;
    if outcome.first() != libc::EEXIST {
        return outcome.require_all("nft publish ports in", &table);
    }
    // We hold the listening sockets of these ports, so what is there belongs to a shim that was killed.
    let mut transaction = Transaction::new();
    let stale = list(kernel, &table)?;
    for (slot, _) in stale
        .iter()
        .filter(|(slot, _)| ports.iter().any(|(ours, _)| ours == slot))
    {
        transaction.add(DELSETELEM, 0, |a| element(a, &table, slot, None));
    }
    insert(&mut transaction);
    transaction
        .commit(kernel)?
        .require_all("nft publish ports in", &table)
}

/// Take the container's ports out of the table of its bridge.
pub fn withdraw(kernel: &mut Kernel, bridge: &str, container_id: &str) -> Result<()> {
    clear(kernel, &table_name(bridge), container_id)
}

/// Take the container's ports out of every table of ours.
pub fn forget(container_id: &str) -> Result<()> {
    let Some(mut kernel) = open() else {
        return Ok(());
    };
    let mut tables = Vec::new();
    let outcome = query(
        &mut kernel,
        GETTABLE,
        true,
        |_| {},
        |kind, body| {
            if kind == NEWTABLE
                && let Some(found) = find(body, 1).map(name)
                && found.starts_with(TABLE_PREFIX)
            {
                tables.push(found);
            }
        },
    )?;
    if outcome.first() != 0 {
        // No nftables, or no right to it: then nothing was published with it either.
        return Ok(());
    }
    tables
        .iter()
        .try_for_each(|table| clear(&mut kernel, table, container_id))
}

fn clear(kernel: &mut Kernel, table: &str, container_id: &str) -> Result<()> {
    // Two may clear the same container, its shim and a sweep: who comes second finds an element gone and looks again.
    for _ in 0..4 {
        let ours: Vec<Slot> = list(kernel, table)?
            .into_iter()
            .filter_map(|(slot, owner)| (owner == container_id).then_some(slot))
            .collect();
        if ours.is_empty() {
            return Ok(());
        }
        let mut transaction = Transaction::new();
        for slot in &ours {
            transaction.add(DELSETELEM, 0, |a| element(a, table, slot, None));
        }
        let outcome = transaction.commit(kernel)?;
        if outcome.first() != libc::ENOENT {
            return outcome.require_all("nft withdraw ports from", table);
        }
    }
    Err(Error::kernel("nft withdraw ports from", table, libc::EBUSY))
}

/// All published ports of a table with the ids of their containers. No table is an empty list.
fn list(kernel: &mut Kernel, table: &str) -> Result<Vec<(Slot, String)>> {
    let mut found = Vec::new();
    for map in [MAP_ANY, MAP_ONE] {
        let outcome = query(
            kernel,
            GETSETELEM,
            true,
            |a| {
                a.put_name(NFTA_SET_ELEM_LIST_TABLE, table);
                a.put_name(NFTA_SET_ELEM_LIST_SET, map);
            },
            |kind, body| {
                if kind == NEWSETELEM
                    && let Some(elements) = find(body, NFTA_SET_ELEM_LIST_ELEMENTS)
                {
                    found.extend(attributes(elements).filter_map(|(_, bytes)| {
                        let key = find(find(bytes, NFTA_SET_ELEM_KEY)?, NFTA_DATA_VALUE)?.to_vec();
                        let owner = owner(find(bytes, NFTA_SET_ELEM_USERDATA).unwrap_or_default());
                        Some((Slot { map, key }, owner))
                    }));
                }
            },
        )?;
        match outcome.first() {
            0 | libc::ENOENT => {}
            _ => outcome.require_all("nft list ports of", table)?,
        }
    }
    Ok(found)
}

fn element(a: &mut Attributes<'_>, table: &str, slot: &Slot, content: Option<(&[u8; 8], &str)>) {
    a.put_name(NFTA_SET_ELEM_LIST_TABLE, table);
    a.put_name(NFTA_SET_ELEM_LIST_SET, slot.map);
    a.nest(NFTA_SET_ELEM_LIST_ELEMENTS, |a| {
        a.nest(NFTA_LIST_ELEM, |a| {
            a.nest(NFTA_SET_ELEM_KEY, |a| a.put(NFTA_DATA_VALUE, &slot.key));
            if let Some((data, container_id)) = content {
                a.nest(NFTA_SET_ELEM_DATA, |a| a.put(NFTA_DATA_VALUE, data));
                a.put(NFTA_SET_ELEM_USERDATA, &comment(container_id));
            }
        });
    });
}

/// Key of a port; each part fills words of four bytes. `None` for IPv6 addresses, which the proxy serves.
fn slot(port: &Port) -> Option<Slot> {
    let IpAddr::V4(address) = port.host_ip else {
        return None;
    };
    let mut key = Vec::with_capacity(12);
    let map = if address.is_unspecified() {
        MAP_ANY
    } else {
        key.extend_from_slice(&address.octets());
        MAP_ONE
    };
    let [high, low] = port.host_port.to_be_bytes();
    key.extend_from_slice(&[port.proto.number(), 0, 0, 0, high, low, 0, 0]);
    Some(Slot { map, key })
}

fn target(address: Ipv4Addr, port: u16) -> [u8; 8] {
    let [a, b, c, d] = address.octets();
    let [high, low] = port.to_be_bytes();
    [a, b, c, d, high, low, 0, 0]
}

/// A comment as `nft` writes and shows it: type 0, length, text with NUL.
pub(super) fn comment(text: &str) -> Vec<u8> {
    let mut bytes = vec![0, (text.len() + 1) as u8];
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    bytes
}

fn owner(userdata: &[u8]) -> String {
    match userdata {
        [0, length, text @ ..] => name(&text[..text.len().min(usize::from(*length))]),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Proto;

    #[test]
    fn keys_and_targets_are_words_in_network_order() {
        let mut port = Port {
            proto: Proto::Tcp,
            host_ip: "0.0.0.0".parse().unwrap(),
            host_port: 8080,
            container_port: 80,
        };
        assert_eq!(slot(&port).unwrap().key, [6, 0, 0, 0, 0x1f, 0x90, 0, 0]);
        port.host_ip = "127.0.0.1".parse().unwrap();
        let one = slot(&port).unwrap();
        assert_eq!((one.map, one.key.len()), (MAP_ONE, 12));
        port.host_ip = "::1".parse().unwrap();
        assert_eq!(slot(&port), None);
        assert_eq!(
            target(Ipv4Addr::new(172, 30, 0, 5), 80),
            [172, 30, 0, 5, 0, 80, 0, 0]
        );
    }

    #[test]
    fn a_comment_comes_back() {
        assert_eq!(owner(&comment("abc")), "abc");
        assert_eq!(owner(&[]), "");
        assert_eq!(owner(&[0, 200, b'x']), "x");
        assert_eq!(owner(&[1, 2, b'x', 0]), "");
    }
}
