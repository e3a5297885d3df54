//! Messages of D-Bus as bytes, for the few types that systemd's manager is spoken to with.
//!
//! Source: D-Bus specification, "Type System" and "Message Protocol". Little endian is what is written; what is read
//! may be either.

/// A value and its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Bool(bool),
    U32(u32),
    U64(u64),
    Str(String),
    Path(String),
    Variant(Box<Value>),
    Struct(Vec<Value>),
    /// The elements' signature, which an empty array needs as well.
    Array(&'static str, Vec<Value>),
    /// `ay`
    Bytes(Vec<u8>),
}

impl Value {
    pub fn str(text: &str) -> Value {
        Value::Str(text.to_owned())
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Str(text) | Value::Path(text) => Some(text),
            Value::Variant(inner) => inner.text(),
            _ => None,
        }
    }

    pub fn signature(&self) -> String {
        match self {
            Value::Bool(_) => "b".to_owned(),
            Value::U32(_) => "u".to_owned(),
            Value::U64(_) => "t".to_owned(),
            Value::Str(_) => "s".to_owned(),
            Value::Path(_) => "o".to_owned(),
            Value::Variant(_) => "v".to_owned(),
            Value::Struct(fields) => {
                let inner: String = fields.iter().map(Value::signature).collect();
                format!("({inner})")
            }
            Value::Array(element, _) => format!("a{element}"),
            Value::Bytes(_) => "ay".to_owned(),
        }
    }
}

/// What a message is (byte 2 of its header).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Call = 1,
    Return = 2,
    Error = 3,
    Signal = 4,
}

/// A message that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub kind: Kind,
    /// Serial of the call that this answers.
    pub reply_to: Option<u32>,
    pub member: Option<String>,
    pub error: Option<String>,
    /// The leading arguments, as far as their types are known here.
    pub body: Vec<Value>,
}

// Codes of header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// Largest message that is read; the specification's own limit is 128 MiB, and no answer here comes near this.
pub const LARGEST: usize = 1 << 20;
/// Bytes of the header that tell how long the message is.
pub const PREFIX: usize = 16;

/// Where a call goes. No destination on a connection that has systemd itself at its other end.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    pub destination: Option<&'a str>,
    pub path: &'a str,
    pub interface: &'a str,
    pub member: &'a str,
}

pub fn call(serial: u32, target: &Target<'_>, body: &[Value]) -> Vec<u8> {
    let mut content = Writer::default();
    body.iter().for_each(|value| content.value(value));
    let mut out = Writer::default();
    out.bytes.extend([b'l', Kind::Call as u8, 0, 1]);
    out.u32(content.bytes.len() as u32);
    out.u32(serial);
    out.array(8, |out| {
        let mut field = |code: u8, kind: &str, text: &str| {
            out.align(8);
            out.bytes.push(code);
            out.signature(kind);
            match kind {
                "g" => out.signature(text),
                _ => out.text(text),
            }
        };
        field(PATH, "o", target.path);
        field(INTERFACE, "s", target.interface);
        field(MEMBER, "s", target.member);
        if let Some(destination) = target.destination {
            field(DESTINATION, "s", destination);
        }
        if !body.is_empty() {
            let signature: String = body.iter().map(Value::signature).collect();
            field(SIGNATURE, "g", &signature);
        }
    });
    out.align(8);
    out.bytes.extend(content.bytes);
    out.bytes
}

#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    fn u32(&mut self, number: u32) {
        self.align(4);
        self.bytes.extend(number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.u32(text.len() as u32);
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.bytes.push(text.len() as u8);
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    /// The length counts from the first element, after the padding.
    fn array(&mut self, alignment: usize, elements: impl FnOnce(&mut Self)) {
        self.u32(0);
        let length = self.bytes.len() - 4;
        self.align(alignment);
        let start = self.bytes.len();
        elements(self);
        let size = (self.bytes.len() - start) as u32;
        self.bytes[length..length + 4].copy_from_slice(&size.to_le_bytes());
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Bool(yes) => self.u32((*yes).into()),
            Value::U32(number) => self.u32(*number),
            Value::U64(number) => {
                self.align(8);
                self.bytes.extend(number.to_le_bytes());
            }
            Value::Str(text) | Value::Path(text) => self.text(text),
            Value::Variant(inner) => {
                self.signature(&inner.signature());
                self.value(inner);
            }
            Value::Struct(fields) => {
                self.align(8);
                fields.iter().for_each(|field| self.value(field));
            }
            Value::Array(element, values) => {
                let alignment = match element.as_bytes().first() {
                    Some(b'(' | b't' | b'{') => 8,
                    Some(b'y' | b'v' | b'g') => 1,
                    _ => 4,
                };
                self.array(alignment, |out| {
                    values.iter().for_each(|value| out.value(value));
                });
            }
            Value::Bytes(bytes) => self.array(1, |out| out.bytes.extend(bytes)),
        }
    }
}

/// Length of the whole message that begins with these [`PREFIX`] bytes; `None`: this is no message.
pub fn length(prefix: &[u8]) -> Option<usize> {
    let mut reader = Reader::new(prefix)?;
    reader.at = 4;
    let body = reader.u32()? as usize;
    reader.at = 12;
    let fields = reader.u32()? as usize;
    let total = (PREFIX + fields).next_multiple_of(8).checked_add(body)?;
    (total <= LARGEST).then_some(total)
}

