//! `create`: everything but the start.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::args::{Args, Flag, switch, value};
use super::inherited::Inherited;
use super::{Command, Context, inherited, notify, write_pid_file};
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
    enters: true,
    takes: (1, 1),
    run,
    ..Command::DEFAULT
};

const FLAGS: &[Flag] = &COMMON;

/// Those that `run` has as well.
pub const COMMON: [Flag; 7] = [
    value(
        "bundle",
        Some('b'),
        "directory with config.json (default: the current one)",
    ),
    value("console-socket", None, "unix socket that gets the terminal"),
    value(
        "pidfd-socket",
        None,
        "unix socket that gets a pidfd of the first process",
    ),
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
];

fn run(context: &Context, args: Args) -> Result<u8> {
    let made = make(context, &args, true)?;
    context.log.warn(&made.created.warnings);
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
    let mut notes = Vec::new();
    let spec = spec::load_noting(&bundle, &mut notes)?;
    let inherited = inherited::of_container(args)?;
    let terminal = spec
        .process()
        .as_ref()
        .is_some_and(|process| process.terminal() == Some(true));
    let sockets = Sockets::connect(args, terminal, gated || args.has("detach"))?;
    let unit = match context.systemd_cgroup {
        true => Some(Unit::plan(&cgroups_path(&spec), id)?),
        false => None,
    };
    let entry = Entry::create(&context.root, id)?;
    let parts = Parts {
        bundle: &bundle,
        spec: &spec,
        gated,
        sockets,
        inherited,
        unit,
    };
    match fill(context, &entry, args, parts) {
        Ok((record, mut created)) => {
            created.warnings.append(&mut notes);
            Ok(Made {
                entry,
                record,
                spec,
                created,
            })
        }
        Err(error) => {
            let _ = entry.remove();
            Err(error)
        }
    }
}

/// What a container is made from, checked before anything of it exists.
struct Parts<'a> {
    bundle: &'a Path,
    spec: &'a Spec,
    gated: bool,
    sockets: Sockets,
    inherited: Inherited,
    unit: Option<Unit>,
}

fn fill(
    context: &Context,
    entry: &Entry,
    args: &Args,
    parts: Parts<'_>,
) -> Result<(Record, Created)> {
    let id = args.id()?;
    let Parts {
        bundle,
        spec,
        gated,
        sockets,
        inherited,
        unit,
    } = parts;
    // What only this start needs stays out of the spec that is kept: an exec must not announce readiness.
    let mut own = spec.clone();
    notify::prepare(entry.directory(), &mut own)?;
    add_environment(&mut own, inherited.environment);
    entry.keep(spec)?;
    let created = create(CreateOptions {
        id: id.to_owned(),
        bundle: bundle.to_owned(),
        spec: &own,
        stdio: [None, None, None],
        console_socket: sockets.console,
        preserve_fds: inherited.count,
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
        format: Record::FORMAT,
        id: id.to_owned(),
        bundle: bundle.to_owned(),
        pid: created.pid.as_raw(),
        start_time: start_time(created.pid).unwrap_or(0),
        created: clock::now(),
        cgroup: unit
            .as_ref()
            .map_or_else(|| cgroup_path(spec, id), |unit| unit.path.clone()),
        grouped: created.cgroup.exists(),
        unit,
        keep_keyring: args.has("no-new-keyring"),
        rootfs: spec
            .root()
            .as_ref()
            .map(|root| bundle.join(root.path()))
            .unwrap_or_default(),
    };
    let finished = strict(context, &created)
        .and_then(|()| send_pidfd(sockets.pidfd.as_ref(), &created.pidfd))
        .and_then(|()| entry.save(&record))
        .and_then(|()| write_pid_file(args, record.pid));
    match finished {
        Ok(()) => Ok((record, created)),
        Err(error) => {
            let _ = created.destroy();
            Err(error)
        }
    }
}

/// `--rootless=false`: what has been left out for want of permission is an error.
fn strict(context: &Context, created: &Created) -> Result<()> {
    match created.cgroup.skipped() {
        skipped if context.rootless == Some(false) && !skipped.is_empty() => Err(Error::new(
            "cgroup",
            format!("control groups cannot be used: {}", skipped.join(", ")),
        )
        .hint("leave out --rootless=false to do without them")),
        _ => Ok(()),
    }
}

fn add_environment(spec: &mut Spec, variables: Vec<String>) {
    if let Some(process) = spec.process_mut() {
        let mut env = process.env().clone().unwrap_or_default();
        env.extend(variables);
        process.set_env(Some(env));
    }
}

/// After the end of a container: its poststop hooks, whose failures are warnings (runtime.md, "Lifecycle").
pub fn poststop(context: &Context, spec: &Spec, record: &Record) {
    let Some(all) = spec.hooks() else { return };
    let state = hooks::state(spec, &record.id, "stopped", None, &record.bundle);
    context.log.warn(&hooks::run_all(
        "poststop",
        all.poststop().as_deref(),
        &state,
    ));
}

/// The sockets that the caller waits at.
#[derive(Debug)]
pub struct Sockets {
    /// Gets the pty's master.
    pub console: Option<OwnedFd>,
    /// Gets the pidfd.
    pub pidfd: Option<OwnedFd>,
}

impl Sockets {
    /// Connects to `--console-socket` and `--pidfd-socket`.
    pub fn connect(args: &Args, terminal: bool, detached: bool) -> Result<Self> {
        let connect = |name: &str| {
            let path = args.value(name).filter(|path| !path.is_empty());
            let connected = path.map(|path| {
                UnixStream::connect(path).map(OwnedFd::from).map_err(|e| {
                    let errno = nix::errno::Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO));
                    Error::at("terminal", "connect", path, errno).context(format!("--{name}"))
                })
            });
            connected.transpose()
        };
        let wanted = args
            .value("console-socket")
            .is_some_and(|path| !path.is_empty());
        if wanted && !(terminal && detached) {
            return Err(Error::invalid(
                "cannot use console socket if pyd-runtime will not detach or allocate tty",
            ));
        }
        if !wanted && terminal && detached {
            return Err(Error::invalid(
                "cannot allocate tty if pyd-runtime will detach without setting console socket",
            ));
        }
        Ok(Self {
            console: connect("console-socket")?,
            pidfd: connect("pidfd-socket")?,
        })
    }
}

/// Hands the pidfd over, as runc does it: the name is for people who trace.
pub fn send_pidfd(socket: Option<&OwnedFd>, pidfd: &OwnedFd) -> Result<()> {
    match socket {
        Some(socket) => pyd_sys::fdpass::send(socket, b"pidfd", pidfd)
            .map_err(|e| Error::os("process", "send the pidfd to the pidfd socket", e)),
        None => Ok(()),
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
