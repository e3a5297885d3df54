//! A container in the foreground: signals and the terminal go through, the exit status comes back.

use std::io::{stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, isatty, read, write};
use pyd_sys::{pidfd, pty};

use crate::error::{Error, Result};

/// Blocks all signals that can be passed on and gives a descriptor to read them from.
pub fn block_signals() -> Result<SignalFd> {
    let mut set = SigSet::all();
    // Faults of this program itself, and job control by the terminal, keep their meaning.
    for own in [
        Signal::SIGSEGV,
        Signal::SIGBUS,
        Signal::SIGFPE,
        Signal::SIGILL,
        Signal::SIGABRT,
        Signal::SIGTRAP,
        Signal::SIGSYS,
        Signal::SIGCHLD,
        Signal::SIGPIPE,
        Signal::SIGURG,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
    ] {
        set.remove(own);
    }
    set.thread_block()
        .and_then(|()| SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK))
        .map_err(|e| Error::os("process", "signalfd", e))
}

/// Serves the process until its end; gives its exit status, 128 + n for a signal.
pub fn wait(
    pid: Pid,
    pidfd: BorrowedFd<'_>,
    console: Option<OwnedFd>,
    signals: SignalFd,
) -> Result<u8> {
    let raw = console.as_ref().and_then(|_| RawTerminal::enter());
    if let Some(master) = &console {
        copy_size(master);
    }
    let served = serve(pid, pidfd, console, &signals);
    drop(raw);
    served?;
    loop {
        match waitid(Id::PIDFd(pidfd), WaitPidFlag::WEXITED) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(code as u8),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(128 + signal as u8),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(Error::os("process", "waitid", e)),
        }
    }
}

fn serve(
    pid: Pid,
    pidfd: BorrowedFd<'_>,
    mut console: Option<OwnedFd>,
    signals: &SignalFd,
) -> Result<()> {
    let (input, output) = (stdin(), stdout());
    let mut reading = console.is_some();
    let mut buffer = vec![0u8; 16 * 1024];
    loop {
        let mut fds = vec![
            PollFd::new(pidfd, PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        if let Some(master) = &console {
            fds.push(PollFd::new(master.as_fd(), PollFlags::POLLIN));
            if reading {
                fds.push(PollFd::new(input.as_fd(), PollFlags::POLLIN));
            }
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            Err(e) => return Err(Error::os("process", "poll", e)),
            Ok(_) => {}
        }
        let is_ready = |n: usize| fds.get(n).and_then(PollFd::any).unwrap_or(false);
        let (ended, signalled, output_ready, input_ready) =
            (is_ready(0), is_ready(1), is_ready(2), is_ready(3));
        drop(fds);
        if signalled {
            forward(pid, pidfd, console.as_ref(), signals);
        }
        if let Some(master) = &console {
            if input_ready {
                match read(input.as_fd(), &mut buffer) {
                    Ok(n) if n > 0 => put(master.as_fd(), &buffer[..n])?,
                    // Ctrl-D, as a terminal sends it at the end of its input.
                    Ok(_) => {
                        put(master.as_fd(), &[4])?;
                        reading = false;
                    }
                    Err(_) => reading = false,
                }
            }
            if output_ready {
                match read(master.as_fd(), &mut buffer) {
                    Ok(n) if n > 0 => {
                        put(output.as_fd(), &buffer[..n])?;
                        // All output first, then the end.
                        continue;
                    }
                    Err(Errno::EINTR | Errno::EAGAIN) => {}
                    // EIO: the last one who had the terminal open has closed it.
                    _ => console = None,
                }
            }
        }
        if ended {
            return Ok(());
        }
    }
}

fn forward(pid: Pid, pidfd: BorrowedFd<'_>, console: Option<&OwnedFd>, signals: &SignalFd) {
    while let Ok(Some(signal)) = signals.read_signal() {
        if signal.ssi_signo as i32 == Signal::SIGWINCH as i32 && console.is_some() {
            if let Some(master) = console {
                copy_size(master);
            }
            continue;
        }
        // From the process itself (kill 0, its terminal): it has had it.
        if signal.ssi_pid as i32 != pid.as_raw() {
            let _ = pidfd::send_signal(pidfd, signal.ssi_signo as i32);
        }
    }
}

fn put(to: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match write(to, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // Nobody reads any more: what is left has nowhere to go.
            Err(Errno::EIO | Errno::EPIPE) => return Ok(()),
            Err(e) => return Err(Error::os("process", "write", e)),
        }
    }
    Ok(())
}

fn copy_size(master: &OwnedFd) {
    if let Ok((rows, columns)) = pty::size(stdin().as_fd()) {
        let _ = pty::set_size(master, rows, columns);
    }
}

/// The caller's terminal without echo and line editing, until dropped.
struct RawTerminal(Termios);

impl RawTerminal {
    fn enter() -> Option<Self> {
        let input = stdin();
        if !isatty(input.as_fd()).unwrap_or(false) {
            return None;
        }
        let before = tcgetattr(input.as_fd()).ok()?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(input.as_fd(), SetArg::TCSANOW, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin().as_fd(), SetArg::TCSANOW, &self.0);
    }
}
