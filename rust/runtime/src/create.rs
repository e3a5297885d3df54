//! Makes a container up to the point where only its start is missing.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use pyd_sys::clone::Spawned;
use pyd_sys::{fdpass, pidfd};

use crate::cgroup::{self, Cgroup, Unit};
use crate::devices::{Devices, with_default_rules};
use crate::error::{Error, Result};
use crate::init::Init;
use crate::intel_rdt::IntelRdt;
use crate::launch::Launch;
use crate::mounts::Mounts;
use crate::procfs::Procfs;
use crate::rootfs::Rootfs;
use crate::seccomp::{Listener, notify};
use crate::spawn::Namespaces;
use crate::spec::{Hook, LinuxNamespaceType, LinuxResources, Spec};
use crate::sync::{self, Channel, Report, Step};
use crate::{hooks, idmap, intel_rdt, net_devices};

/// Called in the parent when the namespaces of the container exist and before anything in it runs: the place to
/// give it a network. The argument is the host pid of the container's init.
pub type OnNamespaces<'a> = &'a mut dyn FnMut(Pid) -> Result<()>;

/// What a container is made from.
pub struct CreateOptions<'a> {
    /// Name for hooks and messages.
    pub id: String,
    /// Directory of `config.json`, absolute; relative paths of the spec are meant from here.
    pub bundle: PathBuf,
    /// The container's description.
    pub spec: &'a Spec,
    /// stdin, stdout, stderr of the first process; `None` inherits the caller's. Ignored with a terminal.
    pub stdio: [Option<OwnedFd>; 3],
    /// Connected AF_UNIX socket that gets the pty's master (`--console-socket`); without it `Created::console` has it.
    pub console_socket: Option<OwnedFd>,
    /// Descriptors 3..3+n of the caller that the container inherits.
    pub preserve_fds: u32,
    /// FIFO in the state directory on which init waits, when another process will start it; `None`: this one will.
    pub start_fifo: Option<PathBuf>,
    /// SIGKILL for init when the creating thread dies.
    pub die_with_parent: bool,
    /// Move the root over `/` and chroot, where pivot_root is impossible (the host's root is an initramfs).
    pub no_pivot: bool,
    /// The unit that systemd is to make for the container's groups; `None`: they are made here, at the spec's path.
    pub unit: Option<Unit>,
    /// Keep the caller's session keyring instead of a new one, which has nothing of the caller's in it.
    pub keep_keyring: bool,
    /// See [`OnNamespaces`].
    pub on_namespaces: Option<OnNamespaces<'a>>,
}

impl fmt::Debug for CreateOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateOptions")
            .field("id", &self.id)
            .field("bundle", &self.bundle)
            .finish_non_exhaustive()
    }
}

/// A container whose init waits to be started. Moving fields out is fine once it is started.
#[derive(Debug)]
pub struct Created {
    /// Host pid of init, a child of the caller.
    pub pid: Pid,
    /// pidfd of init.
    pub pidfd: OwnedFd,
    /// The container's groups.
    pub cgroup: Cgroup,
    intel_rdt: Option<IntelRdt>,
    /// Master of the pty, when the spec asks for a terminal and no console socket was given.
    pub console: Option<OwnedFd>,
    /// What could not be had and was left out, one sentence each.
    pub warnings: Vec<String>,
    channel: Channel,
    poststart: Vec<Hook>,
    state: Vec<u8>,
}

/// Makes cgroup, namespaces, root filesystem and everything else of the container; its init then waits.
///
/// The caller must be single-threaded. On an error nothing is left: no process, no cgroup, no mount.
pub fn create(options: CreateOptions<'_>) -> Result<Created> {
    let spec = options.spec;
    let process = spec
        .process()
        .as_ref()
        .ok_or_else(|| Error::invalid("process is missing"))?;
    let procfs = Procfs::host()?;
    let namespaces = Namespaces::prepare(spec)?;
    let (parent, child) = sync::channel()?;
    let init = Init {
        id: &options.id,
        bundle: &options.bundle,
        spec,
        namespaces: &namespaces,
        rootfs: Rootfs::prepare(spec, &options.bundle, options.no_pivot)?,
        mounts: Mounts::prepare(spec, &options.bundle, &procfs)?,
        devices: Devices::prepare(spec)?,
        launch: Launch::prepare(spec, process, options.die_with_parent, options.preserve_fds)?,
        procfs: &procfs,
        stdio: &options.stdio,
        terminal: process.terminal().unwrap_or(false),
        keep_keyring: options.keep_keyring,
        gate: options.start_fifo.as_deref().map(open_gate).transpose()?,
        channel: &child,
    };
    let listener = init.launch.listener().cloned();
    let resources = resources(spec);
    let cgroup = match options.unit {
        None => Cgroup::create(&cgroup_path(spec, &options.id), resources.as_ref())?,
        Some(unit) => Cgroup::planned(unit)?,
    };
    let intel_rdt = match intel_rdt::prepare(spec, &options.id) {
        Ok(class) => class,
        Err(error) => {
            let _ = cgroup.remove();
            return Err(error);
        }
    };
    let spawned = match namespaces.spawn(cgroup.init_fd(), &parent, &child, || {
        parent.close_copy();
        init.run(&cgroup)
    }) {
        Ok(spawned) => spawned,
        Err(error) => {
            let _ = cgroup.remove();
            let _ = intel_rdt.map_or(Ok(()), |class| class.remove());
            return Err(error);
        }
    };
    // The child has its own; while ours is open, its end would never show.
    drop(child);
    let Spawned { pid, pidfd } = spawned;
    let hooks = spec.hooks().as_ref();
    let poststart = hooks
        .and_then(|all| all.poststart().clone())
        .unwrap_or_default();
    let state = match poststart.is_empty() {
        true => Vec::new(),
        false => hooks::state(spec, &options.id, "running", Some(pid), &options.bundle),
    };
    let mut created = Created {
        pid,
        pidfd,
        cgroup,
        intel_rdt,
        console: None,
        warnings: Vec::new(),
        channel: parent,
        poststart,
        state,
    };
    let bring_up = Parent {
        spec,
        id: &options.id,
        bundle: &options.bundle,
        procfs: &procfs,
        namespaces: &namespaces,
        listener,
        resources,
    };
    match bring_up.run(&mut created, options.on_namespaces, options.console_socket) {
        Ok(()) => {
            created.cgroup.close_tasks();
            Ok(created)
        }
        Err(error) => {
            // The first error is the one to tell.
            let _ = created.destroy();
            Err(error)
        }
    }
}

