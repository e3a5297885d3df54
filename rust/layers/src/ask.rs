//! A whole blob asked for over a connection that is open: HTTP/1.1 without TLS, and the one answer that nearly every
//! registry gives. Whatever else it says is for the client that knows all of HTTP: it asks again.
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::PollTimeout;
use nix::sys::socket::{MsgFlags, send};

use crate::error::Result;
use crate::partial::Partial;
use crate::progress::Progress;
use crate::receive::{LOOK, wait};

/// Bytes of an answer's head, and what comes with it of the body.
const HEAD: usize = 16 << 10;
const FIELDS: usize = 64;

/// Sends `request` and returns what comes of the body with the head of the answer. None when something else is answered
/// than 200 with exactly `size` bytes, or nothing in the time of one's `patience`: the connection must then not be used
/// again.
pub fn ask(
    socket: &OwnedFd,
    request: &[u8],
    size: u64,
    patience: Duration,
    partial: &Partial,
    progress: &Progress,
) -> Result<Option<Vec<u8>>> {
    // Bytes that nobody has asked for, or the end: the other side has closed what was kept for too long.
    if wait(socket, PollTimeout::ZERO) != Ok(false) {
        return Ok(None);
    }
    // It fits into the socket's buffer, which is empty: the answer before this request has come.
    if send(socket.as_raw_fd(), request, MsgFlags::MSG_NOSIGNAL) != Ok(request.len()) {
        return Ok(None);
    }
    let mut head = vec![0; HEAD];
    let (mut filled, asked) = (0, Instant::now());
    while filled < HEAD && asked.elapsed() < patience && !partial.closed() {
        progress.check()?;
        match wait(socket, LOOK.into()) {
            Ok(true) => {}
            Ok(false) => continue,
            Err(_) => return Ok(None),
        }
        match nix::unistd::read(socket, &mut head[filled..]) {
            Ok(0) => return Ok(None),
            Ok(read) => filled += read,
            Err(Errno::EAGAIN | Errno::EINTR) => continue,
            Err(_) => return Ok(None),
        }
        match understand(&head[..filled], size) {
            Head::Unfinished => {}
            Head::Blob(at) => return Ok(Some(head[at..filled].to_vec())),
            Head::Other => return Ok(None),
        }
    }
    Ok(None)
}

#[derive(Debug, PartialEq, Eq)]
enum Head {
    Unfinished,
    /// The body begins here.
    Blob(usize),
    Other,
}

/// Content-Length is what ends the body (RFC 9112, section 6.3): anything that could end it elsewhere, or that leaves
/// room for two readings, is another answer.
fn understand(head: &[u8], size: u64) -> Head {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let end = match response.parse(head) {
        Ok(httparse::Status::Complete(end)) => end,
        Ok(httparse::Status::Partial) => return Head::Unfinished,
        Err(_) => return Head::Other,
    };
    let mut length = None;
    for field in response.headers {
        let is = |name| field.name.eq_ignore_ascii_case(name);
        let stays = || field.value.eq_ignore_ascii_case(b"keep-alive");
        if is("content-length") && length.is_none() {
            length = Some(field.value);
        } else if is("content-length")
            || is("transfer-encoding")
            || is("upgrade")
            || is("connection") && !stays()
        {
            return Head::Other;
        }
    }
    let is_whole = response.version == Some(1)
        && response.code == Some(200)
        && length == Some(size.to_string().as_bytes())
        && (head.len() - end) as u64 <= size;
    if is_whole {
        Head::Blob(end)
    } else {
        Head::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(head: &str) -> Head {
        understand(head.as_bytes(), 5)
    }

    #[test]
    fn all_bytes_of_the_blob() {
        let head = "HTTP/1.1 200 OK\r\nConnection: Keep-Alive\r\ncontent-length: 5\r\n\r\n";
        assert_eq!(answer(head), Head::Blob(head.len()));
        assert_eq!(answer(&format!("{head}hello")), Head::Blob(head.len()));
        for cut in 1..head.len() {
            assert_eq!(answer(&head[..cut]), Head::Unfinished, "{cut}");
        }
    }

    #[test]
    fn every_other_answer_is_for_others() {
        for other in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!",
            "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 307 Temporary Redirect\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            "ICY 200 OK\r\n",
            "\0\0\0\0",
        ] {
            assert_eq!(answer(other), Head::Other, "{other:?}");
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(FIELDS + 1));
        assert_eq!(answer(&many), Head::Other);
    }
}
