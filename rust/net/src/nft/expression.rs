//! The expressions that our rules are made of. Numbers are those of linux/netfilter/nf_tables.h.

use crate::message::Attributes;

const NFTA_LIST_ELEM: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_VERDICT_CHAIN: u16 = 2;

/// Registers: 0 the verdict, 1 the first 16 bytes of data, 8.. the same room in words of 4 bytes.
const VERDICT: u32 = 0;
const DATA: u32 = 1;
const WORD: u32 = 8;

const EQUAL: u32 = 0;
const UNEQUAL: u32 = 1;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_L4PROTO: u32 = 16;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
pub const CT_ESTABLISHED_OR_RELATED: u32 = 0b110;
pub const CT_DNAT: u32 = 1 << 5;

pub const ACCEPT: i32 = 1;
pub const DROP: i32 = 0;
pub const JUMP: i32 = -3;
pub const RETURN: i32 = -5;

/// Source or destination in the IPv4 header.
#[derive(Debug, Clone, Copy)]
pub enum Side {
    Source = 12,
    Destination = 16,
}

/// One rule's expressions, appended in order.
#[derive(Debug)]
pub struct Rule<'a, 'b>(pub &'a mut Attributes<'b>);

impl Rule<'_, '_> {
    pub fn in_interface(&mut self, name: &str) -> &mut Self {
        self.interface(META_IIFNAME, EQUAL, name)
    }

    pub fn out_interface(&mut self, name: &str) -> &mut Self {
        self.interface(META_OIFNAME, EQUAL, name)
    }

    pub fn not_out_interface(&mut self, name: &str) -> &mut Self {
        self.interface(META_OIFNAME, UNEQUAL, name)
    }

    fn interface(&mut self, key: u32, operator: u32, name: &str) -> &mut Self {
        let mut padded = [0; 16];
        padded[..name.len()].copy_from_slice(name.as_bytes());
        self.meta(key, DATA).compare(operator, &padded)
    }

    /// The address lies in network/mask (host order).
    pub fn address_in(&mut self, side: Side, network: u32, mask: u32) -> &mut Self {
        self.payload(NETWORK_HEADER, side as u32, 4, DATA);
        if mask != u32::MAX {
            self.and(&mask.to_be_bytes());
        }
        self.compare(EQUAL, &network.to_be_bytes())
    }

    /// The destination is an address of this host.
    pub fn destination_is_local(&mut self) -> &mut Self {
        const FIB_RESULT_ADDRTYPE: u32 = 3;
        const FIB_F_DADDR: u32 = 2;
        self.expression("fib", |a| {
            a.put_be32(1, DATA);
            a.put_be32(2, FIB_RESULT_ADDRTYPE);
            a.put_be32(3, FIB_F_DADDR);
        });
        self.compare(EQUAL, &u32::from(libc::RTN_LOCAL).to_ne_bytes())
    }

    pub fn state_is(&mut self, bits: u32) -> &mut Self {
        self.conntrack(CT_STATE)
            .and(&bits.to_ne_bytes())
            .compare(UNEQUAL, &[0; 4])
    }

    pub fn status_has(&mut self, bits: u32) -> &mut Self {
        self.conntrack(CT_STATUS)
            .and(&bits.to_ne_bytes())
            .compare(UNEQUAL, &[0; 4])
    }

    pub fn verdict(&mut self, code: i32, chain: Option<&str>) -> &mut Self {
        self.expression("immediate", |a| {
            a.put_be32(1, VERDICT);
            a.nest(2, |a| {
                a.nest(NFTA_DATA_VERDICT, |a| {
                    a.put_be32(NFTA_VERDICT_CODE, code as u32);
                    if let Some(chain) = chain {
                        a.put_name(NFTA_VERDICT_CHAIN, chain);
                    }
                });
            });
        })
    }

    pub fn counter(&mut self) -> &mut Self {
        self.expression("counter", |_| {})
    }

    pub fn masquerade(&mut self) -> &mut Self {
        self.expression("masq", |_| {})
    }

    /// Translate the destination to what a map has for (address .) protocol . port.
    pub fn destination_from_map(&mut self, map: &str, with_address: bool) -> &mut Self {
        let mut word = WORD;
        if with_address {
            self.payload(NETWORK_HEADER, Side::Destination as u32, 4, word);
            word += 1;
        }
        self.meta(META_L4PROTO, word);
        self.payload(TRANSPORT_HEADER, 2, 2, word + 1);
        self.expression("lookup", |a| {
            a.put_name(1, map);
            a.put_be32(2, WORD);
            a.put_be32(3, WORD);
        });
        self.expression("nat", |a| {
            const DESTINATION: u32 = 1;
            a.put_be32(1, DESTINATION);
            a.put_be32(2, u32::from(super::transaction::NFPROTO_IPV4));
            a.put_be32(3, WORD);
            a.put_be32(5, WORD + 1);
        })
    }

    fn meta(&mut self, key: u32, register: u32) -> &mut Self {
        self.expression("meta", |a| {
            a.put_be32(1, register);
            a.put_be32(2, key);
        })
    }

    fn conntrack(&mut self, key: u32) -> &mut Self {
        self.expression("ct", |a| {
            a.put_be32(1, DATA);
            a.put_be32(2, key);
        })
    }

    fn payload(&mut self, base: u32, offset: u32, length: u32, register: u32) -> &mut Self {
        self.expression("payload", |a| {
            a.put_be32(1, register);
            a.put_be32(2, base);
            a.put_be32(3, offset);
            a.put_be32(4, length);
        })
    }

    fn and(&mut self, mask: &[u8; 4]) -> &mut Self {
        self.expression("bitwise", |a| {
            a.put_be32(1, DATA);
            a.put_be32(2, DATA);
            a.put_be32(3, 4);
            a.nest(4, |a| a.put(NFTA_DATA_VALUE, mask));
            a.nest(5, |a| a.put(NFTA_DATA_VALUE, &[0; 4]));
        })
    }

    fn compare(&mut self, operator: u32, value: &[u8]) -> &mut Self {
        self.expression("cmp", |a| {
            a.put_be32(1, DATA);
            a.put_be32(2, operator);
            a.nest(3, |a| a.put(NFTA_DATA_VALUE, value));
        })
    }

    fn expression(&mut self, name: &str, fill: impl FnOnce(&mut Attributes<'_>)) -> &mut Self {
        self.0.nest(NFTA_LIST_ELEM, |a| {
            a.put_name(NFTA_EXPR_NAME, name);
            a.nest(NFTA_EXPR_DATA, fill);
        });
        self
    }
}
