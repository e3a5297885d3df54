//! Netlink messages by hand: a buffer of requests, and the answers taken apart.
//!
//! Attributes are type-length-value records aligned to four bytes (`netlink(7)`). Integers are in host order in
//! rtnetlink and in network order in nftables, which is why there is a `put` for each.

use crate::error::Error;

pub const NLM_F_REQUEST: u16 = 1;
pub const NLM_F_ACK: u16 = 4;
pub const NLM_F_DUMP: u16 = 0x300;
pub const NLM_F_REPLACE: u16 = 0x100;
pub const NLM_F_EXCL: u16 = 0x200;
pub const NLM_F_CREATE: u16 = 0x400;
pub const NLM_F_APPEND: u16 = 0x800;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;
const NLA_F_NESTED: u16 = 0x8000;
const NLA_TYPE_MASK: u16 = 0x3fff;
const HEADER: usize = 16;

/// Requests that are sent together and answered one by one, in order.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    sequence: u32,
}

impl Batch {
    pub fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(2048),
            sequence: 0,
        }
    }

    /// Append a request: `header` is the fixed part of its family. Returns its sequence number, from 1.
    pub fn push(
        &mut self,
        kind: u16,
        flags: u16,
        header: &[u8],
        fill: impl FnOnce(&mut Attributes<'_>),
    ) -> u32 {
        self.sequence += 1;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes
            .extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(header);
        align(&mut self.bytes);
        fill(&mut Attributes {
            bytes: &mut self.bytes,
        });
        let length = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        self.sequence
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Where attributes are appended.
#[derive(Debug)]
pub struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Attributes<'_> {
    pub fn put(&mut self, kind: u16, value: &[u8]) {
        let length = (value.len() + 4) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        align(self.bytes);
    }

    /// A string with its final NUL.
    pub fn put_name(&mut self, kind: u16, value: &str) {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.put(kind, &bytes);
    }

    /// A number in host order (rtnetlink).
    pub fn put_u32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_ne_bytes());
    }

    /// A number in network order (nftables).
    pub fn put_be32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_be_bytes());
    }

    /// Fixed data between attributes (the `ifinfomsg` inside `VETH_INFO_PEER`).
    pub fn raw(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        align(self.bytes);
    }

    /// An attribute that holds attributes.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes
            .extend_from_slice(&(kind | NLA_F_NESTED).to_ne_bytes());
        fill(&mut Attributes { bytes: self.bytes });
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }
}

fn align(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// One message from the kernel.
#[derive(Debug)]
pub enum Answer<'a> {
    /// An acknowledgement (errno 0) or a refusal with the kernel's own words if it has any.
    Result {
        sequence: u32,
        errno: i32,
        reason: Option<&'a str>,
    },
    /// The last message of a dump.
    Done { errno: i32 },
    /// An object; `body` begins with the family's fixed header.
    Object { kind: u16, body: &'a [u8] },
}

/// The messages of one datagram.
pub fn answers(mut datagram: &[u8]) -> impl Iterator<Item = Answer<'_>> {
    std::iter::from_fn(move || {
        let length = u32_at(datagram, 0)? as usize;
        if length < HEADER || length > datagram.len() {
            return None;
        }
        let kind = u16_at(datagram, 4)?;
        let flags = u16_at(datagram, 6)?;
        let body = &datagram[HEADER..length];
        let sequence = u32_at(datagram, 8)?;
        datagram = &datagram[length.next_multiple_of(4).min(datagram.len())..];
        Some(match kind {
            NLMSG_ERROR => Answer::Result {
                sequence,
                errno: -(u32_at(body, 0)? as i32),
                reason: reason(body, flags),
            },
            NLMSG_DONE => Answer::Done {
                errno: -(u32_at(body, 0).unwrap_or(0) as i32),
            },
            kind => Answer::Object { kind, body },
        })
    })
}

/// The kernel's explanation: attributes behind the error and the echo of the request's header.
fn reason(body: &[u8], flags: u16) -> Option<&str> {
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    let echoed = if flags & NLM_F_CAPPED != 0 {
        HEADER
    } else {
        u32_at(body, 4)? as usize
    };
    let text = find(body.get(4 + echoed..)?, NLMSGERR_ATTR_MSG)?;
    std::str::from_utf8(text.strip_suffix(&[0]).unwrap_or(text)).ok()
}

