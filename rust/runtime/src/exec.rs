//! An additional process in a running container.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, chroot, fchdir, setsid};
use pyd_sys::clone::{Clone3, Spawned, fork_threaded, single_threaded};
use pyd_sys::{pidfd, process};

use crate::cgroup::{Cgroup, Nested};
use crate::cpu_affinity::CpuAffinity;
use crate::create::set_oom_score;
use crate::error::{Error, Result};
use crate::hooks;
use crate::init::new_keyring;
use crate::launch::Launch;
use crate::procfs::Procfs;
use crate::seccomp::notify;
use crate::spawn::adopt;
use crate::spec::{self, LinuxNamespaceType, Process, Spec};
use crate::state;
use crate::sync::{self, Channel, Report, Step};
use crate::terminal::{self, Terminal};
use crate::weakness;

/// A process that was started in a container; a child of the caller.
#[derive(Debug)]
pub struct ExecChild {
    /// Host pid.
    pub pid: Pid,
    /// pidfd.
    pub pidfd: OwnedFd,
    /// Master of the pty, when the process has a terminal.
    pub console: Option<OwnedFd>,
    /// What could not be had and was left out, one sentence each.
    pub warnings: Vec<String>,
}

/// How an exec differs from the simplest one.
#[derive(Debug, Default)]
pub struct ExecOptions {
    /// The container's id, for the agent of its seccomp filter.
    pub id: String,
    /// The container's bundle, likewise.
    pub bundle: PathBuf,
    /// stdin, stdout, stderr; `None` inherits the caller's. Ignored with a terminal.
    pub stdio: [Option<OwnedFd>; 3],
    /// Descriptors 3..3+n of the caller that the process inherits.
    pub preserve_fds: u32,
    /// SIGKILL when the calling thread dies.
    pub die_with_parent: bool,
    /// When the container's init was started (`state::start_time`): its pid may have become another process's.
    pub start_time: Option<u64>,
    /// Keep the caller's session keyring, as the container itself did (`--no-new-keyring`).
    pub keep_keyring: bool,
}

/// Starts `process` in the namespaces and the cgroup of the container whose init is `target`.
///
/// `spec` is the container's own: its seccomp filter and personality apply to the new process too. Returns after
/// `execve` has succeeded, or gives its error (exit code 126 or 127) with nothing left.
pub fn exec(
    target: Pid,
    spec: &Spec,
    process: &Process,
    options: &ExecOptions,
    cgroup: Option<&Cgroup>,
) -> Result<ExecChild> {
    spec::check_process(process)?;
    let procfs = Procfs::host()?;
    let entry = Entry {
        target: Target::open(target, options.start_time, spec)?,
        process,
        launch: Launch::prepare(spec, process, options.die_with_parent, options.preserve_fds)?,
        affinity: CpuAffinity::parse(process)?,
        cgroup,
        nested: cgroup.and_then(|cgroup| cgroup.nested(target.as_raw())),
        threaded: !single_threaded(),
        stdio: &options.stdio,
        keep_keyring: options.keep_keyring,
    };
    let (parent, child) = sync::channel()?;
    let spawned = entry.affinity.begin(|| entry.spawn(&parent, &child))?;
    drop(child);
    let mut made = ExecChild {
        pid: spawned.pid,
        pidfd: spawned.pidfd,
        console: None,
        warnings: Vec::new(),
    };
    let listener = entry.launch.listener();
    let mut notify = |fd: &OwnedFd, process: Pid| match listener {
        Some(listener) => {
            let state = hooks::state(spec, &options.id, "running", Some(target), &options.bundle);
            notify::hand_over(listener, fd, process, &state)
        }
        None => Ok(()),
    };
    match bring_up(&mut made, &procfs, process, &parent, &mut notify) {
        Ok(()) => Ok(made),
        Err(error) => {
            let _ = pidfd::send_signal(&made.pidfd, Signal::SIGKILL as i32);
            while waitid(Id::PIDFd(made.pidfd.as_fd()), WaitPidFlag::WEXITED) == Err(Errno::EINTR) {
            }
            Err(error)
        }
    }
}