/// The parent's side of a creation.
struct Parent<'a> {
    spec: &'a Spec,
    id: &'a str,
    bundle: &'a Path,
    procfs: &'a Procfs,
    namespaces: &'a Namespaces,
    listener: Option<Listener>,
    resources: Option<LinuxResources>,
}

impl Parent<'_> {
    fn run(
        &self,
        created: &mut Created,
        on_namespaces: Option<OnNamespaces<'_>>,
        console_socket: Option<OwnedFd>,
    ) -> Result<()> {
        match self.allow_steps(created, on_namespaces) {
            // Init has failed and is gone: what it said is the cause, not that it does not listen.
            Err(error) if error.errno() == Some(Errno::EPIPE) => {}
            // Nor that its namespaces cannot be found any more.
            Err(error) => return Err(created.channel.failure().unwrap_or(error)),
            Ok(()) => {}
        }
        loop {
            match created.channel.report()? {
                Report::Ready => return Ok(()),
                Report::Warning(text) => created.warnings.push(text),
                Report::Console(master) => match &console_socket {
                    Some(socket) => fdpass::send(socket, b"/dev/ptmx", &master).map_err(|e| {
                        Error::os("terminal", "send the terminal to the console socket", e)
                    })?,
                    None => created.console = Some(master),
                },
                Report::Listener(fd) => self.notify(&fd, created.pid)?,
                Report::Failed(error) => return Err(error),
                Report::Pid(_) | Report::Closed => {
                    return Err(Error::new(
                        "namespaces",
                        "the container's first process was killed while it was made",
                    )
                    .hint("its memory limit may be too small, or its seccomp filter kills it"));
                }
            }
        }
    }

    fn notify(&self, fd: &OwnedFd, pid: Pid) -> Result<()> {
        let Some(listener) = &self.listener else {
            return Ok(());
        };
        let state = hooks::state(self.spec, self.id, "creating", Some(pid), self.bundle);
        notify::hand_over(listener, fd, pid, &state)
    }

    fn allow_steps(
        &self,
        created: &mut Created,
        on_namespaces: Option<OnNamespaces<'_>>,
    ) -> Result<()> {
        if self.namespaces.has(LinuxNamespaceType::User) {
            let linux = self.spec.linux().as_ref();
            let uids = linux
                .and_then(|linux| linux.uid_mappings().as_deref())
                .unwrap_or(&[]);
            let gids = linux
                .and_then(|linux| linux.gid_mappings().as_deref())
                .unwrap_or(&[]);
            idmap::write(self.procfs, created.pid, uids, gids)?;
            created.channel.allow(Step::Mapped)?;
        }
        if created.cgroup.unit().is_some() {
            let annotations = self.spec.annotations().clone().unwrap_or_default();
            let (pid, limits) = (created.pid.as_raw(), self.resources.as_ref());
            let cgroup = &mut created.cgroup;
            cgroup.start_unit(pid, self.id, &annotations, limits)?;
            created.channel.allow(Step::Grouped)?;
        }
        if let Some(class) = &created.intel_rdt {
            class.add(created.pid)?;
        }
        if let Some(uid) = cgroup::owner(self.spec) {
            created.cgroup.give(uid)?;
        }
        if let Some(resources) = &self.resources {
            created.warnings.extend(created.cgroup.ignored(resources));
        }
        if !created.cgroup.skipped().is_empty() {
            // One sentence, however many hierarchies a machine has.
            let all = created.cgroup.skipped().join(", ");
            created
                .warnings
                .push(format!("control groups left out: {all}"));
        }
        if let Some(score) = self
            .spec
            .process()
            .as_ref()
            .and_then(|process| process.oom_score_adj())
        {
            created
                .warnings
                .extend(set_oom_score(self.procfs, created.pid, score)?);
        }
        net_devices::attach(self.spec, created.pid)?;
        if let Some(all) = self
            .spec
            .hooks()
            .as_ref()
            .filter(|_| hooks::run_before_start(self.spec))
        {
            // They may look at the groups of init, and change them.
            created.channel.wait_joined()?;
            let state = hooks::state(
                self.spec,
                self.id,
                "creating",
                Some(created.pid),
                self.bundle,
            );
            // Deprecated by the spec; engines still send them.
            #[allow(deprecated)]
            hooks::run("prestart", all.prestart().as_deref(), &state)?;
            hooks::run("createRuntime", all.create_runtime().as_deref(), &state)?;
        }
        if let Some(callback) = on_namespaces {
            callback(created.pid)?;
        }
        created.channel.allow(Step::Prepared)
    }
}

