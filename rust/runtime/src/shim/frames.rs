//! Docker's stdcopy framing: an 8-byte header `[stream, 0, 0, 0, length as u32 big endian]`, then the payload.
//!
//! The monitor sends 1 (stdout), 2 (stderr) and 3 (JSON about the stream itself); a client sends 0 (stdin, an
//! empty frame is end of file) and 3.

/// Bytes of a frame's header.
pub const HEADER: usize = 8;
/// The longest control frame that is believed; stdin frames are passed on as they arrive and have no limit.
pub const MAX_CONTROL: usize = 4096;

pub const STDIN: u8 = 0;
pub const STDOUT: u8 = 1;
pub const STDERR: u8 = 2;
pub const CONTROL: u8 = 3;

/// The header that announces `length` bytes of `stream`.
pub fn header(stream: u8, length: usize) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[0] = stream;
    // Callers send what one read(2) gave or one small JSON text, far below 4 GiB.
    header[4..].copy_from_slice(&(length as u32).to_be_bytes());
    header
}

/// What a client said, in the order it was said.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Bytes for the process's stdin; one frame may come in several of these.
    Stdin(&'a [u8]),
    /// The client has no more stdin.
    StdinEnd,
    /// A whole control frame.
    Control(&'a [u8]),
}

/// The client does not speak this protocol; the connection is of no more use.
#[derive(Debug, PartialEq, Eq)]
pub enum BadFrame {
    UnknownStream(u8),
    ControlTooLong(u32),
}

/// Takes a client's bytes in any pieces and keeps at most one header and one control frame of them.
#[derive(Debug, Default)]
pub struct Decoder {
    header: [u8; HEADER],
    have: usize,
    left: usize,
    control: Vec<u8>,
}

impl Decoder {
    /// Calls `on` for everything that `input` completes.
    pub fn feed(
        &mut self,
        mut input: &[u8],
        mut on: impl FnMut(Event<'_>),
    ) -> Result<(), BadFrame> {
        while !input.is_empty() {
            if self.have < HEADER {
                let take = input.len().min(HEADER - self.have);
                self.header[self.have..self.have + take].copy_from_slice(&input[..take]);
                self.have += take;
                input = &input[take..];
                if self.have == HEADER {
                    self.begin(&mut on)?;
                }
                continue;
            }
            let take = input.len().min(self.left);
            let (payload, rest) = input.split_at(take);
            input = rest;
            self.left -= take;
            if self.header[0] == STDIN {
                on(Event::Stdin(payload));
            } else {
                self.control.extend_from_slice(payload);
            }
            if self.left == 0 {
                self.have = 0;
                if self.header[0] == CONTROL {
                    on(Event::Control(&self.control));
                    self.control = Vec::new();
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, on: &mut impl FnMut(Event<'_>)) -> Result<(), BadFrame> {
        let [stream, _, _, _, a, b, c, d] = self.header;
        let length = u32::from_be_bytes([a, b, c, d]);
        match stream {
            STDIN if length == 0 => on(Event::StdinEnd),
            STDIN => {}
            CONTROL if length as usize > MAX_CONTROL => {
                return Err(BadFrame::ControlTooLong(length));
            }
            CONTROL if length == 0 => on(Event::Control(&[])),
            CONTROL => {}
            other => return Err(BadFrame::UnknownStream(other)),
        }
        self.left = length as usize;
        if length == 0 {
            self.have = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Said {
        Stdin(Vec<u8>),
        End,
        Control(Vec<u8>),
    }

    fn frame(stream: u8, payload: &[u8]) -> Vec<u8> {
        [&header(stream, payload.len())[..], payload].concat()
    }

    fn decode(bytes: &[u8], piece: usize) -> Result<Vec<Said>, BadFrame> {
        let mut decoder = Decoder::default();
        let mut said = Vec::new();
        for part in bytes.chunks(piece) {
            decoder.feed(part, |event| match event {
                Event::Stdin(b) => match said.last_mut() {
                    Some(Said::Stdin(before)) => before.extend_from_slice(b),
                    _ => said.push(Said::Stdin(b.to_vec())),
                },
                Event::StdinEnd => said.push(Said::End),
                Event::Control(b) => said.push(Said::Control(b.to_vec())),
            })?;
        }
        Ok(said)
    }

    #[test]
    fn header_is_docker_s() {
        assert_eq!(header(STDERR, 0x01020304), [2, 0, 0, 0, 1, 2, 3, 4]);
    }

    #[test]
    fn any_cutting_of_the_bytes_gives_the_same_events() {
        let bytes = [
            frame(CONTROL, b"{\"resize\":[24,80]}"),
            frame(STDIN, &[7; 1000]),
            frame(CONTROL, b""),
            frame(STDIN, b""),
        ]
        .concat();
        let want = vec![
            Said::Control(b"{\"resize\":[24,80]}".to_vec()),
            Said::Stdin(vec![7; 1000]),
            Said::Control(Vec::new()),
            Said::End,
        ];
        for piece in [1, 2, 3, 7, 8, 9, 64, 100_000] {
            assert_eq!(decode(&bytes, piece).unwrap(), want, "pieces of {piece}");
        }
    }

    #[test]
    fn a_stdin_frame_may_announce_four_gigabytes_without_costing_memory() {
        let mut decoder = Decoder::default();
        let mut seen = 0;
        decoder
            .feed(&[0, 0, 0, 0, 255, 255, 255, 255], |_| {})
            .unwrap();
        for _ in 0..100 {
            decoder
                .feed(&[1; 4096], |event| match event {
                    Event::Stdin(b) => seen += b.len(),
                    _ => panic!("only stdin was sent"),
                })
                .unwrap();
        }
        assert_eq!(seen, 409_600);
        assert_eq!(decoder.control.capacity(), 0);
    }

    #[test]
    fn strangers_are_noticed() {
        assert_eq!(
            decode(b"GET / HTTP/1.1\r\n", 100),
            Err(BadFrame::UnknownStream(b'G'))
        );
        assert_eq!(
            decode(&frame(1, b"x"), 100),
            Err(BadFrame::UnknownStream(1))
        );
        assert_eq!(
            decode(&[3, 0, 0, 0, 1, 0, 0, 0], 100),
            Err(BadFrame::ControlTooLong(1 << 24))
        );
    }
}