fn bring_up(
    made: &mut ExecChild,
    procfs: &Procfs,
    process: &Process,
    channel: &Channel,
    notify: &mut dyn FnMut(&OwnedFd, Pid) -> Result<()>,
) -> Result<()> {
    if let Some(score) = process.oom_score_adj() {
        made.warnings
            .extend(set_oom_score(procfs, made.pid, score)?);
    }
    match channel.allow(Step::Start) {
        // It has failed already; its report says why.
        Err(error) if error.errno() == Some(Errno::EPIPE) => {}
        other => other?,
    }
    let mut ready = false;
    loop {
        match channel.report()? {
            Report::Ready => ready = true,
            Report::Warning(text) => made.warnings.push(text),
            Report::Console(master) => made.console = Some(master),
            Report::Listener(fd) => notify(&fd, made.pid)?,
            Report::Failed(error) => return Err(error),
            Report::Closed if ready => return Ok(()),
            Report::Closed | Report::Pid(_) => {
                return Err(Error::new(
                    "exec",
                    "the new process was killed before it could start",
                ));
            }
        }
    }
}

/// The container that is entered.
struct Target {
    pidfd: OwnedFd,
    /// Namespaces to join, `CLONE_NEW*`.
    flags: CloneFlags,
    /// The root directory, for a container that shares its mount namespace with its maker.
    root: Option<OwnedFd>,
}

impl Target {
    fn open(pid: Pid, born: Option<u64>, spec: &Spec) -> Result<Self> {
        let gone =
            |e: Errno| Error::os("exec", "pidfd_open", e).context("the container is not running");
        let pidfd = pidfd::open(pid).map_err(gone)?;
        if born.is_some() && state::start_time(pid) != born {
            return Err(gone(Errno::ESRCH));
        }
        let mut flags = CloneFlags::empty();
        for ns in spec::namespaces(spec) {
            // Joining the user namespace one is in already is refused (setns(2)).
            if ns.typ() == LinuxNamespaceType::User && same_user_namespace(pid) {
                continue;
            }
            flags |= CloneFlags::from_bits_retain(spec::flag(ns.typ()) as i32);
        }
        let root = match flags.contains(CloneFlags::CLONE_NEWNS) {
            true => None,
            false => {
                let path = format!("/proc/{pid}/root");
                let opened = open(
                    path.as_str(),
                    OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
                    Mode::empty(),
                );
                Some(opened.map_err(|e| Error::at("exec", "open", &path, e))?)
            }
        };
        // The files above belong to this very process if it still lives, not to one that got its number.
        pidfd::send_signal(&pidfd, 0).map_err(gone)?;
        Ok(Self { pidfd, flags, root })
    }
}

fn same_user_namespace(pid: Pid) -> bool {
    let inode = |path: String| fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    inode(format!("/proc/{pid}/ns/user")) == inode("/proc/self/ns/user".to_owned())
}

struct Entry<'a> {
    target: Target,
    process: &'a Process,
    launch: Launch<'a>,
    affinity: CpuAffinity,
    cgroup: Option<&'a Cgroup>,
    nested: Option<Nested>,
    /// Whether the caller has several threads, so that only the C library's fork can be used.
    threaded: bool,
    stdio: &'a [Option<OwnedFd>; 3],
    keep_keyring: bool,
}

