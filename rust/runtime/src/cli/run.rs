//! `run`: create, start, wait, delete.

use std::os::fd::AsFd;

use super::args::{Args, Flag, switch};
use super::create::{COMMON, Made, make, poststop};
use super::{Command, Context, foreground, notify};
use crate::error::Result;
use crate::intel_rdt;

pub const COMMAND: Command = Command {
    name: "run",
    usage: "ID",
    help: "create and start a container, and wait for its end",
    flags: FLAGS,
    enters: true,
    takes: (1, 1),
    run,
    ..Command::DEFAULT
};

const FLAGS: &[Flag] = &{
    let mut all = [switch("detach", Some('d'), "do not wait for the end"); COMMON.len() + 3];
    all[0] = switch("keep", None, "keep the state after the end");
    all[1] = switch(
        "no-subreaper",
        None,
        "leave orphans to the caller's own reaper (done in any case)",
    );
    let mut at = 0;
    while at < COMMON.len() {
        all[3 + at] = COMMON[at];
        at += 1;
    }
    all
};

fn run(context: &Context, args: Args) -> Result<u8> {
    // Before the container exists: no signal shall end this process and leave it.
    let detached = args.has("detach");
    let signals = if detached {
        None
    } else {
        Some(foreground::block_signals()?)
    };
    let Made {
        entry,
        record,
        spec,
        mut created,
    } = make(context, &args, false)?;
    let listening = notify::listen(entry.directory());
    let started = listening.and_then(|listener| created.start().map(|()| listener));
    context.log.warn(&created.warnings);
    let listener = match started {
        Ok(listener) => listener,
        Err(error) => {
            let _ = created.destroy();
            let _ = entry.remove();
            poststop(context, &spec, &record);
            return Err(error);
        }
    };
    // Unlocked while it runs, so that other commands can be used on it.
    drop(entry);
    let Some(signals) = signals else {
        if let Some(listener) = listener {
            listener.forward(created.pidfd.as_fd(), created.pid, &context.log)?;
        }
        return Ok(0);
    };
    if let Some(listener) = listener {
        // The service manager watches this process, which lives as long as the container.
        listener.forward(created.pidfd.as_fd(), nix::unistd::getpid(), &context.log)?;
    }
    let console = created.console.take();
    let status = foreground::wait(created.pid, created.pidfd.as_fd(), console, signals)?;
    if args.has("keep") {
        return Ok(status);
    }
    let _ = created.cgroup.kill_all();
    created.cgroup.remove()?;
    intel_rdt::remove(&spec, &record.id)?;
    match crate::state::Entry::open(&context.root, &record.id) {
        Ok(entry) => entry.remove()?,
        // Somebody has deleted it in the meantime, which is what we are about to do.
        Err(_) => return Ok(status),
    }
    poststop(context, &spec, &record);
    Ok(status)
}
