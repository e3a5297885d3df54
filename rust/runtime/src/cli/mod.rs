//! The command line: options of the runc kind, one module per command.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::error::{EXIT_ENGINE, Error, Result};
use crate::shim::clock;
use crate::{seal, tini};

mod args;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod foreground;
mod kill;
mod list;
mod pause;
mod ps;
mod run;
pub mod shim;
mod spec;
mod start;
mod state;
mod update;

use args::{Args, Flag, switch, value};

const GLOBAL: &[Flag] = &[
    value("root", None, "directory of the state of containers"),
    value("log", None, "file that errors are written to as well"),
    value("log-format", None, "text or json"),
    switch("debug", None, "accepted for compatibility"),
    switch(
        "systemd-cgroup",
        None,
        "let systemd make the control groups; cgroupsPath is slice:prefix:name",
    ),
    value("rootless", None, "accepted for compatibility"),
    switch("version", Some('v'), "print the version"),
    switch("help", Some('h'), "print this help"),
];

/// What every command gets.
#[derive(Debug)]
pub struct Context {
    /// `--root`.
    pub root: PathBuf,
    /// `--systemd-cgroup`.
    pub systemd_cgroup: bool,
}

type Run = fn(&Context, Args) -> Result<u8>;

/// Name, arguments, purpose, options, words before the command of the container begins, and the function.
struct Command {
    name: &'static str,
    usage: &'static str,
    help: &'static str,
    flags: &'static [Flag],
    words: usize,
    /// Whether this process or a copy of it enters the container.
    enters: bool,
    run: Run,
}

const COMMANDS: &[Command] = &[
    create::COMMAND,
    start::COMMAND,
    state::COMMAND,
    kill::COMMAND,
    delete::COMMAND,
    run::COMMAND,
    exec::COMMAND,
    ps::COMMAND,
    pause::PAUSE,
    pause::RESUME,
    update::COMMAND,
    events::COMMAND,
    spec::COMMAND,
    features::COMMAND,
    list::COMMAND,
];

/// Runs the program; `arguments` with its name. Gives the exit status.
pub fn main(arguments: Vec<OsString>) -> u8 {
    match arguments.get(1).and_then(|name| name.to_str()) {
        // Runs inside the container as its first process: nothing there to protect from.
        Some("init") => return tini::main(arguments.into_iter().skip(2)),
        Some("shim") => {
            return match seal::ensure(&arguments) {
                Ok(()) => shim::main(arguments.into_iter().skip(2)),
                Err(error) => complain(&error),
            };
        }
        _ => {}
    }
    let mut rest: Vec<OsString> = arguments.iter().skip(1).cloned().collect();
    let global = match Args::parse(&mut rest, GLOBAL, 1) {
        Ok(global) => global,
        Err(error) => return complain(&error),
    };
    match dispatch(&global, &arguments) {
        Ok(status) => status,
        Err(error) => {
            if let Some(log) = global.value("log").filter(|log| !log.is_empty()) {
                write_log(Path::new(log), global.value("log-format"), &error);
            }
            complain(&error)
        }
    }
}

fn complain(error: &Error) -> u8 {
    // Whether anybody reads it or not, the exit status is what it is.
    let _ = writeln!(std::io::stderr(), "pyd-runtime: {error}");
    error.exit_code
}

