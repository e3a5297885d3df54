//! Flows that connection tracking remembers from before a port was published, or from its former container.
//!
//! NAT is decided by the first packet of a flow. A UDP client that never pauses keeps its entry alive, and would talk
//! to nobody for ever after its server's container was restarted with another address.

use crate::message::{Batch, NLM_F_ACK};
use crate::network::{Port, Proto};
use crate::socket::Kernel;

const IPCTNL_MSG_CT_DELETE: u16 = 1 << 8 | 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_FILTER: u16 = 25;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
/// Which parts of the tuple count: the protocol and the destination port.
const BY_PROTOCOL_AND_PORT: u32 = 1 << 3 | 1 << 5;

/// Forget the UDP flows to these host ports. TCP needs none of it: a connection ends with its container.
///
/// Kernels before 6.8 cannot delete by a filter and refuse, which leaves such flows to their timeout.
pub fn forget_flows(kernel: &mut Kernel, ports: &[Port]) {
    let mut batch = Batch::new();
    for port in ports.iter().filter(|port| port.proto == Proto::Udp) {
        let header = [libc::AF_INET as u8, 0, 0, 0];
        batch.push(IPCTNL_MSG_CT_DELETE, NLM_F_ACK, &header, |a| {
            a.nest(CTA_TUPLE_ORIG, |a| {
                a.nest(CTA_TUPLE_PROTO, |a| {
                    a.put(CTA_PROTO_NUM, &[port.proto.number()]);
                    a.put(CTA_PROTO_DST_PORT, &port.host_port.to_be_bytes());
                });
            });
            a.nest(CTA_FILTER, |a| {
                a.put_u32(CTA_FILTER_ORIG_FLAGS, BY_PROTOCOL_AND_PORT)
            });
        });
    }
    if !batch.bytes().is_empty() {
        let _ = kernel.request(&batch, |_, _| {});
    }
}
