//! Batches of nftables changes: all of them happen, or none.

use crate::error::Result;
use crate::message::{Attributes, Batch, NLM_F_ACK, NLM_F_DUMP, Outcome};
use crate::socket::Kernel;

const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const NFNL_SUBSYS_NFTABLES: u16 = 10;
pub const NFPROTO_IPV4: u8 = 2;

pub const NEWTABLE: u16 = 0;
pub const GETTABLE: u16 = 1;
pub const DELTABLE: u16 = 2;
pub const NEWCHAIN: u16 = 3;
pub const GETCHAIN: u16 = 4;
pub const NEWRULE: u16 = 6;
pub const GETRULE: u16 = 7;
pub const DELRULE: u16 = 8;
pub const NEWSET: u16 = 9;
pub const NEWSETELEM: u16 = 12;
pub const GETSETELEM: u16 = 13;
pub const DELSETELEM: u16 = 14;

/// A netfilter socket, `None` where this kernel, or this user, has no nftables.
pub fn open() -> Option<Kernel> {
    Kernel::netfilter().ok()
}

/// Changes that are committed together.
#[derive(Debug)]
pub struct Transaction {
    batch: Batch,
}

impl Transaction {
    pub fn new() -> Self {
        let mut batch = Batch::new();
        batch.push(
            NFNL_MSG_BATCH_BEGIN,
            0,
            &header(0, NFNL_SUBSYS_NFTABLES),
            |_| {},
        );
        Self { batch }
    }

    pub fn add(&mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut Attributes<'_>)) -> u32 {
        let kind = NFNL_SUBSYS_NFTABLES << 8 | kind;
        self.batch
            .push(kind, flags | NLM_F_ACK, &header(NFPROTO_IPV4, 0), fill)
    }

    pub fn commit(mut self, kernel: &mut Kernel) -> Result<Outcome> {
        self.batch.push(
            NFNL_MSG_BATCH_END,
            0,
            &header(0, NFNL_SUBSYS_NFTABLES),
            |_| {},
        );
        kernel.request(&self.batch, |_, _| {})
    }
}

/// Ask for one object, or with `NLM_F_DUMP` for all. `each` gets (message type, attributes).
pub fn query(
    kernel: &mut Kernel,
    kind: u16,
    dump: bool,
    fill: impl FnOnce(&mut Attributes<'_>),
    mut each: impl FnMut(u16, &[u8]),
) -> Result<Outcome> {
    let mut batch = Batch::new();
    let flags = if dump { NLM_F_DUMP } else { 0 };
    let kind = NFNL_SUBSYS_NFTABLES << 8 | kind;
    batch.push(kind, flags, &header(NFPROTO_IPV4, 0), fill);
    kernel.request(&batch, |kind, body| {
        if let Some(attributes) = body.get(4..) {
            each(kind & 0xff, attributes);
        }
    })
}

/// `struct nfgenmsg`
fn header(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}