fn dispatch(global: &Args, arguments: &[OsString]) -> Result<u8> {
    if global.has("version") {
        println!(
            "pyd-runtime version {}\nspec: {}",
            env!("CARGO_PKG_VERSION"),
            spec::VERSION
        );
        return Ok(0);
    }
    let name = global.words.first().map(String::as_str);
    if global.has("help") || matches!(name, None | Some("help")) {
        print!("{}", help());
        return Ok(if name.is_none() && !global.has("help") {
            EXIT_ENGINE
        } else {
            0
        });
    }
    let name = name.unwrap_or_default();
    let command = COMMANDS
        .iter()
        .find(|command| command.name == name)
        .ok_or_else(|| {
            Error::invalid(format!("unknown command {name:?}"))
                .hint("pyd-runtime --help lists them")
        })?;
    if command.enters {
        seal::ensure(arguments)?;
    }
    let mut rest = global.words[1..]
        .iter()
        .map(OsString::from)
        .collect::<Vec<_>>();
    if rest
        .iter()
        .take_while(|word| *word != "--")
        .take(command.words)
        .any(|word| word == "--help" || word == "-h")
    {
        print!("{}", command_help(command));
        return Ok(0);
    }
    let args = Args::parse(&mut rest, command.flags, command.words)?;
    (command.run)(
        &Context {
            root: root(global.value("root"))?,
            systemd_cgroup: global.has("systemd-cgroup"),
        },
        args,
    )
}

fn root(given: Option<&str>) -> Result<PathBuf> {
    let root = match given {
        Some(root) => PathBuf::from(root),
        None if nix::unistd::geteuid().is_root() => PathBuf::from("/run/pyd-runtime"),
        None => {
            let base = std::env::var_os("XDG_RUNTIME_DIR")
                .ok_or_else(|| Error::invalid("XDG_RUNTIME_DIR is not set").hint("give --root"))?;
            Path::new(&base).join("pyd-runtime")
        }
    };
    std::path::absolute(&root)
        .map_err(|e| Error::invalid(format!("--root {}: {e}", root.display())))
}

/// One line as runc writes it: engines read the reason of a failure from there.
fn write_log(path: &Path, format: Option<&str>, error: &Error) {
    let time = clock::now();
    let line = match format {
        Some("json") => {
            json!({ "level": "error", "msg": error.to_string(), "time": time }).to_string()
        }
        _ => format!("time=\"{time}\" level=error msg={:?}", error.to_string()),
    };
    // The error itself is reported anyway; a log that cannot be written changes nothing about it.
    if let Ok(mut log) = OpenOptions::new().append(true).create(true).open(path) {
        let _ = writeln!(log, "{line}");
    }
}

fn help() -> String {
    let mut text = String::from(
        "Usage: pyd-runtime [options] COMMAND [arguments]\n\nRuns containers from OCI bundles.\n\nCommands:\n",
    );
    for command in COMMANDS {
        text.push_str(&format!("  {:9} {}\n", command.name, command.help));
    }
    text.push_str("  shim      monitor one container (used by pyd)\n  init      reap processes inside a container (used by pyd)\n");
    text.push_str("\nOptions:\n");
    text.push_str(&flags_help(GLOBAL));
    text
}

fn command_help(command: &Command) -> String {
    let mut text = format!(
        "Usage: pyd-runtime {} [options] {}\n\n{}\n",
        command.name, command.usage, command.help
    );
    if !command.flags.is_empty() {
        text.push_str("\nOptions:\n");
        text.push_str(&flags_help(command.flags));
    }
    text
}

fn flags_help(flags: &[Flag]) -> String {
    let line = |flag: &Flag| {
        let short = flag
            .short
            .map_or_else(|| "    ".to_owned(), |letter| format!("-{letter}, "));
        let name = format!("--{}{}", flag.name, if flag.value { " VALUE" } else { "" });
        format!("  {short}{name:28} {}\n", flag.help)
    };
    flags.iter().map(line).collect()
}

/// Writes a pid file, whole or not at all: a reader waits for it to appear.
fn write_pid_file(args: &Args, pid: i32) -> Result<()> {
    let Some(path) = args.value("pid-file").filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    let new = format!("{path}.new");
    std::fs::write(&new, pid.to_string())
        .and_then(|()| std::fs::rename(&new, path))
        .map_err(|e| {
            Error::at(
                "state",
                "write",
                path,
                nix::errno::Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)),
            )
        })
}

/// Warnings go to stderr, one line each.
fn warn(warnings: &[String]) {
    for warning in warnings {
        let _ = writeln!(std::io::stderr(), "pyd-runtime: warning: {warning}");
    }
}
