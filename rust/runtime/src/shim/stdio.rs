//! Both ends of a process's stdin, stdout and stderr, and the buffered stdin on the monitor's side.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::epoll::EpollFlags;
use nix::sys::stat::Mode;
use nix::unistd::{pipe2, read};

use super::poll::{Poll, Token, Watch};
use super::queue::Queue;
use crate::error::{Error, Result};

/// Bytes of stdin that may wait for a process before its clients have to.
const STDIN_FULL: usize = 64 * 1024;
/// Ctrl-D: the end of input on a terminal, which has no other.
const END_OF_TRANSMISSION: u8 = 4;

/// The monitor's ends, and the child's to be handed over.
#[derive(Debug)]
pub struct Stdio {
    pub child: [Option<OwnedFd>; 3],
    stdin: Option<OwnedFd>,
    outputs: [Option<OwnedFd>; 2],
}

impl Stdio {
    /// Pipes for the output unless `discard`, a pipe for stdin if `stdin`, /dev/null for the rest.
    pub fn pipes(stdin: bool, discard: bool) -> Result<Stdio> {
        let null = || {
            open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
                .map_err(|errno| Error::at("stdio", "open", "/dev/null", errno))
        };
        let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(|errno| Error::os("stdio", "pipe2", errno));
        let mut stdio = Stdio {
            child: [None, None, None],
            stdin: None,
            outputs: [None, None],
        };
        if stdin {
            let (reader, writer) = pipe()?;
            stdio.child[0] = Some(reader);
            stdio.stdin = Some(nonblocking(writer)?);
        } else {
            stdio.child[0] = Some(null()?);
        }
        for output in 0..2 {
            if discard {
                stdio.child[output + 1] = Some(null()?);
            } else {
                let (reader, writer) = pipe()?;
                stdio.child[output + 1] = Some(writer);
                stdio.outputs[output] = Some(nonblocking(reader)?);
            }
        }
        Ok(stdio)
    }

    /// For a process with a terminal: nothing until [`Stdio::console`] brings its master.
    pub fn terminal() -> Stdio {
        Stdio {
            child: [None, None, None],
            stdin: None,
            outputs: [None, None],
        }
    }

    /// The master of the pty, which is stdin (if `stdin`) and the only output.
    pub fn console(&mut self, master: OwnedFd, stdin: bool) -> Result<()> {
        let master = nonblocking(master)?;
        if stdin {
            let writer = master.try_clone().map_err(|error| {
                Error::os(
                    "stdio",
                    "dup",
                    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EMFILE)),
                )
            })?;
            self.stdin = Some(writer);
        }
        self.outputs[0] = Some(master);
        Ok(())
    }

    /// The monitor's ends, for the process with this number.
    pub fn parent(self, number: u32, tty: bool) -> (Option<Input>, [Option<Output>; 2]) {
        let input = self.stdin.map(|fd| Input {
            fd,
            queue: Queue::default(),
            watch: Watch::new(Token::Input(number)),
            ended: false,
            tty,
        });
        let mut which = 0;
        let outputs = self.outputs.map(|fd| {
            which += 1;
            fd.map(|fd| Output {
                fd,
                watch: Watch::new(Token::Output(number, which - 1)),
                hung: false,
                tty,
            })
        });
        (input, outputs)
    }
}

fn nonblocking(fd: OwnedFd) -> Result<OwnedFd> {
    fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
        .map_err(|errno| Error::os("stdio", "fcntl", errno))?;
    Ok(fd)
}

/// stdin of a process, which may take bytes slower than clients bring them.
#[derive(Debug)]
pub struct Input {
    fd: OwnedFd,
    queue: Queue,
    watch: Watch,
    ended: bool,
    tty: bool,
}

impl Input {
    /// Takes bytes; they are lost when the process has closed its stdin.
    pub fn write(&mut self, bytes: &[u8]) {
        if !self.ended && self.queue.send(&self.fd, [bytes, &[]]).is_err() {
            self.abandon();
        }
    }

    /// Nothing more will come. A terminal gets Ctrl-D and stays, since others may still type.
    pub fn end(&mut self) {
        if self.tty {
            self.write(&[END_OF_TRANSMISSION]);
        } else {
            self.ended = true;
        }
    }

    /// Writes what waits.
    pub fn flush(&mut self) {
        if self.queue.flush(&self.fd).is_err() {
            self.abandon();
        }
    }

    fn abandon(&mut self) {
        self.queue.clear();
        self.ended = true;
    }

    pub fn is_full(&self) -> bool {
        self.queue.len() >= STDIN_FULL
    }

    /// Whether it can be closed.
    pub fn is_over(&self) -> bool {
        self.ended && self.queue.is_empty()
    }

    /// Watched only while bytes wait: a pipe without reader and a terminal that hung up report it for ever.
    pub fn watch(&mut self, poll: &Poll) {
        let flags = (!self.queue.is_empty()).then_some(EpollFlags::EPOLLOUT);
        if poll.set(&self.fd, &mut self.watch, flags).is_err() {
            self.abandon();
        }
    }
}

/// What one read of an output gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    Bytes(usize),
    /// Nothing at the moment.
    Later,
    /// Nobody has it open for writing.
    End,
}

/// stdout, stderr or terminal of a process.
#[derive(Debug)]
pub struct Output {
    fd: OwnedFd,
    watch: Watch,
    /// A terminal that nobody has open; somebody may open it again.
    pub hung: bool,
    tty: bool,
}

impl Output {
    pub fn read(&mut self, buffer: &mut [u8]) -> Read {
        loop {
            return match read(&self.fd, buffer) {
                Ok(0) => Read::End,
                Ok(n) => Read::Bytes(n),
                Err(Errno::EAGAIN) => Read::Later,
                Err(Errno::EINTR) => continue,
                // EIO: the last slave was closed (pty(7)).
                Err(_) => {
                    self.hung = self.tty;
                    Read::End
                }
            };
        }
    }

    /// Registers for reading, or not.
    pub fn watch(&mut self, poll: &Poll, wanted: bool) {
        // The set is the kernel's; when it refuses (out of memory) the next round of the loop asks again.
        let _ = poll.set(
            &self.fd,
            &mut self.watch,
            wanted.then_some(EpollFlags::EPOLLIN),
        );
    }

    /// Sets the terminal's size.
    pub fn resize(&self, rows: u16, columns: u16) -> nix::Result<()> {
        pyd_sys::pty::set_size(&self.fd, rows, columns)
    }
}