impl Created {
    /// Lets init go on; returns when `execve` has succeeded, or gives the error of the exec (then call `destroy`).
    /// What failed poststart hooks said is added to `warnings`, as the spec wants it.
    pub fn start(&mut self) -> Result<()> {
        self.channel.allow(Step::Start)?;
        match self.channel.report()? {
            Report::Failed(error) => return Err(error),
            // Closed: close-on-exec has closed the other end.
            _ => self.warnings.extend(hooks::run_all(
                "poststart",
                Some(&self.poststart),
                &self.state,
            )),
        }
        Ok(())
    }

    /// Kills and reaps an init that was not started, and removes the cgroup.
    pub fn destroy(self) -> Result<()> {
        // ESRCH: it has ended by itself and waits to be reaped.
        let _ = pidfd::send_signal(&self.pidfd, Signal::SIGKILL as i32);
        while waitid(Id::PIDFd(self.pidfd.as_fd()), WaitPidFlag::WEXITED) == Err(Errno::EINTR) {}
        // Without a pid namespace it may have left children (hooks).
        let _ = self.cgroup.kill_all();
        let removed = self.cgroup.remove();
        removed.and(self.intel_rdt.map_or(Ok(()), |class| class.remove()))
    }
}

/// Sets the score; a lower one than the current needs CAP_SYS_RESOURCE and is otherwise left, with a warning.
pub(crate) fn set_oom_score(procfs: &Procfs, pid: Pid, score: i32) -> Result<Option<String>> {
    match procfs.write(&format!("{pid}/oom_score_adj"), &score.to_string()) {
        Ok(()) => Ok(None),
        Err(Errno::EACCES | Errno::EPERM) => {
            let current = procfs
                .read(&format!("{pid}/oom_score_adj"))
                .unwrap_or_default();
            Ok(Some(format!(
                "without CAP_SYS_RESOURCE, oom_score_adj stays at {} instead of {score}",
                current.trim()
            )))
        }
        Err(e) => Err(Error::os("process", "write oom_score_adj", e).context(score)),
    }
}

/// `linux.cgroupsPath`; empty where there is none.
#[must_use]
pub fn cgroups_path(spec: &Spec) -> String {
    let path = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.cgroups_path().as_ref());
    path.map(|path| path.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Path of the container's group; `slice:prefix:name` is what systemd-minded callers send. A relative path is the
/// runtime's to interpret (config-linux.md, "Cgroups Path").
#[must_use]
pub fn cgroup_path(spec: &Spec, id: &str) -> String {
    let path = cgroups_path(spec);
    if path.is_empty() {
        return format!("/{id}");
    }
    match *path.split(':').collect::<Vec<_>>() {
        [slice, prefix, name] if !path.contains('/') => {
            let slice = if slice.is_empty() {
                "system.slice"
            } else {
                slice
            };
            format!("/{slice}/{prefix}-{name}.scope")
        }
        // The same place for every caller, wherever it is itself: from the top. Only below its own group may an
        // unprivileged one make any.
        _ if !path.starts_with('/') && nix::unistd::geteuid().is_root() => format!("/{path}"),
        _ => path,
    }
}

/// The limits of the spec; device rules, where there are any, with those that every container needs.
fn resources(spec: &Spec) -> Option<LinuxResources> {
    let mut resources = spec.linux().as_ref()?.resources().clone()?;
    if let Some(rules) = resources
        .devices()
        .as_deref()
        .filter(|rules| !rules.is_empty())
    {
        let all = with_default_rules(rules);
        resources.set_devices(Some(all));
    }
    Some(resources)
}

fn open_gate(path: &Path) -> Result<OwnedFd> {
    // Open for writing as well, so that this never blocks and a reader never sees an end.
    open(
        path,
        OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW,
        Mode::empty(),
    )
    .map_err(|e| Error::at("start", "open", path, e))
}