pub fn parse(bytes: &[u8]) -> Option<Message> {
    let mut reader = Reader::new(bytes)?;
    let kind = match bytes.get(1)? {
        1 => Kind::Call,
        2 => Kind::Return,
        3 => Kind::Error,
        4 => Kind::Signal,
        _ => return None,
    };
    let mut message = Message {
        kind,
        reply_to: None,
        member: None,
        error: None,
        body: Vec::new(),
    };
    let mut signature = String::new();
    reader.at = 12;
    let end = PREFIX + reader.u32()? as usize;
    while reader.at < end {
        reader.align(8);
        let code = reader.byte()?;
        let kind = reader.signature()?;
        match (code, kind.as_str()) {
            (SIGNATURE, "g") => signature = reader.signature()?,
            (REPLY_SERIAL, "u") => message.reply_to = Some(reader.u32()?),
            (MEMBER, "s") => message.member = Some(reader.text()?),
            (ERROR_NAME, "s") => message.error = Some(reader.text()?),
            (_, "g") => drop(reader.signature()?),
            (_, "u") => drop(reader.u32()?),
            (_, "s" | "o") => drop(reader.text()?),
            _ => return None,
        }
    }
    reader.align(8);
    for kind in signature.chars() {
        match reader.value(kind) {
            Some(value) => message.body.push(value),
            None => break,
        }
    }
    Some(message)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big: bool,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Option<Reader<'a>> {
        let big = match bytes.first()? {
            b'l' => false,
            b'B' => true,
            _ => return None,
        };
        Some(Reader { bytes, at: 0, big })
    }

    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, size: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(size)?;
        let part = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(part)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|part| part[0])
    }

    fn u32(&mut self) -> Option<u32> {
        self.align(4);
        let part = self.take(4)?.try_into().ok()?;
        Some(match self.big {
            true => u32::from_be_bytes(part),
            false => u32::from_le_bytes(part),
        })
    }

    fn text(&mut self) -> Option<String> {
        let size = self.u32()? as usize;
        let text = String::from_utf8(self.take(size)?.to_vec()).ok()?;
        self.byte()?;
        Some(text)
    }

    fn signature(&mut self) -> Option<String> {
        let size = self.byte()?.into();
        let text = String::from_utf8(self.take(size)?.to_vec()).ok()?;
        self.byte()?;
        Some(text)
    }

    fn value(&mut self, kind: char) -> Option<Value> {
        Some(match kind {
            'u' => Value::U32(self.u32()?),
            's' => Value::Str(self.text()?),
            'o' => Value::Path(self.text()?),
            'v' => match self.signature()?.as_str() {
                "s" => Value::Variant(Box::new(Value::Str(self.text()?))),
                _ => return None,
            },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of a call as libdbus writes them.
    #[test]
    fn hello() {
        let target = Target {
            destination: Some("org.freedesktop.DBus"),
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member: "Hello",
        };
        let bytes = call(1, &target, &[]);
        let expected = b"l\x01\0\x01\0\0\0\0\x01\0\0\0\x6d\0\0\0\
            \x01\x01o\0\x15\0\0\0/org/freedesktop/DBus\0\0\0\
            \x02\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0\
            \x03\x01s\0\x05\0\0\0Hello\0\0\0\
            \x06\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0";
        assert_eq!(
            bytes.escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
        assert_eq!(length(&bytes), Some(bytes.len()));
    }

    /// s, then a(sv) with one t: the array is 24 bytes long, and its length does not count the padding before it.
    #[test]
    fn arguments_are_aligned() {
        let variant = Value::Variant(Box::new(Value::U64(7)));
        let properties = Value::Array("(sv)", vec![Value::Struct(vec![Value::str("A"), variant])]);
        let mut writer = Writer::default();
        writer.value(&Value::str("x"));
        writer.value(&properties);
        let expected: [&[u8]; 6] = [
            b"\x01\0\0\0x\0\0\0",
            b"\x18\0\0\0\0\0\0\0",
            b"\x01\0\0\0A\0",
            b"\x01t\0",
            b"\0\0\0\0\0\0\0",
            b"\x07\0\0\0\0\0\0\0",
        ];
        assert_eq!(writer.bytes, expected.concat());
        assert_eq!(properties.signature(), "a(sv)");
    }

    #[test]
    fn what_is_no_message_is_none() {
        assert_eq!(length(b"HTTP/1.1 400 Bad"), None);
        let huge = b"l\x02\0\x01\xff\xff\xff\x7f\x01\0\0\0\0\0\0\0";
        assert_eq!(length(huge), None);
        assert_eq!(parse(b"l\x02\0\x01\0\0\0\0\x01\0\0\0\xff\0\0\0"), None);
    }

    #[test]
    fn a_signal_in_either_byte_order() {
        let message = Message {
            kind: Kind::Signal,
            reply_to: None,
            member: Some("Done".to_owned()),
            error: None,
            body: vec![Value::str("x")],
        };
        let mut bytes = [
            &b"l\x04\x01\x01\x06\0\0\0\x02\0\0\0\x17\0\0\0"[..],
            b"\x03\x01s\0\x04\0\0\0Done\0\0\0\0",
            b"\x08\x01g\0\x01s\0\0",
            b"\x01\0\0\0x\0",
        ]
        .concat();
        assert_eq!(parse(&bytes).as_ref(), Some(&message));
        assert_eq!(length(&bytes), Some(bytes.len()));
        bytes[0] = b'B';
        for number in [4, 12, 20, 40] {
            bytes[number..number + 4].reverse();
        }
        assert_eq!(parse(&bytes), Some(message));
        assert_eq!(length(&bytes), Some(bytes.len()));
    }
}
