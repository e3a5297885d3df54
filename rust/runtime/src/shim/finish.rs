//! From the death of the container's process to the end of the monitor.
//!
//! The order matters. Nothing may run any more when the record says so; the record is on disk before anybody is
//! told; the lock is free before the clients are told, so that they can remove or start the container at once.

use std::io;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::sys::epoll::EpollFlags;

use super::client::Phase;
use super::clock;
use super::config::Config;
use super::control::{self, Answer, Ended};
use super::exit::{self, Exit};
use super::monitor::{INIT, Monitor};
use super::poll::Token;
use super::start::Leftover;
use crate::hooks;

/// How long killed processes may take to go. One in uninterruptible sleep can take for ever.
const DEATH: Duration = Duration::from_secs(10);
/// How long a client may take to say what it wants after the end.
const ASKING: Duration = Duration::from_secs(2);
const RECORD_ATTEMPTS: u32 = 5;

impl Monitor {
    /// Ends everything that belongs to the container and tells everybody.
    pub(super) fn finish(mut self, status: ExitStatus, leftover: Leftover) {
        let Leftover { config, run, lock } = leftover;
        let finished_at = clock::now();
        let mut errors = Vec::new();
        // Counted before the cgroup goes.
        let oom_killed = self.container.cgroup.oom_kills() > 0;
        self.kill_rest(&mut errors);
        self.drain(INIT);
        self.log.finish();
        if let Some(mut lease) = self.lease.take() {
            errors.extend(lease.teardown().err().map(|error| error.to_string()));
        }
        errors.extend(
            self.container
                .cgroup
                .remove_leaf()
                .err()
                .map(|error| error.to_string()),
        );
        errors.extend(self.poststop(&config.id));
        let (exit_code, signal) = exit::code(status);
        let exit = Exit {
            exit_code,
            signal,
            oom_killed,
            started_at: std::mem::take(&mut self.container.started_at),
            finished_at,
            pid: self.container.pid.as_raw(),
            error: errors.join("; "),
        };
        record(&exit, &config);
        self.accept();
        self.listener = None;
        run.unlink_socket();
        // Unlocked, not only closed: a child between its clone and its exec may still hold the descriptor.
        drop(lock);
        self.finished = true;
        self.tell(&exit);
        self.tidy();
        // Ten directories on a machine with version 1: nobody shall wait for them.
        self.container.cgroup.remove_parent();
        self.linger(&exit);
    }

    /// Kills what init left behind (all of it is dead already when init had a pid namespace of its own).
    fn kill_rest(&mut self, errors: &mut Vec<String>) {
        let deadline = Instant::now() + DEATH;
        let mut events = Vec::new();
        loop {
            self.reap();
            let alive = self.container.cgroup.pids().unwrap_or_default();
            // An exec has left the cgroup shortly before it can be reaped.
            if alive.is_empty() && self.processes.len() <= 1 {
                return;
            }
            if Instant::now() > deadline {
                errors.push(format!(
                    "{} processes of the container do not die",
                    alive.len()
                ));
                return;
            }
            if !alive.is_empty()
                && let Err(error) = self.container.cgroup.kill_all()
            {
                errors.push(error.to_string());
                return;
            }
            // Their ends wake us, unless somebody else is their parent.
            self.poll.wait(&mut events, Some(5));
            for which in 0..2 {
                self.pump(INIT, which);
            }
        }
    }

    /// Runs the hooks that the spec wants after the container is no more (config.md, poststop); gives what failed.
    fn poststop(&self, id: &str) -> Vec<String> {
        let spec = &self.container.spec;
        let hooks = spec.hooks().as_ref();
        let state = hooks::state(spec, id, "stopped", None, &self.container.bundle);
        hooks::run_all(
            "poststop",
            hooks.and_then(|all| all.poststop().as_deref()),
            &state,
        )
    }

    fn tell(&mut self, exit: &Exit) {
        let answer = control::line(&Ok(Answer::Exit { exit }));
        for client in self.clients.values_mut() {
            match client.phase {
                Phase::Attached(_) => {
                    client.control(&Ended { exit });
                    client.phase = Phase::Leaving;
                }
                Phase::Waiting(_) => {
                    client.line(&answer);
                    client.phase = Phase::Leaving;
                }
                Phase::Holding => client.phase = Phase::Leaving,
                Phase::Asking(_) | Phase::Leaving => {}
            }
        }
    }

    /// Hands the last output to clients that are slower than the container was; ends when the last has it or went.
    fn linger(&mut self, exit: &Exit) {
        let begun = Instant::now();
        let mut events = Vec::new();
        self.processes.clear();
        loop {
            let late = begun.elapsed() > ASKING;
            if late {
                self.clients
                    .retain(|_, client| !matches!(client.phase, Phase::Asking(_)));
            }
            self.tidy();
            if self.clients.is_empty() {
                return;
            }
            self.poll.wait(&mut events, (!late).then_some(500));
            for &(token, flags) in &events {
                match token {
                    Token::Client(number) => self.late_client(number, flags, exit),
                    // SIGTERM: whoever sends it now wants the rest gone, and the container is.
                    Token::Signals if self.is_terminated() => return,
                    _ => {}
                }
            }
        }
    }

    fn is_terminated(&mut self) -> bool {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            if signal.ssi_signo == libc::SIGTERM as u32 {
                return true;
            }
        }
        false
    }

    /// A request that came together with the end: `wait` still has an answer.
    fn late_client(&mut self, number: u32, flags: EpollFlags, exit: &Exit) {
        self.client_ready(number, flags);
        self.tell(exit);
    }
}

/// Writes the exit record; a full disk may have room again a moment later.
fn record(exit: &Exit, config: &Config) {
    for attempt in 0..RECORD_ATTEMPTS {
        match exit.write(&config.exit_file, config.durable) {
            // The container's directory is gone: it was removed by force and nobody needs the record.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(_) => std::thread::sleep(Duration::from_millis(20 << attempt)),
            Ok(()) => return,
        }
    }
    // The next best place, which a reboot empties: the engine looks here too.
    let _ = exit.write(&config.run_dir.join("exit.json"), false);
}
