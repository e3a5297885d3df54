//! What clients ask of the monitor, one request a connection.

use nix::sys::signal::Signal;
use oci_spec::runtime::Process as OciProcess;

use super::client::{Attachment, Client, Phase};
use super::control::{self, Answer, ExecState, Refusal, Request};
use super::frames::Decoder;
use super::monitor::{INIT, Monitor, Process};
use super::stdio::Stdio;
use crate::error::Error;
use crate::exec;
use crate::spec;

/// Longest id of an exec; the engine's have 64 characters.
const MAX_EXEC_ID: usize = 128;
/// Execs at a time; each costs two pipes.
const MAX_EXECS: usize = 256;

type Done = Result<Answer<'static>, Refusal>;

impl Monitor {
    /// Does the request of a client and answers it.
    pub(super) fn request(&mut self, number: u32, line: &[u8]) {
        let done = match control::parse(line) {
            Err(refusal) => Err(refusal),
            Ok(Request::Wait) => return self.wait(number, INIT),
            Ok(_) if self.finished => Err(Refusal::conflict("container is not running")),
            Ok(Request::State) => {
                let line = control::line(&Ok(self.state()));
                return self.answer(number, &line, Phase::Leaving);
            }
            Ok(Request::Attach {
                stdin,
                stdout,
                stderr,
            }) => {
                return self.attach(number, stdin, [stdout, stderr]);
            }
            Ok(Request::Exec {
                exec_id,
                process,
                stdin,
                detach,
            }) => match self.exec(exec_id, &process, stdin && !detach, detach) {
                Ok((exec, pid)) => {
                    let phase = if detach {
                        Phase::Leaving
                    } else {
                        attached(exec, stdin, [true, true])
                    };
                    return self.answer(number, &control::line(&Ok(Answer::Exec { pid })), phase);
                }
                Err(refusal) => Err(refusal),
            },
            Ok(Request::ExecWait { exec_id }) => match self.exec_wait(number, &exec_id) {
                Some(done) => done,
                None => return,
            },
            Ok(Request::Kill { signal, all }) => self.kill(signal, all),
            Ok(Request::Pause { hold }) => match self.pause() {
                Ok(done) if hold => {
                    return self.answer(number, &control::line(&Ok(done)), Phase::Holding);
                }
                done => done,
            },
            Ok(Request::Resume) => self.resume(),
            Ok(Request::Resize {
                height,
                width,
                exec_id,
            }) => self.resize(height, width, exec_id.as_deref()),
            Ok(Request::Update { resources }) => self
                .container
                .cgroup
                .update(&resources)
                .map(|()| Answer::Done)
                .map_err(Refusal::from),
        };
        self.answer(number, &control::line(&done), Phase::Leaving);
    }

    /// Answers with an error and takes no more from the client.
    pub(super) fn refuse(&mut self, number: u32, refusal: &Refusal) {
        self.answer(number, &control::refusal_line(refusal), Phase::Leaving);
    }

    fn answer(&mut self, number: u32, line: &[u8], phase: Phase) {
        if let Some(client) = self.clients.get_mut(&number) {
            client.line(line);
            client.phase = phase;
        }
    }

