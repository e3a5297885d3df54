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
    usage: "ID [PS-OPTIONS...]",
    help: "list the processes of a container",
    flags: FLAGS,
    words: 1,
    takes: (1, usize::MAX),
    run,
    ..Command::DEFAULT
};

const FLAGS: &[Flag] = &[value("format", Some('f'), "table or json (pids only)")];

fn run(context: &Context, args: Args) -> Result<u8> {
    let entry = Entry::open(&context.root, args.id()?)?;
    let mut pids = Cgroup::load_present(&entry.record()?.cgroup)?.pids()?;
    pids.sort_unstable();
    match args.value("format").unwrap_or("table") {
        "json" => println!("{}", serde_json::json!(pids)),
        "table" => match args.words.get(1..).unwrap_or_default() {
            [] => print!("{}", own_table(&pids)),
            options => print!("{}", table_of_ps(&pids, options)?),
        },
        other => {
            return Err(Error::invalid(format!(
                "invalid format option {other:?}: it is neither table nor json"
            )));
        }
    }
    Ok(0)
}

fn own_table(pids: &[i32]) -> String {
    let title = format!("{:<8} {:>8} {:>8} CMD\n", "UID", "PID", "PPID");
    // A process that has ended meanwhile is left out.
    let lines = pids.iter().filter_map(|pid| line(*pid));
    lines.fold(title, |all, line| all + &line + "\n")
}

/// What the machine's ps(1) prints with these options, of the container's processes only.
fn table_of_ps(pids: &[i32], options: &[String]) -> Result<String> {
    let output = std::process::Command::new("ps").args(options).output();
    let output = output.map_err(|e| {
        Error::new(
            "ps",
            format!("options {options:?} need the program ps: {e}"),
        )
        .hint("leave them out")
    })?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        let why = why.lines().next().unwrap_or("no reason given");
        return Err(Error::invalid(format!("ps {options:?}: {why}")));
    }
    let mut lines = text.lines();
    let title = lines.next().unwrap_or_default();
    let column = title.split_whitespace().position(|name| name == "PID");
    let column = column.ok_or_else(|| Error::invalid("couldn't find PID field in ps output"))?;
    let ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column);
        pid.and_then(|pid| pid.parse().ok())
            .is_some_and(|pid: i32| pids.contains(&pid))
    };
    let lines = std::iter::once(title).chain(lines.filter(ours));
    Ok(lines.map(|line| format!("{line}\n")).collect())
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
