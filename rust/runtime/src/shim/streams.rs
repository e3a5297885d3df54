//! Bytes between a process and its clients.

use std::collections::BTreeMap;

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::unistd::read;

use super::client::{Attachment, Client, Phase};
use super::control::{self, ClientControl, Refusal};
use super::frames::{BadFrame, Event};
use super::monitor::{INIT, Monitor, Process, stream};
use super::stdio::Read;

/// Bytes that are read at most from a process that has ended, when something else still writes to its output.
const DRAIN: usize = 2 << 20;

impl Monitor {
    /// Moves what one read gives from an output to the log and the clients; the number of bytes.
    pub(super) fn pump(&mut self, number: u32, which: usize) -> usize {
        let Some(process) = self.processes.get_mut(&number) else {
            return 0;
        };
        let Some(output) = &mut process.outputs[which] else {
            return 0;
        };
        let length = match output.read(&mut self.scratch) {
            Read::Bytes(length) => length,
            Read::Later => return 0,
            Read::End => {
                // A terminal that nobody has open may be opened again, a pipe without writers may not.
                if !output.hung {
                    process.outputs[which] = None;
                }
                return 0;
            }
        };
        let bytes = &self.scratch[..length];
        if number == INIT {
            self.log.write(which, bytes);
        }
        for client in self.clients.values_mut() {
            if client.attached_to(number).is_some_and(|a| a.outputs[which]) {
                client.frame(stream(which), bytes);
            }
        }
        length
    }

    /// Takes what an ended process left in its pipes, without waiting: others may hold them open for ever.
    pub(super) fn drain(&mut self, number: u32) {
        for which in 0..2 {
            let mut total = 0;
            while total < DRAIN {
                match self.pump(number, which) {
                    0 => break,
                    length => total += length,
                }
            }
        }
    }

    /// Something happened on a connection.
    pub(super) fn client_ready(&mut self, number: u32, flags: EpollFlags) {
        let Some(client) = self.clients.get_mut(&number) else {
            return;
        };
        if flags.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
            client.lost();
        } else if flags.contains(EpollFlags::EPOLLOUT) {
            client.flush();
        }
        if !flags.contains(EpollFlags::EPOLLIN) {
            return;
        }
        match read(&client.socket, &mut self.scratch) {
            Ok(0) => self.said_all(number),
            Ok(length) => {
                // The buffer is lent out for the call: what it holds is handled by the whole monitor.
                let scratch = std::mem::take(&mut self.scratch);
                self.take(number, &scratch[..length]);
                self.scratch = scratch;
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => {
                client.lost();
                self.said_all(number);
            }
        }
    }

    /// A client sent `bytes`.
    fn take(&mut self, number: u32, bytes: &[u8]) {
        let Some(client) = self.clients.get_mut(&number) else {
            return;
        };
        match &mut client.phase {
            Phase::Asking(request) => {
                let Some(newline) = bytes.iter().position(|&byte| byte == b'\n') else {
                    request.extend_from_slice(bytes);
                    if request.len() > control::MAX_REQUEST {
                        self.refuse(number, &too_long());
                    }
                    return;
                };
                let mut line = std::mem::take(request);
                line.extend_from_slice(&bytes[..newline]);
                if line.len() > control::MAX_REQUEST {
                    self.refuse(number, &too_long());
                    return;
                }
                self.request(number, &line);
                // A client need not wait for the answer before it sends frames.
                self.take_frames(number, &bytes[newline + 1..]);
            }
            Phase::Attached(_) => self.take_frames(number, bytes),
            // Nothing is expected of these; what they send is dropped.
            Phase::Waiting(_) | Phase::Holding | Phase::Leaving => {}
        }
    }

    fn take_frames(&mut self, number: u32, bytes: &[u8]) {
        let Some(client) = self.clients.get_mut(&number) else {
            return;
        };
        let Phase::Attached(attachment) = &mut client.phase else {
            return;
        };
        let Some(process) = self.processes.get_mut(&attachment.process) else {
            return;
        };
        let once = attachment.process != INIT || self.container.stdin.once;
        let Attachment { stdin, decoder, .. } = attachment;
        let result = decoder.feed(bytes, |event| match (event, &mut process.input) {
            (Event::Stdin(bytes), Some(input)) if *stdin => input.write(bytes),
            (Event::StdinEnd, Some(input)) if *stdin && once => {
                // One end is enough: a terminal would get a second Ctrl-D when the client goes.
                *stdin = false;
                input.end();
            }
            (Event::Control(text), _) => {
                if let Ok(ClientControl::Resize([rows, columns])) = serde_json::from_slice(text)
                    && let Some(output) = process.outputs[0].as_ref().filter(|_| process.tty)
                {
                    // A terminal that is going away at this moment has no size.
                    let _ = output.resize(rows, columns);
                }
            }
            _ => {}
        });
        if let Err(BadFrame::UnknownStream(_) | BadFrame::ControlTooLong(_)) = result {
            client.lost();
            client.said_all = true;
        }
    }

    /// A client sent its last byte; it may still want output.
    fn said_all(&mut self, number: u32) {
        let Some(client) = self.clients.get_mut(&number) else {
            return;
        };
        client.said_all = true;
        if let Phase::Asking(request) = &client.phase
            && !request.is_empty()
        {
            self.refuse(number, &Refusal::bad("bad request: the line has no end"));
        } else if let Phase::Attached(attachment) = &mut client.phase
            && !client.gone
        {
            end_stdin(
                &mut self.processes,
                attachment,
                self.container.stdin.once,
                false,
            );
        }
    }

    /// A connection is over and out of the table.
    pub(super) fn left(&mut self, mut client: Client) {
        client.discard_input(&mut self.scratch);
        if let Phase::Attached(attachment) = &mut client.phase {
            end_stdin(
                &mut self.processes,
                attachment,
                self.container.stdin.once,
                true,
            );
        }
    }
}

/// The stdin of an attached client ended. For an exec that is the end of its stdin. The container's own stdin ends
/// with the first client that had it if it is open `once` (Docker's StdinOnce), but a terminal stays when its client
/// merely went: `docker run -it` survives its client and can be attached again.
fn end_stdin(
    processes: &mut BTreeMap<u32, Process>,
    attachment: &mut Attachment,
    once: bool,
    went: bool,
) {
    let Some(process) = processes.get_mut(&attachment.process) else {
        return;
    };
    if !attachment.stdin || attachment.process == INIT && (!once || process.tty && went) {
        return;
    }
    attachment.stdin = false;
    if let Some(input) = &mut process.input {
        input.end();
    }
}

fn too_long() -> Refusal {
    Refusal::bad(format!(
        "bad request: longer than {} bytes",
        control::MAX_REQUEST
    ))
}
