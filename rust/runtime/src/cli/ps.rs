//! `ps`: the processes of a container.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::args::{Args, Flag, value};
use super::{Command, Context};
use crate::cgroup::Cgroup;
use crate::error::{Error, Result};
use crate::state::Entry;

pub const COMMAND: Command = Command {
    name: "ps",
    usage: "ID",
    help: "list the processes of a container",
    flags: FLAGS,
    words: usize::MAX,
    enters: false,
    run,
};

const FLAGS: &[Flag] = &[value("format", Some('f'), "table or json (pids only)")];

fn run(context: &Context, args: Args) -> Result<u8> {
    let entry = Entry::open(&context.root, args.id()?)?;
    let mut pids = Cgroup::load(&entry.record()?.cgroup)?.pids()?;
    pids.sort_unstable();
    match args.value("format").unwrap_or("table") {
        "json" => println!("{}", serde_json::json!(pids)),
        "table" => {
            println!("{:<8} {:>8} {:>8} CMD", "UID", "PID", "PPID");
            for pid in pids {
                // A process that has ended meanwhile is left out.
                if let Some(line) = line(pid) {
                    println!("{line}");
                }
            }
        }
        other => {
            return Err(Error::invalid(format!(
                "--format {other:?} is neither table nor json"
            )));
        }
    }
    Ok(0)
}

fn line(pid: i32) -> Option<String> {
    let uid = fs::metadata(format!("/proc/{pid}")).ok()?.uid();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, tail) = stat.rsplit_once(") ")?;
    let parent = tail.split(' ').nth(1)?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command)
        .trim_end_matches('\0')
        .replace('\0', " ");
    let command = match command.is_empty() {
        true => format!("[{}]", head.split_once(" (")?.1),
        false => command,
    };
    // A container's process names itself: escape sequences are not for the reader's terminal.
    let shown: String = command
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    Some(format!("{uid:<8} {pid:>8} {parent:>8} {shown}"))
}
