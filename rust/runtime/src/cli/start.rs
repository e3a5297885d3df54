//! `start`: lets the created container run its command.

use super::args::Args;
use super::{Command, Context, warn};
use crate::error::{Error, Result};
use crate::hooks;
use crate::state::{Entry, Status};

pub const COMMAND: Command = Command {
    name: "start",
    usage: "ID",
    help: "run the command of a created container",
    flags: &[],
    words: usize::MAX,
    enters: false,
    run,
};

fn run(context: &Context, args: Args) -> Result<u8> {
    let entry = Entry::open(&context.root, args.id()?)?;
    let record = entry.record()?;
    match entry.status(&record) {
        Status::Created => entry.release()?,
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
    if let Some(all) = spec.hooks() {
        let pid = Some(nix::unistd::Pid::from_raw(record.pid));
        let state = hooks::state(&spec, &record.id, "running", pid, &record.bundle);
        warn(&hooks::run_all(
            "poststart",
            all.poststart().as_deref(),
            &state,
        ));
    }
    Ok(0)
}
