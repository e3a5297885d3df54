//! `events`: resource use and OOM kills of a container, one JSON object a line.

use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;
use pyd_sys::pidfd;
use serde_json::json;

use super::args::{Args, Flag, switch, value};
use super::{Command, Context, usage};
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
        "time between two lines of use (default 5s), as 500ms, 5s or 1m30s",
    ),
];

/// How late an OOM kill may be reported.
const PATIENCE: Duration = Duration::from_millis(100);

fn run(context: &Context, args: Args) -> Result<u8> {
    let id = args.id()?;
    let interval = duration(args.value("interval").unwrap_or("5s"))?;
    let entry = Entry::open(&context.root, id)?;
    let record = entry.record()?;
    if entry.status(&record) == Status::Stopped {
        return Err(Error::new(
            "state",
            format!("container with id {id} is not running"),
        ));
    }
    let init =
        pidfd::open(Pid::from_raw(record.pid)).map_err(|e| Error::os("state", "pidfd_open", e))?;
    // Others use the container meanwhile.
    drop(entry);
    let cgroup = Cgroup::load_present(&record.cgroup)?;
    let stats = || {
        let stats = cgroup.stats()?;
        Ok(json!({ "type": "stats", "id": id, "data": usage::value(&stats) }))
    };
    if args.has("stats") {
        print_line(&stats()?);
        return Ok(0);
    }
    let mut oom_kills = cgroup.oom_kills();
    let mut next = Instant::now() + interval;
    loop {
        let pause = next.saturating_duration_since(Instant::now()).min(PATIENCE);
        let mut fds = [PollFd::new(init.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(pause).unwrap_or(PollTimeout::ZERO);
        let ended = match poll(&mut fds, timeout) {
            Err(Errno::EINTR) => continue,
            other => other.map_err(|e| Error::os("state", "poll", e))? > 0,
        };
        let seen = cgroup.oom_kills();
        let mut open = true;
        if seen > oom_kills {
            open &= print_line(&json!({ "type": "oom", "id": id }));
            oom_kills = seen;
        }
        if ended {
            return Ok(0);
        }
        if Instant::now() >= next {
            next += interval;
            open &= print_line(&stats()?);
        }
        if !open {
            return Ok(0);
        }
    }
}

/// Whether somebody still reads.
fn print_line(line: &serde_json::Value) -> bool {
    let mut out = std::io::stdout();
    writeln!(out, "{line}").is_ok()
}

/// Go's notation: numbers with units, one after the other; a bare number counts seconds.
fn duration(text: &str) -> Result<Duration> {
    let parsed = match text.parse::<f64>() {
        Ok(seconds) => Some(seconds),
        Err(_) => seconds(text),
    };
    parsed
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| {
            Error::invalid(format!(
                "duration interval must be greater than 0, such as 5s, not {text:?}"
            ))
        })
}

fn seconds(mut text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 5] = [
        ("ms", 0.001),
        ("us", 0.000_001),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    let mut sum = 0.0;
    while !text.is_empty() {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, rest) = text.split_at(end);
        let (unit, factor) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit))?;
        sum += number.parse::<f64>().ok()? * factor;
        text = &rest[unit.len()..];
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [("5s", 5000), ("500ms", 500), ("1m30s", 90_000), ("2", 2000)] {
            let wanted = Duration::from_millis(millis);
            assert_eq!(duration(text).unwrap(), wanted, "{text}");
        }
        for text in ["", "0s", "-1s", "5x", "s", "inf", "1e300"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
