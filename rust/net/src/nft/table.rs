//! The table of one bridge, made once and complete.

use super::expression::{
    ACCEPT, CT_DNAT, CT_ESTABLISHED_OR_RELATED, DROP, JUMP, RETURN, Rule, Side,
};
use super::foreign;
use super::transaction::{
    DELTABLE, GETCHAIN, GETTABLE, NEWCHAIN, NEWRULE, NEWSET, NEWTABLE, Transaction, open, query,
};
use super::{MAP_ANY, MAP_ONE, table_name};
use crate::error::Result;
use crate::message::{Attributes, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};
use crate::network::Bridge;
use crate::socket::Kernel;

const LOOPBACK: (u32, u32) = (0x7f00_0000, 0xff00_0000);

/// linux/netfilter.h and linux/netfilter_ipv4.h
const PREROUTING: u32 = 0;
const FORWARD: u32 = 2;
const OUTPUT: u32 = 3;
const POSTROUTING: u32 = 4;
const BEFORE_CONNTRACK: i32 = -300;
const DESTINATION_NAT: i32 = -100;
const FILTER: i32 = 0;
const SOURCE_NAT: i32 = 100;

/// Types of `nft`, for its listing only: the kernel compares bytes.
const IPV4_ADDR: u32 = 7;
const INET_PROTO: u32 = 12;
const INET_SERVICE: u32 = 13;

/// Make the table of the bridge if there is none. Two that make it at once both succeed, and it is made once.
pub fn ensure(kernel: &mut Kernel, bridge: &Bridge) -> Result<()> {
    let name = table_name(&bridge.name);
    let subnet = subnet_chain(bridge);
    // Asked first: a transaction that fails waits for a grace period of RCU, milliseconds in which nobody is served.
    let named = |a: &mut Attributes<'_>| {
        a.put_name(1, &name);
        a.put_name(3, &subnet);
    };
    let asked = query(kernel, GETCHAIN, false, named, |_, _| {})?;
    match asked.first() {
        0 => return Ok(()),
        libc::ENOENT => {}
        _ => return asked.require_all("nft get table", &name),
    }
    let mut table = Table::new(&name);
    let made = table
        .transaction
        .add(NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, |a| {
            a.put_name(1, &name);
        });
    table.maps();
    table.chains(bridge);
    table.masquerade(bridge, &subnet);
    let outcome = table.transaction.commit(kernel)?;
    if outcome.errno(made) != libc::EEXIST {
        return outcome.require_all("nft create table", &name);
    }
    // Another made it at the same time, or the bridge had another subnet until now.
    let mut table = Table::new(&name);
    let made = table.masquerade(bridge, &subnet);
    let outcome = table.transaction.commit(kernel)?;
    match outcome.errno(made) {
        libc::EEXIST => Ok(()),
        _ => outcome.require_all("nft add subnet to table", &name),
    }
}

/// The chain of one subnet: it tells whether the table knows it.
fn subnet_chain(bridge: &Bridge) -> String {
    format!("masquerade-{}-{}", bridge.subnet(), bridge.prefix)
}

/// Remove the table of the bridge. None, or no nftables at all, is no error.
pub fn remove(bridge: &str) -> Result<()> {
    let Some(mut kernel) = open() else {
        return Ok(());
    };
    foreign::dismiss(&mut kernel, bridge)?;
    let name = table_name(bridge);
    let asked = query(
        &mut kernel,
        GETTABLE,
        false,
        |a| a.put_name(1, &name),
        |_, _| {},
    )?;
    if asked.first() != 0 {
        return Ok(());
    }
    let mut transaction = Transaction::new();
    let gone = transaction.add(DELTABLE, 0, |a| a.put_name(1, &name));
    let outcome = transaction.commit(&mut kernel)?;
    outcome.require(gone, &[libc::ENOENT], "nft delete table", &name)
}

struct Table<'a> {
    name: &'a str,
    transaction: Transaction,
}

impl<'a> Table<'a> {
    fn new(name: &'a str) -> Self {
        Self {
            name,
            transaction: Transaction::new(),
        }
    }

    fn maps(&mut self) {
        let address_and_port = IPV4_ADDR << 6 | INET_SERVICE;
        self.map(
            MAP_ANY,
            1,
            INET_PROTO << 6 | INET_SERVICE,
            8,
            address_and_port,
        );
        let on_address = (IPV4_ADDR << 6 | INET_PROTO) << 6 | INET_SERVICE;
        self.map(MAP_ONE, 2, on_address, 12, address_and_port);
    }

