//! `events`: resource use and OOM kills of a container, one JSON object a line.

use std::io::Write;
use std::time::Duration;

use serde_json::json;

use super::args::{Args, Flag, switch, value};
use super::{Command, Context};
use crate::cgroup::Cgroup;
use crate::error::{Error, Result};
use crate::state::{Entry, Status};

pub const COMMAND: Command = Command {
    name: "events",
    usage: "ID",
    help: "print resource use and OOM kills as JSON lines",
    flags: FLAGS,
    takes: (1, 1),
    run,
    ..Command::DEFAULT
};

const FLAGS: &[Flag] = &[
    switch("stats", None, "once, then end"),
    value(
        "interval",
        None,
        "seconds between two lines (default 5), as 5s or 5",
    ),
];

fn run(context: &Context, args: Args) -> Result<u8> {
    let id = args.id()?;
    let interval = args.value("interval").unwrap_or("5").trim_end_matches('s');
    let interval = interval.parse::<u64>().ok().filter(|seconds| *seconds > 0);
    let interval = interval.ok_or_else(|| Error::invalid("--interval is a number of seconds"))?;
    let mut oom_kills = None;
    loop {
        let entry = Entry::open(&context.root, id)?;
        let record = entry.record()?;
        if entry.status(&record) == Status::Stopped {
            return match args.has("stats") {
                true => Err(Error::new("state", "container not running")),
                false => Ok(0),
            };
        }
        drop(entry);
        let cgroup = Cgroup::load(&record.cgroup)?;
        let seen = cgroup.oom_kills();
        let mut lines = vec![json!({ "type": "stats", "id": id, "data": cgroup.stats()? })];
        if oom_kills.is_some_and(|before| seen > before) {
            lines.push(json!({ "type": "oom", "id": id }));
        }
        oom_kills = Some(seen);
        let mut out = std::io::stdout();
        if lines.iter().any(|line| writeln!(out, "{line}").is_err()) || args.has("stats") {
            return Ok(0);
        }
        std::thread::sleep(Duration::from_secs(interval));
    }
}
