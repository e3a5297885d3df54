//! One line of Docker's json-file log: `{"log":"text\n","stream":"stdout","time":"2026-03-01T12:00:00.000000001Z"}`.

/// Appends the line for `text` to `out`. Escapes as Docker's jsonlog does (so `<`, `>`, `&`, U+2028 and U+2029 too);
/// each byte that is no UTF-8 becomes `\ufffd`, as Go's decoder has it.
pub fn write(out: &mut Vec<u8>, text: &[u8], stream: &str, time: &str) {
    out.extend_from_slice(b"{\"log\":\"");
    escape(out, text);
    out.extend_from_slice(b"\",\"stream\":\"");
    out.extend_from_slice(stream.as_bytes());
    out.extend_from_slice(b"\",\"time\":\"");
    out.extend_from_slice(time.as_bytes());
    out.extend_from_slice(b"\"}\n");
}

fn escape(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        let valid = chunk.valid().as_bytes();
        let mut start = 0;
        for (at, &byte) in valid.iter().enumerate() {
            let replaced = match byte {
                b'"' | b'\\' | b'<' | b'>' | b'&' | 0..0x20 => true,
                // U+2028 and U+2029 end a line in JavaScript; they are E2 80 A8 and E2 80 A9.
                0xe2 => {
                    valid[at..].starts_with(b"\xe2\x80\xa8")
                        || valid[at..].starts_with(b"\xe2\x80\xa9")
                }
                _ => false,
            };
            if !replaced {
                continue;
            }
            out.extend_from_slice(&valid[start..at]);
            start = at + 1;
            match byte {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                0xe2 => {
                    out.extend_from_slice(if valid[at + 2] == 0xa8 {
                        b"\\u2028"
                    } else {
                        b"\\u2029"
                    });
                    start = at + 3;
                }
                _ => {
                    const HEX: &[u8; 16] = b"0123456789abcdef";
                    out.extend_from_slice(b"\\u00");
                    out.extend_from_slice(&[
                        HEX[usize::from(byte >> 4)],
                        HEX[usize::from(byte & 15)],
                    ]);
                }
            }
        }
        out.extend_from_slice(&valid[start..]);
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &[u8]) -> String {
        let mut out = Vec::new();
        escape(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_has_docker_s_keys_in_docker_s_order() {
        let mut out = Vec::new();
        write(&mut out, b"hello\n", "stdout", "T");
        assert_eq!(
            out,
            b"{\"log\":\"hello\\n\",\"stream\":\"stdout\",\"time\":\"T\"}\n"
        );
    }

    #[test]
    fn escapes_are_docker_s() {
        assert_eq!(
            escaped(b"a\tb\x1b[0m\x00\x7f"),
            "a\\u0009b\\u001b[0m\\u0000\u{7f}"
        );
        assert_eq!(escaped(b"\"\\\r\n"), "\\\"\\\\\\r\\n");
        assert_eq!(escaped(b"<a&b>"), "\\u003ca\\u0026b\\u003e");
        assert_eq!(
            escaped("x\u{2028}y\u{2029}z€".as_bytes()),
            "x\\u2028y\\u2029z€"
        );
    }

    #[test]
    fn each_byte_that_is_no_utf8_is_one_replacement() {
        assert_eq!(escaped(b"a\xffb"), "a\\ufffdb");
        // A cut euro sign is two bad bytes for Go, though one maximal subpart for Unicode.
        assert_eq!(escaped(b"\xe2\x82"), "\\ufffd\\ufffd");
        assert_eq!(escaped(b"\xed\xa0\x80"), "\\ufffd\\ufffd\\ufffd");
        assert_eq!(escaped(b"\xf0\x9f\x98\x80\xf0\x9f"), "😀\\ufffd\\ufffd");
    }

    #[test]
    fn serde_reads_it_back() {
        let every: Vec<u8> = (0..=127).collect();
        let mut out = Vec::new();
        write(&mut out, &every, "stderr", "T");
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["log"].as_str().unwrap().as_bytes(), every);
    }
}
