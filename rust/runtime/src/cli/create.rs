//! `create`: everything but the start.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::args::{Args, Flag, switch, value};
use super::{Command, Context, warn, write_pid_file};
use crate::cgroup::Unit;
use crate::create::{CreateOptions, Created, cgroup_path, cgroups_path, create};
use crate::error::{Error, Result};
use crate::hooks;
use crate::shim::clock;
use crate::spec::{self, Spec};
use crate::state::{Entry, Record, start_time};

pub const COMMAND: Command = Command {
    name: "create",
    usage: "ID",
    help: "make a container from a bundle; start lets it run",
    flags: FLAGS,
    words: usize::MAX,
    enters: true,
    run,
};

/// Also those of `run`.
pub const FLAGS: &[Flag] = &[
    value(
        "bundle",
        Some('b'),
        "directory with config.json (default: the current one)",
    ),
    value("console-socket", None, "unix socket that gets the terminal"),
    value("pid-file", None, "file for the pid of the first process"),
    value(
        "preserve-fds",
        None,
        "number of descriptors from 3 on that the container inherits",
    ),
    switch("no-new-keyring", None, "keep the caller's session keyring"),
    switch(
        "no-pivot",
        None,
        "move the root and chroot: for a host that runs from its initramfs",
    ),
    switch("detach", Some('d'), "run: do not wait for the end"),
    switch("keep", None, "run: keep the state after the end"),
];

fn run(context: &Context, args: Args) -> Result<u8> {
    let made = make(context, &args, true)?;
    warn(&made.created.warnings);
    Ok(0)
}

/// A container that was made by this command.
#[derive(Debug)]
pub struct Made {
    pub entry: Entry,
    pub record: Record,
    pub spec: Spec,
    pub created: Created,
}

/// Makes the container and its record; `gated`: another process will start it.
pub fn make(context: &Context, args: &Args, gated: bool) -> Result<Made> {
    let id = args.id()?;
    let bundle = absolute(args.value("bundle").unwrap_or("."))?;
    let spec = spec::load(&bundle)?;
    let terminal = spec
        .process()
        .as_ref()
        .is_some_and(|process| process.terminal() == Some(true));
    let console_socket = console_socket(args, terminal, gated || args.has("detach"))?;
    let unit = match context.systemd_cgroup {
        true => Some(Unit::plan(&cgroups_path(&spec), id)?),
        false => None,
    };
    let entry = Entry::create(&context.root, id)?;
    let result = fill(&entry, args, &bundle, &spec, gated, console_socket, unit);
    match result {
        Ok((record, created)) => Ok(Made {
            entry,
            record,
            spec,
            created,
        }),
        Err(error) => {
            let _ = entry.remove();
            Err(error)
        }
    }
}

fn fill(
    entry: &Entry,
    args: &Args,
    bundle: &Path,
    spec: &Spec,
    gated: bool,
    console_socket: Option<OwnedFd>,
    unit: Option<Unit>,
) -> Result<(Record, Created)> {
    let id = args.id()?;
    let created = create(CreateOptions {
        id: id.to_owned(),
        bundle: bundle.to_owned(),
        spec,
        stdio: [None, None, None],
        console_socket,
        preserve_fds: preserve_fds(args)?,
        start_fifo: if gated {
            Some(entry.make_fifo()?)
        } else {
            None
        },
        die_with_parent: false,
        no_pivot: args.has("no-pivot"),
        unit: unit.clone(),
        keep_keyring: args.has("no-new-keyring"),
        on_namespaces: None,
    })?;
    let record = Record {
        id: id.to_owned(),
        bundle: bundle.to_owned(),
        pid: created.pid.as_raw(),
        start_time: start_time(created.pid).unwrap_or(0),
        created: clock::now(),
        cgroup: unit
            .as_ref()
            .map_or_else(|| cgroup_path(spec, id), |unit| unit.path.clone()),
        unit,
        keep_keyring: args.has("no-new-keyring"),
        rootfs: spec
            .root()
            .as_ref()
            .map(|root| bundle.join(root.path()))
            .unwrap_or_default(),
    };
    match entry
        .save(&record, spec)
        .and_then(|()| write_pid_file(args, record.pid))
    {
        Ok(()) => Ok((record, created)),
        Err(error) => {
            let _ = created.destroy();
            Err(error)
        }
    }
}

/// After the end of a container: its poststop hooks, whose failures are warnings (runtime.md, "Lifecycle").
pub fn poststop(spec: &Spec, record: &Record) {
    let Some(all) = spec.hooks() else { return };
    let state = hooks::state(spec, &record.id, "stopped", None, &record.bundle);
    warn(&hooks::run_all(
        "poststop",
        all.poststop().as_deref(),
        &state,
    ));
}

fn preserve_fds(args: &Args) -> Result<u32> {
    let given: u32 = args.number("preserve-fds")?.unwrap_or(0);
    // systemd's socket activation passes its descriptors from 3 on as well (sd_listen_fds(3)).
    let listen = std::env::var("LISTEN_FDS")
        .ok()
        .and_then(|count| count.parse::<u32>().ok())
        .unwrap_or(0);
    given
        .checked_add(listen)
        .filter(|sum| *sum < 1 << 20)
        .ok_or_else(|| Error::invalid("--preserve-fds is too large"))
}

/// Connects to the console socket.
pub fn console_socket(args: &Args, terminal: bool, detached: bool) -> Result<Option<OwnedFd>> {
    match args.value("console-socket").filter(|path| !path.is_empty()) {
        Some(_) if !terminal => Err(Error::invalid(
            "--console-socket is for a process with \"terminal\": true",
        )),
        Some(path) => UnixStream::connect(path)
            .map(|socket| Some(socket.into()))
            .map_err(|e| {
                let errno = nix::errno::Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO));
                Error::at("terminal", "connect", path, errno)
            }),
        None if terminal && detached => Err(Error::invalid(
            "cannot allocate tty if pyd-runtime will detach without setting console socket",
        )),
        None => Ok(None),
    }
}

/// The path as seen from `/`.
pub fn absolute(path: &str) -> Result<PathBuf> {
    std::fs::canonicalize(path).map_err(|e| {
        Error::at(
            "spec",
            "open",
            path,
            nix::errno::Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)),
        )
    })
}
