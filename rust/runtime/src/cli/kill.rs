//! `kill`: a signal to a container.

use std::str::FromStr;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use pyd_sys::pidfd;

use super::args::{Args, Flag, switch};
use super::{Command, Context};
use crate::cgroup::Cgroup;
use crate::error::{Error, Result};
use crate::state::{Entry, Record, Status, start_time};

pub const COMMAND: Command = Command {
    name: "kill",
    usage: "ID [SIGNAL]",
    help: "send a signal (default SIGTERM) to a container's first process",
    flags: FLAGS,
    takes: (1, 2),
    run,
    ..Command::DEFAULT
};

const FLAGS: &[Flag] = &[switch("all", Some('a'), "to all its processes")];

fn run(context: &Context, args: Args) -> Result<u8> {
    let (id, signal) = match args.words.as_slice() {
        [id] => (id, Signal::SIGTERM as i32),
        [id, signal] => (id, parse_signal(signal)?),
        _ => {
            return Err(Error::invalid(
                "give the container's id and at most one signal",
            ));
        }
    };
    let entry = Entry::open(&context.root, id)?;
    let record = entry.record()?;
    let status = entry.status(&record);
    if args.has("all") {
        let cgroup = Cgroup::load(&record.cgroup)?;
        return match Signal::try_from(signal) {
            Ok(Signal::SIGKILL) => cgroup.kill_all().map(|()| 0),
            Ok(signal) => cgroup.signal_all(signal).map(|()| 0),
            Err(_) => Err(Error::invalid("--all cannot send real-time signals")),
        };
    }
    if status == Status::Stopped {
        return Err(Error::new("state", "container not running"));
    }
    send(&record, signal)?;
    Ok(0)
}

/// Sends a signal to init; a frozen one is thawed for SIGKILL, which on version 1 would otherwise wait.
pub fn send(record: &Record, signal: i32) -> Result<()> {
    let gone = || Error::new("state", "container not running");
    let pid = Pid::from_raw(record.pid);
    let pidfd = pidfd::open(pid).map_err(|_| gone())?;
    // The descriptor is of this number's present owner: only if that is still ours is it what we want to signal.
    if start_time(pid) != Some(record.start_time) {
        return Err(gone());
    }
    pidfd::send_signal(&pidfd, signal).map_err(|e| Error::os("state", "pidfd_send_signal", e))?;
    if signal == Signal::SIGKILL as i32 {
        let cgroup = Cgroup::load(&record.cgroup)?;
        if cgroup.is_frozen() {
            cgroup.thaw()?;
        }
    }
    Ok(())
}

/// `TERM`, `SIGTERM`, `sigterm`, `15`, `RTMIN+3`.
fn parse_signal(text: &str) -> Result<i32> {
    let unknown = || Error::invalid(format!("unknown signal {text:?}"));
    if let Ok(number) = text.parse::<i32>() {
        return if (0..=64).contains(&number) {
            Ok(number)
        } else {
            Err(unknown())
        };
    }
    let name = text.to_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let offset = |digits: &str| digits.parse::<i32>().ok().filter(|n| (0..=30).contains(n));
    // The C library keeps 32 and 33 for itself.
    if name == "RTMIN" {
        return Ok(34);
    }
    if name == "RTMAX" {
        return Ok(64);
    }
    if let Some(digits) = name.strip_prefix("RTMIN+") {
        return offset(digits).map(|n| 34 + n).ok_or_else(unknown);
    }
    if let Some(digits) = name.strip_prefix("RTMAX-") {
        return offset(digits).map(|n| 64 - n).ok_or_else(unknown);
    }
    Signal::from_str(&format!("SIG{name}"))
        .map(|signal| signal as i32)
        .map_err(|_| unknown())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("9", 9),
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigterm", 15),
            ("RTMIN+3", 37),
            ("SIGRTMAX", 64),
        ] {
            assert_eq!(parse_signal(text).unwrap(), number, "{text}");
        }
        for text in ["", "65", "-1", "SIGNOPE", "RTMIN+99"] {
            assert!(parse_signal(text).is_err(), "{text}");
        }
    }
}