    fn state(&self) -> Answer<'_> {
        let running = self
            .processes
            .range(INIT + 1..)
            .map(|(_, process)| ExecState {
                id: &process.name,
                pid: process.pid.as_raw(),
                running: true,
                exit_code: None,
            });
        let past = self.past.iter().map(|exec| ExecState {
            id: &exec.name,
            pid: exec.pid.as_raw(),
            running: false,
            exit_code: Some(exec.exit_code),
        });
        Answer::State {
            pid: self.container.pid.as_raw(),
            status: if self.container.paused {
                "paused"
            } else {
                "running"
            },
            oom_killed: self.container.cgroup.oom_kills() > 0,
            log_dropped: self.log.dropped(),
            execs: past.chain(running).collect(),
        }
    }

    fn attach(&mut self, number: u32, stdin: bool, outputs: [bool; 2]) {
        let tty = self.processes.get(&INIT).is_some_and(|process| process.tty);
        // A terminal has one output; who asks for stderr alone gets it, as nothing else would come.
        let outputs = if tty {
            [outputs[0] || outputs[1], false]
        } else {
            outputs
        };
        let line = control::line(&Ok(Answer::Attached { tty }));
        self.answer(number, &line, attached(INIT, stdin, outputs));
    }

    fn exec(
        &mut self,
        name: String,
        process: &OciProcess,
        stdin: bool,
        detach: bool,
    ) -> Result<(u32, i32), Refusal> {
        if name.is_empty() || name.len() > MAX_EXEC_ID {
            return Err(Refusal::bad(format!(
                "exec_id must have 1 to {MAX_EXEC_ID} bytes"
            )));
        }
        spec::check_process(process).map_err(|error| Refusal { error, status: 400 })?;
        if self.container.paused {
            // It would join the frozen cgroup and never answer.
            return Err(Refusal::conflict(
                "container is paused, unpause the container before exec",
            ));
        }
        if self.processes.values().any(|other| other.name == name) {
            return Err(Refusal::conflict(format!("exec {name} is already running")));
        }
        if self.processes.len() > MAX_EXECS {
            return Err(Refusal::conflict(format!(
                "more than {MAX_EXECS} execs are running in the container"
            )));
        }
        let tty = process.terminal().unwrap_or(false);
        let mut stdio = if tty {
            Stdio::terminal()
        } else {
            Stdio::pipes(stdin, detach)?
        };
        let child = std::mem::take(&mut stdio.child);
        let container = &self.container;
        let options = exec::ExecOptions {
            id: container.id.clone(),
            bundle: container.bundle.clone(),
            stdio: child,
            die_with_parent: true,
            ..exec::ExecOptions::default()
        };
        let started = exec::exec(
            container.pid,
            &container.spec,
            process,
            &options,
            Some(&container.cgroup),
        )?;
        // The child's ends of the pipes: while they are open here, no end of output is seen.
        drop(options);
        if let Some(master) = started.console {
            stdio.console(master, stdin)?;
        }
        let number = self.number();
        let (input, outputs) = stdio.parent(number, tty);
        let pid = started.pid;
        self.processes.insert(
            number,
            Process {
                name,
                pid,
                tty,
                input,
                outputs,
            },
        );
        Ok((number, pid.as_raw()))
    }

    fn wait(&mut self, number: u32, process: u32) {
        if let Some(client) = self.clients.get_mut(&number) {
            client.phase = Phase::Waiting(process);
        }
    }

    fn exec_wait(&mut self, number: u32, name: &str) -> Option<Done> {
        let mut execs = self.processes.range(INIT + 1..);
        if let Some((&exec, _)) = execs.find(|(_, process)| process.name == name) {
            self.wait(number, exec);
            return None;
        }
        let past = self.past.iter().rev().find(|exec| exec.name == name);
        Some(past.map_or_else(
            || Err(Refusal::no_exec(name)),
            |exec| {
                Ok(Answer::ExecExit {
                    exit_code: exec.exit_code,
                })
            },
        ))
    }

    pub(super) fn kill(&mut self, signal: i32, all: bool) -> Done {
        if !(0..=64).contains(&signal) {
            return Err(Refusal::bad(format!("invalid signal: {signal}")));
        }
        let container = &mut self.container;
        if all {
            let known = Signal::try_from(signal).map_err(|_| {
                Refusal::bad(format!("signal {signal} cannot be sent to all processes"))
            })?;
            container.cgroup.signal_all(known)?;
        } else {
            pyd_sys::pidfd::send_signal(&container.pidfd, signal).map_err(|errno| match errno {
                nix::errno::Errno::ESRCH => Refusal::conflict("container is not running"),
                other => Refusal::from(Error::os("kill", "pidfd_send_signal", other)),
            })?;
        }
        // A frozen process of a v1 hierarchy does not even die by SIGKILL until it is thawed.
        if container.paused && signal == libc::SIGKILL {
            container.cgroup.thaw()?;
            container.paused = false;
        }
        Ok(Answer::Done)
    }

    fn pause(&mut self) -> Done {
        if self.container.paused {
            return Err(Refusal::conflict("container is already paused"));
        }
        self.container.cgroup.freeze()?;
        self.container.paused = true;
        Ok(Answer::Done)
    }

    /// A client has gone; the container that it kept frozen goes on.
    pub(super) fn released(&mut self, client: &Client) {
        if matches!(client.phase, Phase::Holding) && self.container.paused {
            // A refusal is the cgroup's: it has gone, or the next `resume` meets the same.
            let _ = self.resume();
        }
    }

    fn resume(&mut self) -> Done {
        if !self.container.paused {
            return Err(Refusal::conflict("container is not paused"));
        }
        self.container.cgroup.thaw()?;
        self.container.paused = false;
        Ok(Answer::Done)
    }

    fn resize(&mut self, rows: u16, columns: u16, exec: Option<&str>) -> Done {
        // The container's own process is the one without a name.
        let name = exec.unwrap_or_default();
        let process = self.processes.values().find(|process| process.name == name);
        let process = process.ok_or_else(|| Refusal::no_exec(name))?;
        match process.outputs[0].as_ref().filter(|_| process.tty) {
            None => Err(Refusal::conflict("the process has no terminal")),
            Some(terminal) => terminal
                .resize(rows, columns)
                .map(|()| Answer::Done)
                .map_err(|errno| Refusal::from(Error::os("terminal", "resize", errno))),
        }
    }
}

/// A new attachment.
pub(super) fn attached(process: u32, stdin: bool, outputs: [bool; 2]) -> Phase {
    Phase::Attached(Attachment {
        process,
        outputs,
        stdin,
        decoder: Decoder::default(),
    })
}
