//! The command line: options of the runc kind, one module per command.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::{seal, tini};

mod args;
mod checkpoint;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod foreground;
mod inherited;
mod kill;
mod list;
mod log;
mod notify;
mod pause;
mod ps;
mod root;
mod run;
pub mod shim;
mod spec;
mod start;
mod state;
mod update;
mod usage;

use args::{Args, Flag, switch, value};
use log::Log;

const GLOBAL: &[Flag] = &[
    value("root", None, "directory of the state of containers"),
    value(
        "log",
        None,
        "file for errors (also on stderr) and warnings (not on stderr then)",
    ),
    value("log-format", None, "text or json"),
    switch("debug", None, "log each call and its exit status"),
    switch(
        "systemd-cgroup",
        None,
        "let systemd make the control groups; cgroupsPath is slice:prefix:name",
    ),
    value(
        "rootless",
        None,
        "true: without control groups if need be; false: not; auto: with a warning",
    ),
    value("criu", None, "ignored, with a warning"),
    switch("version", Some('v'), "print the version"),
    switch("help", Some('h'), "print this help"),
];

/// Exit status of a command that failed.
const EXIT_FAILURE: u8 = 1;
/// Exit status of a command that does not exist, as urfave/cli has it.
const EXIT_UNKNOWN: u8 = 3;

/// What every command gets.
#[derive(Debug)]
pub struct Context {
    /// `--root`.
    pub root: PathBuf,
    /// `--systemd-cgroup`.
    pub systemd_cgroup: bool,
    /// `--log` and what belongs to it.
    pub log: Log,
    /// `--rootless`: whether control groups that cannot be had are done without; `None`: with a warning.
    pub rootless: Option<bool>,
}

type Run = fn(&Context, Args) -> Result<u8>;

/// One command, described once: for parsing, checking and helping.
struct Command {
    name: &'static str,
    usage: &'static str,
    help: &'static str,
    flags: &'static [Flag],
    /// Words before the command of the container begins, from where on a dash means nothing.
    words: usize,
    /// The fewest and the most words it takes.
    takes: (usize, usize),
    /// Whether this process or a copy of it enters the container.
    enters: bool,
    /// Exit status when it fails, as runc has it.
    failure: u8,
    run: Run,
}

impl Command {
    const DEFAULT: Self = Self {
        name: "",
        usage: "",
        help: "",
        flags: &[],
        words: usize::MAX,
        takes: (0, 0),
        enters: false,
        failure: EXIT_FAILURE,
        run: |_, _| Ok(0),
    };

    /// Wrong numbers of words, in runc's own terms.
    fn check(&self, args: &Args) -> Result<()> {
        let (fewest, most) = self.takes;
        let wanted = match args.words.len() {
            given if (fewest..=most).contains(&given) => return Ok(()),
            _ if fewest == most => format!("exactly {fewest}"),
            given if given < fewest => format!("a minimum of {fewest}"),
            _ => format!("a maximum of {most}"),
        };
        Err(
            Error::invalid(format!("{:?} requires {wanted} argument(s)", self.name))
                .hint(format!("pyd-runtime {} --help", self.name)),
        )
    }
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
    checkpoint::CHECKPOINT,
    checkpoint::RESTORE,
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
    dispatch(&global, &arguments)
}

/// For an error from before there is a log.
fn complain(error: &Error) -> u8 {
    Log::default().error(error);
    EXIT_FAILURE
}

fn dispatch(global: &Args, arguments: &[OsString]) -> u8 {
    if global.has("version") {
        println!(
            "pyd-runtime version {}\nspec: {}",
            env!("CARGO_PKG_VERSION"),
            spec::VERSION
        );
        return 0;
    }
    let name = global.words.first().map_or("", String::as_str);
    let known = |name: &str| COMMANDS.iter().find(|command| command.name == name);
    if global.has("help") || name.is_empty() {
        print!("{}", help());
        return 0;
    }
    if matches!(name, "help" | "h") {
        let text = match global.words.get(1) {
            None => help(),
            Some(name) => match known(name) {
                Some(command) => command_help(command),
                None => return unknown(name),
            },
        };
        print!("{text}");
        return 0;
    }
    let Some(command) = known(name) else {
        return unknown(name);
    };
    // Before anything is open or written: the program begins again.
    if command.enters
        && let Err(error) = seal::ensure(arguments)
    {
        return complain(&error);
    }
    let log = match Log::open(global) {
        Ok(log) => log,
        Err(error) => return complain(&error),
    };
    let context = Context {
        root: PathBuf::new(),
        systemd_cgroup: global.has("systemd-cgroup"),
        log,
        rootless: None,
    };
    perform(command, global, context)
}

fn unknown(name: &str) -> u8 {
    let error = Error::invalid(format!("unknown command {name:?}"));
    complain(&error.hint("pyd-runtime --help lists them"));
    EXIT_UNKNOWN
}

/// Runs the command; `context` has no more than its log yet.
fn perform(command: &Command, global: &Args, mut context: Context) -> u8 {
    let mut rest = global.words[1..].iter().map(OsString::from).collect();
    context.log.debug(&format!(
        "pyd-runtime {}: {:?}",
        env!("CARGO_PKG_VERSION"),
        global.words
    ));
    let parsed = Args::parse(&mut rest, command.flags, command.words).and_then(|args| {
        if !args.has("help") {
            command.check(&args)?;
            context.rootless = rootless(global.value("rootless"))?;
            context.root = root::find(global.value("root"))?;
        }
        if global.value("criu").is_some() {
            let text = "--criu is ignored: pyd-runtime makes no checkpoints";
            context.log.warn(&[text.to_owned()]);
        }
        Ok(args)
    });
    let (result, failure) = match parsed {
        Ok(args) if args.has("help") => {
            print!("{}", command_help(command));
            return 0;
        }
        Ok(args) => ((command.run)(&context, args), command.failure),
        Err(error) => (Err(error), EXIT_FAILURE),
    };
    match result {
        Ok(status) => {
            context.log.debug(&format!("exit status {status}"));
            status
        }
        Err(error) => {
            context.log.error(&error);
            failure
        }
    }
}

fn rootless(given: Option<&str>) -> Result<Option<bool>> {
    match given {
        None | Some("" | "auto") => Ok(None),
        Some(text) => match args::boolean(text) {
            Some(value) => Ok(Some(value)),
            None => Err(Error::invalid(format!(
                "--rootless is true, false or auto, not {text:?}"
            ))),
        },
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
