//! What a container's first process does before it becomes the command: the steps of a start, in order.

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{sethostname, setsid};
use pyd_sys::path::make_directories;
use pyd_sys::{netns, process};

use crate::cgroup::Cgroup;
use crate::cgroup_mount::CgroupView;
use crate::devices::Devices;
use crate::error::{Error, Result};
use crate::launch::Launch;
use crate::mounts::Mounts;
use crate::procfs::Procfs;
use crate::rootfs::{self, Rootfs};
use crate::spawn::Namespaces;
use crate::spec::{LinuxNamespaceType, Spec};
use crate::sync::{Channel, Step};
use crate::terminal::{self, Terminal};
use crate::{hooks, masks, sysctl, weakness};

/// Everything that the parent has prepared; init owns a copy of it since the clone.
#[derive(Debug)]
pub struct Init<'a> {
    pub id: &'a str,
    pub bundle: &'a Path,
    pub spec: &'a Spec,
    pub namespaces: &'a Namespaces,
    pub rootfs: Rootfs,
    pub mounts: Mounts<'a>,
    pub devices: Devices,
    pub launch: Launch<'a>,
    pub procfs: &'a Procfs,
    pub stdio: &'a [Option<OwnedFd>; 3],
    pub terminal: bool,
    pub keep_keyring: bool,
    /// Read end of the FIFO on which another process will allow the start.
    pub gate: Option<OwnedFd>,
    pub channel: &'a Channel,
}