    fn chains(&mut self, bridge: &Bridge) {
        let link = bridge.name.as_str();
        let (loopback, loopback_mask) = LOOPBACK;

        // route_localnet lets packets for 127/8 in from the bridge. Answers to the host's own calls still carry the
        // gateway's address here, before conntrack, so whatever says 127/8 was made by a container (CVE-2020-8558).
        self.chain("raw", Some(("filter", PREROUTING, BEFORE_CONNTRACK)));
        for side in [Side::Destination, Side::Source] {
            self.rule("raw", |rule| {
                rule.in_interface(link)
                    .address_in(side, loopback, loopback_mask)
                    .verdict(DROP, None);
            });
        }

        self.chain("publish-to", None);
        self.rule("publish-to", |rule| {
            rule.destination_from_map(MAP_ONE, true);
        });
        self.rule("publish-to", |rule| {
            rule.destination_is_local()
                .destination_from_map(MAP_ANY, false);
        });

        // A port published on 127.0.0.1 is for this host: a neighbour that sends to 127.0.0.1 over the wire would be
        // translated before the kernel gets to call that address a martian.
        self.chain("prerouting", Some(("nat", PREROUTING, DESTINATION_NAT)));
        self.rule("prerouting", |rule| {
            rule.address_in(Side::Destination, loopback, loopback_mask)
                .verdict(RETURN, None);
        });
        self.rule("prerouting", |rule| {
            rule.verdict(JUMP, Some("publish-to"));
        });
        self.chain("output", Some(("nat", OUTPUT, DESTINATION_NAT)));
        self.rule("output", |rule| {
            rule.verdict(JUMP, Some("publish-to"));
        });

        self.chain("postrouting", Some(("nat", POSTROUTING, SOURCE_NAT)));
        // The host that calls 127.0.0.1:<port>: no container could answer to that source.
        self.rule("postrouting", |rule| {
            rule.address_in(Side::Source, loopback, loopback_mask)
                .out_interface(link)
                .masquerade();
        });

        // Into the bridge come neighbours on it, answers, and what was published; nothing else, whatever routes others
        // on the wire have set (moby's direct-access hole).
        self.chain("forward", Some(("filter", FORWARD, FILTER)));
        self.rule("forward", |rule| {
            rule.in_interface(link)
                .out_interface(link)
                .verdict(ACCEPT, None);
        });
        self.rule("forward", |rule| {
            rule.out_interface(link)
                .state_is(CT_ESTABLISHED_OR_RELATED)
                .verdict(ACCEPT, None);
        });
        self.rule("forward", |rule| {
            rule.out_interface(link)
                .status_has(CT_DNAT)
                .verdict(ACCEPT, None);
        });
        self.rule("forward", |rule| {
            rule.out_interface(link).verdict(DROP, None);
        });
    }

    /// What leaves the subnet takes the address of the way out. Returns the request that makes the chain.
    fn masquerade(&mut self, bridge: &Bridge, chain: &str) -> u32 {
        let link = bridge.name.as_str();
        let (subnet, mask) = (bridge.subnet().to_bits(), bridge.mask());
        let made = self.chain(chain, Some(("nat", POSTROUTING, SOURCE_NAT)));
        self.rule(chain, |rule| {
            rule.address_in(Side::Source, subnet, mask)
                .not_out_interface(link)
                .masquerade();
        });
        // A container that calls a published port of its own network: the answer must come back through here.
        self.rule(chain, |rule| {
            rule.address_in(Side::Source, subnet, mask)
                .out_interface(link)
                .status_has(CT_DNAT)
                .masquerade();
        });
        made
    }

    fn map(&mut self, name: &str, id: u32, key_type: u32, key_length: u32, data_type: u32) {
        const NFT_SET_MAP: u32 = 8;
        let table = self.name;
        self.transaction.add(NEWSET, NLM_F_CREATE, |a| {
            a.put_name(1, table);
            a.put_name(2, name);
            a.put_be32(3, NFT_SET_MAP);
            a.put_be32(4, key_type);
            a.put_be32(5, key_length);
            a.put_be32(6, data_type);
            a.put_be32(7, 8);
            a.put_be32(10, id);
        });
    }

    fn chain(&mut self, name: &str, base: Option<(&str, u32, i32)>) -> u32 {
        let table = self.name;
        self.transaction
            .add(NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL, |a| {
                a.put_name(1, table);
                a.put_name(3, name);
                if let Some((kind, hook, priority)) = base {
                    a.nest(4, |a| {
                        a.put_be32(1, hook);
                        a.put_be32(2, priority as u32);
                    });
                    a.put_be32(5, ACCEPT as u32);
                    a.put_name(7, kind);
                }
            })
    }

    fn rule(&mut self, chain: &str, fill: impl FnOnce(&mut Rule<'_, '_>)) {
        let table = self.name;
        self.transaction
            .add(NEWRULE, NLM_F_CREATE | NLM_F_APPEND, |a| {
                a.put_name(1, table);
                a.put_name(2, chain);
                a.nest(4, |a| fill(&mut Rule(a)));
            });
    }
}
