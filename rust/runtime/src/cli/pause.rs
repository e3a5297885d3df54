//! `pause` and `resume`: all processes of a container stand still, and go on.

use super::args::Args;
use super::{Command, Context};
use crate::cgroup::Cgroup;
use crate::error::{Error, Result};
use crate::state::{Entry, Status};

pub const PAUSE: Command = Command {
    name: "pause",
    usage: "ID",
    help: "stop all processes of a container for a while",
    takes: (1, 1),
    run: pause,
    ..Command::DEFAULT
};

pub const RESUME: Command = Command {
    name: "resume",
    usage: "ID",
    help: "let a paused container go on",
    takes: (1, 1),
    run: resume,
    ..Command::DEFAULT
};

fn pause(context: &Context, args: Args) -> Result<u8> {
    let entry = Entry::open(&context.root, args.id()?)?;
    let record = entry.record()?;
    match entry.status(&record) {
        Status::Running | Status::Created => {
            Cgroup::load_present(&record.cgroup)?.freeze().map(|()| 0)
        }
        _ => Err(Error::new("state", "container not running")),
    }
}

fn resume(context: &Context, args: Args) -> Result<u8> {
    let entry = Entry::open(&context.root, args.id()?)?;
    let record = entry.record()?;
    let cgroup = Cgroup::load_present(&record.cgroup)?;
    match cgroup.is_frozen() {
        true => cgroup.thaw().map(|()| 0),
        false => Err(Error::new("state", "container not paused")),
    }
}
