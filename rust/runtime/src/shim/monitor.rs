//! The monitor's state and its loop: wait, do what is ready, tidy up, wait.

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::epoll::EpollFlags;
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;
use pyd_net::Lease;

use super::client::{Client, Phase};
use super::config::StdinConfig;
use super::control::{self, Answer, Ended, ExecExit};
use super::exit;
use super::frames;
use super::logfile::Log;
use super::ops::attached;
use super::poll::{Poll, Token, Watch};
use super::report::Report;
use super::stdio::{Input, Output};
use crate::cgroup::Cgroup;
use crate::spec::Spec;

/// Number of the container's own process; execs count from 1.
pub const INIT: u32 = 0;
/// Bytes of one read: half a pipe, so that a loud process and its clients take turns.
const SCRATCH: usize = 32 * 1024;
/// Milliseconds until what epoll cannot wait for is tried again: a terminal that nobody has open, a connection for
/// which there was no descriptor left.
const RETRY: u16 = 250;
/// Ended execs that are remembered for `state` and `exec_wait`.
const PAST_EXECS: usize = 64;
/// Connections at a time, each of which may hold 1 MiB; more wait in the socket's backlog.
const MAX_CLIENTS: usize = 256;

/// The running container.
#[derive(Debug)]
pub struct Container {
    pub id: String,
    pub pid: Pid,
    pub pidfd: OwnedFd,
    pub bundle: PathBuf,
    pub spec: Spec,
    pub cgroup: Cgroup,
    pub paused: bool,
    pub stdin: StdinConfig,
    pub started_at: String,
    /// What the host cannot give and was left out, one sentence each.
    pub warnings: Vec<String>,
}

/// The container's process or an exec, as far as its streams are concerned.
#[derive(Debug)]
pub struct Process {
    /// The exec's id; empty for the container's process.
    pub name: String,
    pub pid: Pid,
    pub tty: bool,
    pub input: Option<Input>,
    pub outputs: [Option<Output>; 2],
}

/// An exec that ended.
#[derive(Debug)]
pub struct PastExec {
    pub name: String,
    pub pid: Pid,
    pub exit_code: i32,
}

#[derive(Debug)]
pub struct Monitor {
    pub(super) poll: Poll,
    pub(super) signals: SignalFd,
    pub(super) listener: Option<UnixListener>,
    pub(super) lease: Option<Lease>,
    pub(super) log: Log,
    pub(super) container: Container,
    pub(super) processes: BTreeMap<u32, Process>,
    pub(super) clients: BTreeMap<u32, Client>,
    pub(super) past: VecDeque<PastExec>,
    pub(super) ended: Option<ExitStatus>,
    pub(super) scratch: Vec<u8>,
    listening: Watch,
    /// There was no descriptor or memory for a connection that waits.
    starved: bool,
    /// The container is no more; clients still get the rest of its output.
    pub(super) finished: bool,
    /// The client with whose end the container ends.
    pub(super) tied: Option<u32>,
    next: u32,
}

/// What the monitor is made of; everything is open already.
#[derive(Debug)]
pub struct Parts {
    pub poll: Poll,
    pub signals: SignalFd,
    pub listener: UnixListener,
    pub lease: Option<Lease>,
    pub log: Log,
    pub container: Container,
    pub process: Process,
}

impl Monitor {
    pub fn new(parts: Parts) -> nix::Result<Monitor> {
        let readable = Some(EpollFlags::EPOLLIN);
        parts
            .poll
            .set(&parts.signals, &mut Watch::new(Token::Signals), readable)?;
        if let Some(fd) = parts.lease.as_ref().and_then(Lease::poll_fd) {
            parts
                .poll
                .set(fd, &mut Watch::new(Token::Network), readable)?;
        }
        Ok(Monitor {
            poll: parts.poll,
            signals: parts.signals,
            listener: Some(parts.listener),
            lease: parts.lease,
            log: parts.log,
            container: parts.container,
            processes: BTreeMap::from([(INIT, parts.process)]),
            clients: BTreeMap::new(),
            past: VecDeque::new(),
            ended: None,
            scratch: vec![0; SCRATCH],
            listening: Watch::new(Token::Listener),
            starved: false,
            finished: false,
            tied: None,
            next: 1,
        })
    }

    /// Tells the starter that the container runs.
    pub fn report(&mut self, report: Report) {
        let container = &mut self.container;
        let warnings = std::mem::take(&mut container.warnings);
        report.started(container.pid.as_raw(), &container.started_at, &warnings);
    }

    /// Takes a connected socket as a client that is attached to everything, without request and answer. A container
    /// that is `tied` ends with it.
    pub fn adopt(&mut self, socket: OwnedFd, tied: bool) {
        let flags = FcntlArg::F_SETFL(OFlag::O_NONBLOCK);
        let number = self.number();
        self.tied = tied.then_some(number);
        if fcntl(&socket, flags).is_ok() {
            let phase = attached(INIT, self.container.stdin.open, [true, true]);
            self.clients
                .insert(number, Client::new(number, socket, phase));
        }
    }