impl Entry<'_> {
    /// Makes the process: in the container's pid namespace only with the container's root directory.
    ///
    /// Groups and namespaces are joined by a process in between that nobody in the container sees. Of one that was
    /// there with the host's root, a container with CAP_SYS_PTRACE could open `/proc/PID/root`, dumpable or not.
    fn spawn(&self, parent: &Channel, child: &Channel) -> Result<Spawned> {
        let refused = |e: Errno| Error::os("exec", "clone3", e);
        let _hidden = Undumpable::new()?;
        let into = Clone3 {
            cgroup: match &self.nested {
                Some(nested) => Some(nested.fd()),
                None => self.cgroup.and_then(Cgroup::init_fd),
            },
            ..Clone3::default()
        };
        let between = self.fork(&into, || {
            parent.close_copy();
            let entered = self.join().and_then(|()| self.enter(child));
            let made = entered.and_then(|()| {
                let sibling = Clone3 {
                    sibling: true,
                    ..Clone3::default()
                };
                sibling.spawn(|| self.run(child)).map_err(refused)
            });
            match made.and_then(|made| child.pid(made.pid.as_raw())) {
                Ok(()) => 0,
                Err(error) => {
                    child.fail(&error);
                    1
                }
            }
        });
        adopt(parent, between.map_err(refused)?.pid)
    }

    fn fork(&self, how: &Clone3<'_>, child: impl FnOnce() -> i32) -> nix::Result<Spawned> {
        match self.threaded {
            false => how.spawn(child),
            true => fork_threaded(child),
        }
    }

    /// Into the container's groups, before anything of the container can use memory or time through it.
    fn join(&self) -> Result<()> {
        match self.cgroup {
            // Made by fork, so not in the group of version 2 either.
            Some(cgroup) if self.threaded => cgroup.join(self.nested.as_ref())?,
            Some(cgroup) => cgroup.join_v1()?,
            None => {}
        }
        self.affinity.settle()
    }

    /// The process in between: into the container, with nothing of the host's.
    fn enter(&self, channel: &Channel) -> Result<()> {
        let os = |op: &'static str| move |e: Errno| Error::os("exec", op, e);
        self.forget(channel).map_err(os("close_range"))?;
        let mut flags = self.target.flags;
        if weakness::is("exec-shows-the-host") {
            flags &= CloneFlags::CLONE_NEWPID;
        }
        if !flags.is_empty() {
            setns(&self.target.pidfd, flags).map_err(os("setns"))?;
        }
        if flags.contains(CloneFlags::CLONE_NEWUSER) {
            process::set_gid(0)
                .and_then(|()| process::set_uid(0))
                .map_err(os("setresuid"))?;
        }
        if let Some(root) = &self.target.root {
            fchdir(root)
                .and_then(|()| chroot("."))
                .map_err(os("chroot"))?;
        }
        Ok(())
    }

    /// Closes what the command will not have, above all directories and sockets of the host (CVE-2024-21626).
    fn forget(&self, channel: &Channel) -> nix::Result<()> {
        let target = [&self.target.pidfd].into_iter().chain(&self.target.root);
        let kept = target.chain(self.stdio.iter().flatten());
        let mut keep: Vec<RawFd> = kept.map(AsRawFd::as_raw_fd).collect();
        keep.push(channel.as_raw_fd());
        self.launch.forget(keep)
    }

    /// The child: everything up to its command.
    fn run(&self, channel: &Channel) -> i32 {
        let error = match self.prepare(channel) {
            Ok(program) => self.launch.run(&program),
            Err(error) => error,
        };
        channel.fail(&error);
        i32::from(error.exit_code)
    }

    fn prepare(&self, channel: &Channel) -> Result<String> {
        let os = |op: &'static str| move |e: Errno| Error::os("exec", op, e);
        process::reset_signals();
        self.launch.follow_parent()?;
        // Its OOM score is set.
        channel.wait(Step::Start, &mut None)?;
        if weakness::is("exec-shows-the-host") {
            let rest = self.target.flags - CloneFlags::CLONE_NEWPID;
            setns(&self.target.pidfd, rest).map_err(os("setns"))?;
        }
        setsid().map_err(os("setsid"))?;
        if !self.keep_keyring {
            new_keyring()?;
        }
        umask(Mode::from_bits_truncate(0o022));
        if self.process.terminal() == Some(true) {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let root = open("/", flags, Mode::empty()).map_err(os("open /"))?;
            Terminal::open(root.as_fd(), self.process)?.become_stdio(channel)?;
        } else {
            terminal::replace_stdio(self.stdio)?;
        }
        let program = self.launch.restrict(channel, None)?;
        channel.ready()?;
        Ok(program)
    }
}

/// While it lives, processes of a container can neither ptrace this process nor the child it makes, nor open their
/// descriptors and executable (CVE-2016-9962, CVE-2019-5736): the child inherits it and is in the container's pid
/// namespace at once.
struct Undumpable(bool);

impl Undumpable {
    fn new() -> Result<Self> {
        let was = prctl::get_dumpable().unwrap_or(false);
        prctl::set_dumpable(weakness::is("stays-dumpable"))
            .map_err(|e| Error::os("exec", "prctl(PR_SET_DUMPABLE)", e))?;
        Ok(Self(was))
    }
}

impl Drop for Undumpable {
    fn drop(&mut self) {
        let _ = prctl::set_dumpable(self.0);
    }
}
