//! Firewalls of others. Docker sets the policy of `ip filter FORWARD` to drop, and no accept in a table of ours
//! overrides a drop in another. So the bridge is let through there, in the chain that Docker keeps for its users.

use super::expression::{ACCEPT, DROP, Rule};
use super::transaction::{DELRULE, GETCHAIN, GETRULE, NEWCHAIN, NEWRULE, Transaction, query};
use crate::error::Result;
use crate::message::{Attributes, NLM_F_CREATE, find, name};
use crate::socket::Kernel;

const FORWARD: u32 = 2;
const TABLE: &str = "filter";
/// The first of them that exists. Rules in FORWARD itself would be behind Docker's jumps after its next start.
const CHAINS: [&str; 2] = ["DOCKER-USER", "FORWARD"];

const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_HANDLE: u16 = 3;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_RULE_USERDATA: u16 = 7;

/// Let the bridge's traffic pass where another firewall drops what it does not know. Nothing happens on other hosts.
///
/// What comes in to the bridge is still judged by our own forward chain.
pub fn admit(kernel: &mut Kernel, bridge: &str) -> Result<()> {
    // One question on hosts without such a firewall.
    if !is_dropping(kernel)? {
        return Ok(());
    }
    for chain in CHAINS {
        if exists(kernel, chain)? {
            if ours(kernel, chain, bridge)?.is_empty() {
                insert(kernel, chain, bridge)?;
            }
            return Ok(());
        }
    }
    Ok(())
}

/// Take the rules of `admit` away again.
pub fn dismiss(kernel: &mut Kernel, bridge: &str) -> Result<()> {
    for chain in CHAINS {
        let handles = ours(kernel, chain, bridge)?;
        if handles.is_empty() {
            continue;
        }
        let mut transaction = Transaction::new();
        for handle in handles {
            transaction.add(DELRULE, 0, |a| {
                a.put_name(NFTA_RULE_TABLE, TABLE);
                a.put_name(NFTA_RULE_CHAIN, chain);
                a.put(NFTA_RULE_HANDLE, &handle);
            });
        }
        let outcome = transaction.commit(kernel)?;
        // Whoever owns the table may have flushed it meanwhile.
        if outcome.first() != libc::ENOENT {
            outcome.require_all("nft delete rules of", chain)?;
        }
    }
    Ok(())
}

/// Chains that drop forwarded packets by default and that let this bridge not through, as "ip filter FORWARD".
pub fn obstacles(kernel: &mut Kernel, bridge: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (table, chain) in drops(kernel)? {
        let mut admitted = false;
        if table == TABLE {
            for chain in CHAINS {
                admitted |= !ours(kernel, chain, bridge)?.is_empty();
            }
        }
        if !admitted {
            found.push(format!("ip {table} {chain}"));
        }
    }
    Ok(found)
}

/// (table, chain) of all chains that drop forwarded IPv4 packets unless a rule says otherwise.
fn drops(kernel: &mut Kernel) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let each = |kind, body: &[u8]| {
        if kind == NEWCHAIN && drops_forwarded(body) {
            let text = |kind| find(body, kind).map(name).unwrap_or_default();
            found.push((text(NFTA_CHAIN_TABLE), text(NFTA_CHAIN_NAME)));
        }
    };
    let outcome = query(kernel, GETCHAIN, true, |_| {}, each)?;
    outcome.require_all("nft list chains", "ip").map(|()| found)
}

/// Whether `ip filter FORWARD` exists and drops by default.
fn is_dropping(kernel: &mut Kernel) -> Result<bool> {
    let mut dropping = false;
    let named = |a: &mut Attributes<'_>| {
        a.put_name(NFTA_CHAIN_TABLE, TABLE);
        a.put_name(NFTA_CHAIN_NAME, "FORWARD");
    };
    query(kernel, GETCHAIN, false, named, |_, body| {
        dropping = drops_forwarded(body);
    })?;
    Ok(dropping)
}

fn drops_forwarded(chain: &[u8]) -> bool {
    let number = |bytes: &[u8], kind| {
        find(bytes, kind).and_then(|value| Some(u32::from_be_bytes(value.try_into().ok()?)))
    };
    let hook = find(chain, NFTA_CHAIN_HOOK).and_then(|hook| number(hook, 1));
    hook == Some(FORWARD) && number(chain, NFTA_CHAIN_POLICY) == Some(DROP as u32)
}

fn exists(kernel: &mut Kernel, chain: &str) -> Result<bool> {
    let named = |a: &mut Attributes<'_>| {
        a.put_name(NFTA_CHAIN_TABLE, TABLE);
        a.put_name(NFTA_CHAIN_NAME, chain);
    };
    let outcome = query(kernel, GETCHAIN, false, named, |_, _| {})?;
    match outcome.first() {
        libc::ENOENT => Ok(false),
        _ => outcome.require_all("nft get chain", chain).map(|()| true),
    }
}

/// Handles of our rules in a chain, known by their comment. A chain that does not exist has none.
fn ours(kernel: &mut Kernel, chain: &str, bridge: &str) -> Result<Vec<Vec<u8>>> {
    let wanted = super::ports::comment(&remark(bridge));
    let mut found = Vec::new();
    let named = |a: &mut Attributes<'_>| {
        a.put_name(NFTA_RULE_TABLE, TABLE);
        a.put_name(NFTA_RULE_CHAIN, chain);
    };
    let outcome = query(kernel, GETRULE, true, named, |kind, body| {
        if kind == NEWRULE
            && find(body, NFTA_RULE_USERDATA) == Some(&wanted[..])
            && let Some(handle) = find(body, NFTA_RULE_HANDLE)
        {
            found.push(handle.to_vec());
        }
    })?;
    match outcome.first() {
        0 | libc::ENOENT => Ok(found),
        _ => outcome
            .require_all("nft list rules of", chain)
            .map(|()| found),
    }
}

/// Two rules at the top of the chain, in the form that `iptables` itself writes and can list.
fn insert(kernel: &mut Kernel, chain: &str, bridge: &str) -> Result<()> {
    let remark = super::ports::comment(&remark(bridge));
    let mut transaction = Transaction::new();
    for inward in [false, true] {
        transaction.add(NEWRULE, NLM_F_CREATE, |a| {
            a.put_name(NFTA_RULE_TABLE, TABLE);
            a.put_name(NFTA_RULE_CHAIN, chain);
            a.nest(NFTA_RULE_EXPRESSIONS, |a| {
                let mut rule = Rule(a);
                match inward {
                    true => rule.out_interface(bridge),
                    false => rule.in_interface(bridge),
                };
                rule.counter().verdict(ACCEPT, None);
            });
            a.put(NFTA_RULE_USERDATA, &remark);
        });
    }
    transaction
        .commit(kernel)?
        .require_all("nft add rules to", chain)
}

fn remark(bridge: &str) -> String {
    format!("pyd bridge {bridge}")
}