    /// Serves until the container's process has ended.
    pub fn run(&mut self) -> ExitStatus {
        let mut events = Vec::with_capacity(32);
        let mut retried = Instant::now();
        // The process may have ended before the signals were watched.
        self.reap();
        loop {
            if let Some(status) = self.ended {
                return status;
            }
            self.tidy();
            let waits = self.starved || self.outputs().any(|output| output.hung);
            self.poll.wait(&mut events, waits.then_some(RETRY));
            if waits && retried.elapsed() >= Duration::from_millis(RETRY.into()) {
                retried = Instant::now();
                self.starved = false;
                self.outputs().for_each(|output| output.hung = false);
            }
            for &(token, flags) in &events {
                self.dispatch(token, flags);
            }
        }
    }

    fn outputs(&mut self) -> impl Iterator<Item = &mut Output> {
        let processes = self.processes.values_mut();
        processes.flat_map(|process| process.outputs.iter_mut().flatten())
    }

    pub(super) fn dispatch(&mut self, token: Token, flags: EpollFlags) {
        match token {
            Token::Signals => self.reap(),
            Token::Listener => self.accept(),
            Token::Network => {
                if let Some(lease) = &mut self.lease {
                    lease.serve();
                }
            }
            Token::Client(number) => self.client_ready(number, flags),
            Token::Input(number) => {
                if let Some(input) = self
                    .processes
                    .get_mut(&number)
                    .and_then(|p| p.input.as_mut())
                {
                    input.flush();
                }
            }
            Token::Output(number, which) => {
                self.pump(number, usize::from(which));
            }
        }
    }

    pub(super) fn number(&mut self) -> u32 {
        let number = self.next;
        // Wraps after four milliards of connections; a number in use then is not met again in practice.
        self.next = self.next.checked_add(1).unwrap_or(1);
        number
    }

    pub(super) fn accept(&mut self) {
        while let Some(listener) = &self.listener
            && self.clients.len() < MAX_CLIENTS
        {
            let socket = match listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.starved = true;
                    return;
                }
            };
            if socket.set_nonblocking(true).is_ok() {
                let number = self.number();
                let client = Client::new(number, socket.into(), Phase::Asking(Vec::new()));
                self.clients.insert(number, client);
            }
        }
    }

    /// Takes every ended child: the container's process, execs, and orphans that came to us as their subreaper.
    ///
    /// SIGTERM, SIGINT and SIGHUP arrive here as well and are dropped: the monitor outlives its starter, and what
    /// ends a container is a `kill` request (or SIGKILL for the monitor, which takes the container with it).
    pub(super) fn reap(&mut self) {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        while let Ok(Some((pid, status))) = pyd_sys::reap::any() {
            if pid == self.container.pid {
                self.ended = Some(status);
            } else if let Some(number) = self.exec_by_pid(pid) {
                self.exec_ended(number, status);
            }
        }
    }

    fn exec_by_pid(&self, pid: Pid) -> Option<u32> {
        let mut execs = self.processes.range(INIT + 1..);
        execs
            .find(|(_, process)| process.pid == pid)
            .map(|(number, _)| *number)
    }

    fn exec_ended(&mut self, number: u32, status: ExitStatus) {
        self.drain(number);
        let Some(process) = self.processes.remove(&number) else {
            return;
        };
        let (exit_code, _) = exit::code(status);
        for client in self.clients.values_mut() {
            if client.attached_to(number).is_some() {
                client.control(&Ended {
                    exit: ExecExit { exit_code },
                });
                client.phase = Phase::Leaving;
            } else if matches!(client.phase, Phase::Waiting(which) if which == number) {
                client.line(&control::line(&Ok(Answer::ExecExit { exit_code })));
                client.phase = Phase::Leaving;
            }
        }
        if self.past.len() == PAST_EXECS {
            self.past.pop_front();
        }
        self.past.push_back(PastExec {
            name: process.name,
            pid: process.pid,
            exit_code,
        });
    }

    /// Removes who is finished and registers everybody else for what can be done next.
    pub(super) fn tidy(&mut self) {
        self.end_with_starter();
        let over: Vec<u32> = self
            .clients
            .iter()
            .filter(|(_, c)| c.is_over())
            .map(|(n, _)| *n)
            .collect();
        for number in over {
            if let Some(client) = self.clients.remove(&number) {
                self.released(&client);
                self.left(client);
            }
        }
        if let Some(listener) = &self.listener {
            let room = self.clients.len() < MAX_CLIENTS && !self.starved;
            let flags = room.then_some(EpollFlags::EPOLLIN);
            self.starved |= self.poll.set(listener, &mut self.listening, flags).is_err();
        }
        for (&number, process) in &mut self.processes {
            if let Some(input) = &mut process.input {
                input.watch(&self.poll);
            }
            process.input.take_if(|input| input.is_over());
            let full = self
                .clients
                .values()
                .any(|c| c.is_full() && c.attached_to(number).is_some());
            for output in process.outputs.iter_mut().flatten() {
                output.watch(&self.poll, !full && !output.hung);
            }
        }
        for client in self.clients.values_mut() {
            let full = match &client.phase {
                Phase::Attached(a) => self.processes.get(&a.process).is_some_and(Process::is_full),
                _ => false,
            };
            client.watch(&self.poll, full);
        }
    }
}

impl Process {
    /// Whether stdin takes nothing more at the moment.
    fn is_full(&self) -> bool {
        self.input.as_ref().is_some_and(Input::is_full)
    }
}

/// The stream number of the frames for output `which`.
pub(super) fn stream(which: usize) -> u8 {
    [frames::STDOUT, frames::STDERR][which]
}
