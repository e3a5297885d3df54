//! `start`: lets the created container run its command.

use std::os::fd::AsFd;

use nix::unistd::Pid;
use pyd_sys::pidfd;

use super::args::Args;
use super::{Command, Context, notify};
use crate::error::{Error, Result};
use crate::hooks;
use crate::state::{Entry, Status};

pub const COMMAND: Command = Command {
    name: "start",
    usage: "ID",
    help: "run the command of a created container",
    takes: (1, 1),
    run,
    ..Command::DEFAULT
};

fn run(context: &Context, args: Args) -> Result<u8> {
    let entry = Entry::open(&context.root, args.id()?)?;
    let record = entry.record()?;
    match entry.status(&record) {
        Status::Created => {}
        Status::Stopped => {
            return Err(Error::new(
                "state",
                "cannot start a container that has stopped",
            ));
        }
        Status::Running | Status::Paused => {
            return Err(Error::new(
                "state",
                "cannot start an already running container",
            ));
        }
    }
    let spec = entry.spec()?;
    let listener = notify::listen(entry.directory())?;
    let pid = Pid::from_raw(record.pid);
    // Before it runs: afterwards its number could be another's.
    let pidfd = pidfd::open(pid).map_err(|e| Error::os("state", "pidfd_open", e))?;
    let released = entry.release()?;
    let hooks = spec.hooks().as_ref();
    if let Some(all) = hooks.filter(|all| all.poststart().is_some()) {
        // They come after the command is executed (config.md, "Poststart").
        released.executed()?;
        let state = hooks::state(&spec, &record.id, "running", Some(pid), &record.bundle);
        context.log.warn(&hooks::run_all(
            "poststart",
            all.poststart().as_deref(),
            &state,
        ));
    }
    // Other commands need not wait for the service to get ready.
    drop(entry);
    if let Some(listener) = listener {
        listener.forward(pidfd.as_fd(), pid, &context.log)?;
    }
    Ok(0)
}
