//! `run`: create, start, wait, delete.

use std::os::fd::AsFd;

use super::args::Args;
use super::create::{FLAGS, Made, make, poststop};
use super::{Command, Context, foreground, warn};
use crate::error::Result;
use crate::intel_rdt;

pub const COMMAND: Command = Command {
    name: "run",
    usage: "ID",
    help: "create and start a container, and wait for its end",
    flags: FLAGS,
    words: usize::MAX,
    enters: true,
    run,
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
    let started = created.start();
    warn(&created.warnings);
    if let Err(error) = started {
        let _ = created.destroy();
        let _ = entry.remove();
        poststop(&spec, &record);
        return Err(error);
    }
    let Some(signals) = signals else { return Ok(0) };
    // Unlocked while it runs, so that other commands can be used on it.
    drop(entry);
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
    poststop(&spec, &record);
    Ok(status)
}