impl Init<'_> {
    /// Runs all steps; comes back only to say why it could not.
    ///
    /// `cgroup`: the container's groups, which the parent has just made.
    pub fn run(mut self, cgroup: &Cgroup) -> i32 {
        let error = match self.prepare(cgroup) {
            Ok(program) => {
                let error = self.start(&program);
                if self.gate.is_some() {
                    // Nobody listens on the channel any more: `start` ran in another process.
                    let _ = writeln!(std::io::stderr(), "{error}");
                }
                error
            }
            Err(error) => error,
        };
        self.channel.fail(&error);
        // Its descriptors are closed already: closing the numbers again could only hit another's.
        std::mem::forget(self);
        i32::from(error.exit_code)
    }

    /// All steps before the start.
    fn prepare(&mut self, cgroup: &Cgroup) -> Result<String> {
        process::reset_signals();
        self.launch.follow_parent()?;
        let mut done = None;
        // Before it uses memory or time that the groups should count.
        match cgroup.unit() {
            Some(_) => self.channel.wait(Step::Grouped, &mut done)?,
            None => cgroup.join_v1()?,
        }
        if hooks::run_before_start(self.spec) {
            self.channel.joined()?;
        }
        let os = |op: &'static str| move |e: Errno| Error::os("namespaces", op, e);
        let owns = |kind| self.namespaces.has(kind);
        if !owns(LinuxNamespaceType::Pid) {
            // Others can see this process before it is confined: they shall not ptrace it or open its executable
            // (CVE-2016-9962, CVE-2019-5736).
            prctl::set_dumpable(false).map_err(os("prctl(PR_SET_DUMPABLE)"))?;
        }
        if owns(LinuxNamespaceType::User) {
            self.channel.wait(Step::Mapped, &mut done)?;
            process::set_gid(0)
                .and_then(|()| process::set_uid(0))
                .map_err(|e| {
                    os("setresuid")(e)
                        .hint("uidMappings and gidMappings must map id 0 of the container")
                })?;
            self.launch.follow_parent()?;
        }
        setsid().map_err(os("setsid"))?;
        if !self.keep_keyring {
            new_keyring()?;
        }
        if let Some(name) = self
            .spec
            .hostname()
            .as_deref()
            .filter(|name| !name.is_empty())
        {
            sethostname(name).map_err(os("sethostname"))?;
        }
        if let Some(name) = self
            .spec
            .domainname()
            .as_deref()
            .filter(|name| !name.is_empty())
        {
            process::set_domain_name(name).map_err(os("setdomainname"))?;
        }
        if owns(LinuxNamespaceType::Network) {
            netns::loopback_up()
                .map_err(|e| Error::new("network", format!("cannot bring up lo: {e}")))?;
        }
        // Modes in the spec mean what they say.
        umask(Mode::empty());
        if owns(LinuxNamespaceType::Mount) {
            self.make_root(cgroup, &mut done)?;
        } else {
            self.enter_cgroups()?;
            self.channel.wait(Step::Prepared, &mut done)?;
            sysctl::apply(self.spec, self.procfs)?;
            self.take_stdio(None)?;
            rootfs::change_root(self.rootfs.path())?;
        }
        let program = self.launch.restrict(self.channel, self.gate.as_ref())?;
        self.channel.ready()?;
        Ok(program)
    }

    fn make_root(&mut self, cgroup: &Cgroup, done: &mut Option<Step>) -> Result<()> {
        let (spec, channel) = (self.spec, self.channel);
        let root = self.rootfs.attach()?;
        self.enter_cgroups()?;
        self.mounts.attach(root.as_fd(), &mut || {
            Ok(CgroupView {
                layout: cgroup.layout().clone(),
                namespaced: self.namespaces.new_cgroup,
            })
        })?;
        if !self.mounts.binds_dev() {
            self.devices.make(root.as_fd())?;
        }
        self.take_stdio(Some(&root))?;
        let cwd = spec
            .process()
            .as_ref()
            .map_or(Path::new("/"), |process| process.cwd());
        let made = match weakness::is("targets-by-name") {
            true => weakness::by_name(root.as_fd(), cwd, true),
            false => make_directories(root.as_fd(), cwd, Mode::from_bits_truncate(0o755)),
        };
        made.map_err(|e| Error::at("rootfs", "mkdir", cwd, e))?;
        let linux = spec.linux().as_ref();
        let readonly = linux
            .and_then(|linux| linux.readonly_paths().as_deref())
            .unwrap_or(&[]);
        let masked = linux
            .and_then(|linux| linux.masked_paths().as_deref())
            .unwrap_or(&[]);
        masks::cover(root.as_fd(), readonly, masked)?;
        if let Some(all) = spec.hooks() {
            let state = hooks::state(
                spec,
                self.id,
                "creating",
                Some(nix::unistd::getpid()),
                self.bundle,
            );
            hooks::run("createContainer", all.create_container().as_deref(), &state)?;
        }
        channel.wait(Step::Prepared, done)?;
        if weakness::is("procfs-by-name") {
            sysctl::apply(spec, &Procfs::in_root(root.as_fd())?)?;
        } else {
            sysctl::apply(spec, self.procfs)?;
        }
        self.rootfs.enter(root.as_fd())
    }

    /// The container's groups become the roots of a cgroup namespace if it gets one.
    fn enter_cgroups(&self) -> Result<()> {
        if self.namespaces.new_cgroup {
            unshare(CloneFlags::CLONE_NEWCGROUP)
                .map_err(|e| Error::os("cgroup", "unshare(cgroup)", e))?;
        }
        Ok(())
    }

    fn take_stdio(&self, root: Option<&OwnedFd>) -> Result<()> {
        let Some(process) = self.spec.process().as_ref().filter(|_| self.terminal) else {
            return terminal::replace_stdio(self.stdio);
        };
        match root {
            Some(root) => {
                let terminal = Terminal::open(root.as_fd(), process)?;
                terminal.bind_console(root.as_fd())?;
                terminal.become_stdio(self.channel)
            }
            None => Err(Error::invalid("a terminal needs a mount namespace")),
        }
    }

    /// Waits for the start and executes the command.
    fn start(&self, program: &str) -> Error {
        let allowed = match &self.gate {
            Some(gate) => wait_at(gate),
            None => self.channel.wait(Step::Start, &mut Some(Step::Prepared)),
        };
        let hooked = allowed.and_then(|()| match self.spec.hooks() {
            Some(all) => {
                let state = hooks::state(
                    self.spec,
                    self.id,
                    "created",
                    Some(nix::unistd::getpid()),
                    self.bundle,
                );
                hooks::run("startContainer", all.start_container().as_deref(), &state)
            }
            None => Ok(()),
        });
        match hooked {
            Ok(()) => self.launch.run(program),
            Err(error) => error,
        }
    }
}

/// A session keyring of the process's own, so that it does not possess its maker's keys (keyrings(7)).
pub(crate) fn new_keyring() -> Result<()> {
    match process::new_session_keyring() {
        // Kernels without keyrings, and seccomp filters of an outer container, have none to protect.
        Ok(()) | Err(Errno::ENOSYS | Errno::EPERM) => Ok(()),
        Err(e) => Err(Error::os("process", "keyctl(JOIN_SESSION_KEYRING)", e)
            .hint("kernel.keys.maxkeys or maxbytes may be reached")),
    }
}

/// Reads the one byte that `start` writes. The FIFO is open for writing here too, so its end never comes early.
fn wait_at(gate: &OwnedFd) -> Result<()> {
    let mut byte = [0u8; 1];
    loop {
        match nix::unistd::read(gate.as_fd(), &mut byte) {
            Ok(1) => return Ok(()),
            Err(Errno::EINTR) => continue,
            Ok(_) => {
                return Err(Error::new(
                    "start",
                    "the start FIFO has no reader or writer",
                ));
            }
            Err(e) => {
                return Err(
                    Error::os("start", "read", e).context(format!("fd {}", gate.as_raw_fd()))
                );
            }
        }
    }
}
