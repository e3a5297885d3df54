//! From nothing to a running container: everything is opened first, so that the output has a place to go before
//! the first byte of it exists.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::{Flock, OFlag, open};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, setsid};
use pyd_net::Lease;

use super::clock;
use super::config::Config;
use super::monitor::{Container, INIT, Monitor, Parts, Process};
use super::poll::Poll;
use super::rundir::RunDir;
use super::stdio::Stdio;
use super::tie;
use crate::create::{CreateOptions, Created, create};
use crate::error::{Error, Result};
use crate::spec::{self, Spec};

/// What the end needs and the serving does not.
#[derive(Debug)]
pub struct Leftover {
    pub config: Config,
    pub run: RunDir,
    pub lock: Flock<File>,
}

/// Starts the container of `bundle`; on an error nothing of it is left.
pub fn start(bundle: &Path, attach: Option<OwnedFd>) -> Result<(Monitor, Leftover)> {
    pyd_sys::heap::keep_small();
    detach().map_err(|errno| Error::os("config", "detach from the starter", errno))?;
    let config = Config::load(bundle)?;
    if config.tied && attach.is_none() {
        return Err(Error::new(
            "config",
            "shim.json: tied needs the connection of a starter (--attach-fd)",
        ));
    }
    let spec = spec::load(bundle)?;
    let run = RunDir::open(&config.run_dir)?;
    let lock = run.lock()?;
    let log = config.log.open()?;
    let poll = Poll::new().map_err(|errno| Error::os("config", "epoll_create1", errno))?;
    let signals = block_signals().map_err(|errno| Error::os("config", "signalfd", errno))?;
    let listener = run.listen()?;
    // From here on the socket has to go when something fails; the lock goes by itself.
    let started =
        launch(bundle, &config, spec, attach.as_ref()).and_then(|(container, process, lease)| {
            let parts = Parts {
                poll,
                signals,
                listener,
                lease,
                log,
                container,
                process,
            };
            Monitor::new(parts).map_err(|errno| Error::os("config", "epoll_ctl", errno))
        });
    match started {
        Ok(mut monitor) => {
            if let Some(socket) = attach {
                monitor.adopt(socket, config.tied);
            }
            Ok((monitor, Leftover { config, run, lock }))
        }
        Err(error) => {
            run.unlink_socket();
            Err(error)
        }
    }
}

/// Away from the starter: a session of its own, no terminal, no directory, no stdio, orphans to us.
fn detach() -> nix::Result<()> {
    // Fails only for a process group leader, which a starter that made the session already made us.
    let _ = setsid();
    chdir("/")?;
    umask(Mode::from_bits_truncate(0o022));
    let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    set_child_subreaper(true)
}

/// Blocks what must not end or disturb the monitor; the new processes of the container get an empty mask.
fn block_signals() -> nix::Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [
        Signal::SIGCHLD,
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
    ] {
        set.add(signal);
    }
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// Makes the container with its network and lets it go.
fn launch(
    bundle: &Path,
    config: &Config,
    spec: Spec,
    attach: Option<&OwnedFd>,
) -> Result<(Container, Process, Option<Lease>)> {
    let tty = spec
        .process()
        .as_ref()
        .and_then(|process| process.terminal())
        .unwrap_or(false);
    let mut stdio = if tty {
        Stdio::terminal()
    } else {
        Stdio::pipes(config.stdin.open, false)?
    };
    let mut lease = None;
    let mut connect = |pid: Pid| {
        if let Some(network) = &config.network {
            lease = Some(pyd_net::setup(network, pid.as_raw(), &config.id).map_err(network_error)?);
        }
        Ok(())
    };
    let created = create(CreateOptions {
        id: config.id.clone(),
        bundle: bundle.to_owned(),
        spec: &spec,
        stdio: std::mem::take(&mut stdio.child),
        console_socket: None,
        preserve_fds: 0,
        start_fifo: None,
        die_with_parent: true,
        no_pivot: false,
        unit: None,
        keep_keyring: false,
        on_namespaces: Some(&mut connect),
    });
    let started =
        created.and_then(
            |mut created| match go(&mut created, &mut stdio, config, attach) {
                Ok(()) => Ok(created),
                Err(error) => {
                    // The first error is the one to tell; what cannot be removed is found by the engine's sweep.
                    let _ = created.destroy();
                    Err(error)
                }
            },
        );
    let created = match started {
        Ok(created) => created,
        Err(error) => {
            if let Some(mut lease) = lease {
                let _ = lease.teardown();
            }
            return Err(error);
        }
    };
    let started_at = clock::now();
    let mut warnings = created.warnings;
    warnings.extend(lease.iter_mut().flat_map(|lease| lease.warnings.drain(..)));
    let (input, outputs) = stdio.parent(INIT, tty);
    let process = Process {
        name: String::new(),
        pid: created.pid,
        tty,
        input,
        outputs,
    };
    let container = Container {
        id: config.id.clone(),
        pid: created.pid,
        pidfd: created.pidfd,
        bundle: bundle.to_owned(),
        spec,
        cgroup: created.cgroup,
        paused: false,
        stdin: config.stdin,
        started_at,
        warnings,
    };
    Ok((container, process, lease))
}

fn go(
    created: &mut Created,
    stdio: &mut Stdio,
    config: &Config,
    attach: Option<&OwnedFd>,
) -> Result<()> {
    if let Some(master) = created.console.take() {
        stdio.console(master, config.stdin.open)?;
    }
    if config.tied && attach.is_none_or(tie::is_cut) {
        return Err(Error::new(
            "start",
            "the starter of the container has gone before it ran",
        ));
    }
    created.start()
}

fn network_error(error: pyd_net::Error) -> Error {
    Error {
        stage: "network".to_owned(),
        op: error.op,
        path: Some(error.path).filter(|path| !path.is_empty()),
        errno: Some(error.errno).filter(|&errno| errno != 0),
        hint: error.hint,
        ..Error::new("network", error.message)
    }
}