/// The attributes of a message body after its fixed header, as (type, value).
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u16_at(bytes, 0)? as usize;
        if length < 4 || length > bytes.len() {
            return None;
        }
        let kind = u16_at(bytes, 2)? & NLA_TYPE_MASK;
        let value = &bytes[4..length];
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
        Some((kind, value))
    })
}

/// The first attribute of a type.
pub fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(found, value)| (found == kind).then_some(value))
}

/// A string attribute without its NUL.
pub fn name(value: &[u8]) -> String {
    String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned()
}

pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// What a batch came to: the first refusal that is not in the caller's list of harmless ones.
#[derive(Debug, Default)]
pub struct Outcome {
    refusals: Vec<(u32, i32, Option<String>)>,
}

impl Outcome {
    pub fn refused(&mut self, sequence: u32, errno: i32, reason: Option<&str>) {
        self.refusals
            .push((sequence, errno, reason.map(str::to_owned)));
    }

    /// errno of a request, 0 if it was done.
    pub fn errno(&self, sequence: u32) -> i32 {
        self.refusals
            .iter()
            .find(|(found, ..)| *found == sequence)
            .map_or(0, |(_, errno, _)| *errno)
    }

    /// errno of the whole: that of the first refusal.
    pub fn first(&self) -> i32 {
        self.refusals.first().map_or(0, |(_, errno, _)| *errno)
    }

    /// The request must have succeeded, or have failed with one of the `harmless` errnos.
    pub fn require(
        &self,
        sequence: u32,
        harmless: &[i32],
        op: &str,
        path: &str,
    ) -> Result<(), Error> {
        match self.refusals.iter().find(|(found, ..)| *found == sequence) {
            Some((_, errno, reason)) if !harmless.contains(errno) => {
                Err(Error::kernel(op, path, *errno).explained(reason.as_deref()))
            }
            _ => Ok(()),
        }
    }

    /// No request may have failed.
    pub fn require_all(&self, op: &str, path: &str) -> Result<(), Error> {
        match self.refusals.first() {
            Some((_, errno, reason)) => {
                Err(Error::kernel(op, path, *errno).explained(reason.as_deref()))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_carries_its_length_and_aligned_attributes() {
        let mut batch = Batch::new();
        let sequence = batch.push(16, NLM_F_ACK, &[1, 2, 3, 4], |a| {
            a.put_name(3, "lo");
            a.nest(18, |a| a.put_u32(1, 7));
        });
        assert_eq!(sequence, 1);
        let bytes = batch.bytes();
        assert_eq!(u32_at(bytes, 0), Some(bytes.len() as u32));
        assert_eq!(bytes.len(), 16 + 4 + 8 + 12);
        assert_eq!(u16_at(bytes, 6), Some(NLM_F_REQUEST | NLM_F_ACK));
        let body = &bytes[20..];
        assert_eq!(find(body, 3).map(name), Some("lo".to_owned()));
        assert_eq!(
            find(find(body, 18).unwrap(), 1),
            Some(&7u32.to_ne_bytes()[..])
        );
    }

    #[test]
    fn a_refusal_gives_errno_and_reason() {
        let mut bytes = Vec::new();
        let text = b"no such device\0\0";
        let length = (16 + 4 + 16 + 4 + text.len()) as u32;
        bytes.extend_from_slice(&length.to_ne_bytes());
        bytes.extend_from_slice(&NLMSG_ERROR.to_ne_bytes());
        bytes.extend_from_slice(&(NLM_F_ACK_TLVS | NLM_F_CAPPED).to_ne_bytes());
        bytes.extend_from_slice(&5u32.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&(-libc::ENODEV).to_ne_bytes());
        bytes.extend_from_slice(&[0; 16]);
        bytes.extend_from_slice(&19u16.to_ne_bytes());
        bytes.extend_from_slice(&NLMSGERR_ATTR_MSG.to_ne_bytes());
        bytes.extend_from_slice(text);
        let found: Vec<_> = answers(&bytes).collect();
        assert!(matches!(
            found[..],
            [Answer::Result {
                sequence: 5,
                errno: libc::ENODEV,
                reason: Some("no such device")
            }]
        ));
    }

    #[test]
    fn cut_or_lying_messages_end_the_iteration() {
        for bytes in [
            &[][..],
            &[1, 2, 3][..],
            &[255; 20][..],
            &[8, 0, 0, 0, 0, 0, 0, 0][..],
        ] {
            assert_eq!(answers(bytes).count(), 0);
        }
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(attributes(&[200, 0, 1, 0, 9]).count(), 0);
    }
}
