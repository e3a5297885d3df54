//! `delete`: forgets a container and removes what it held.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::args::{Args, Flag, switch};
use super::create::poststop;
use super::kill::send;
use super::{Command, Context};
use crate::cgroup::{self, Cgroup};
use crate::error::{Error, Result};
use crate::intel_rdt;
use crate::state::{Entry, Record, Status, start_time};

pub const COMMAND: Command = Command {
    name: "delete",
    usage: "ID",
    help: "remove a stopped or never started container",
    flags: FLAGS,
    takes: (1, 1),
    run,
    ..Command::DEFAULT
};

const FLAGS: &[Flag] = &[switch(
    "force",
    Some('f'),
    "kill it first; no error when there is none",
)];

/// How long a killed process may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

fn run(context: &Context, args: Args) -> Result<u8> {
    let id = args.id()?;
    let force = args.has("force");
    let entry = match Entry::open(&context.root, id) {
        Err(_) if force && !context.root.join(id).exists() => return Ok(0),
        other => other?,
    };
    let record = match entry.record() {
        Ok(record) => record,
        Err(error) if force => return clear(context, entry, id, &error),
        Err(error) => return Err(error),
    };
    match entry.status(&record) {
        Status::Stopped => {}
        // Its command has not run: nothing is lost.
        Status::Created => end(&record)?,
        Status::Running | Status::Paused if force => end(&record)?,
        status => {
            return Err(Error::new(
                "state",
                format!(
                    "cannot delete container {id} that is not stopped: {}",
                    status.name()
                ),
            )
            .hint("kill it first, or delete --force"));
        }
    }
    let cgroup = Cgroup::load(&record.cgroup)?.of_unit(record.unit.clone());
    cgroup.kill_all()?;
    cgroup.remove()?;
    let spec = entry.spec();
    if let Ok(spec) = &spec {
        intel_rdt::remove(spec, id)?;
    }
    entry.remove()?;
    if let Ok(spec) = spec {
        poststop(context, &spec, &record);
    }
    Ok(0)
}

/// Removes what can be found of a container whose record cannot be used: its creation was killed, or the file is
/// damaged or another version's.
fn clear(context: &Context, entry: Entry, id: &str, why: &Error) -> Result<u8> {
    match entry.cgroup() {
        // All its processes are in there, its first one before it has run anything.
        Some(path) => cgroup::destroy(&path)?,
        None => context.log.warn(&[format!(
            "{}: what may still run of the container cannot be found",
            why.message
        )]),
    }
    if let Ok(spec) = entry.spec() {
        intel_rdt::remove(&spec, id)?;
    }
    entry.remove().map(|()| 0)
}

fn end(record: &Record) -> Result<()> {
    // It may end by itself at the same moment.
    let _ = send(record, Signal::SIGKILL as i32);
    let deadline = Instant::now() + PATIENCE;
    while start_time(Pid::from_raw(record.pid)) == Some(record.start_time) {
        if Instant::now() > deadline {
            return Err(
                Error::new("state", "the container's first process does not end")
                    .hint("it waits for a device or a network filesystem"),
            );
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
