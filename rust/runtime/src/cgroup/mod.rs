//! Control groups of one container: made, joined, limited, measured, frozen, killed and removed.
//!
//! Hierarchies of v1, v2 and both at once are found at run time ([`layout`]). On a hybrid machine the limits are set on
//! v1, while membership, freezing and killing go through a v2 directory: only v2 can start a process in its group
//! (CLONE_INTO_CGROUP) and kill a group as one.
//!
//! A hierarchy that cannot be used is left out ([`Cgroup::skipped`]); a limit that needs it is an error.

mod blkio;
mod cpu;
mod cpuset;
mod delegate;
mod device_program;
mod devices;
mod directory;
mod freezer;
mod hugetlb;
mod ignored;
mod info;
mod layout;
mod load;
mod members;
mod memory;
mod network;
mod oom;
mod pids;
mod place;
mod pressure;
mod rdma;
mod stats;
mod systemd;
mod unified;
mod unit;
mod v2;

use std::os::fd::{BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::write;
use oci_spec::runtime::LinuxResources;

pub use cpu::weight_of_shares;
pub use delegate::owner;
pub use info::{Info, info};
pub use layout::{Hierarchy, Layout, Mode};
pub use pressure::{Pressure, Stall};
pub use stats::{Blkio, BlkioEntry, Counter, Cpu, CpuUsage, Memory, Pids, Stats, Throttling};
pub use systemd::Unit;

use self::devices::Group;
use self::directory::Dir;
use self::place::{Places, V1};
use crate::error::{Error, Result, describe};

/// The directories of one container in every mounted hierarchy.
#[derive(Debug)]
pub struct Cgroup {
    places: Places,
    /// See [`Self::layout`].
    layout: Layout,
    /// Where systemd makes the groups.
    unit: Option<Unit>,
    /// Whether the unit exists because of us, and so is ours to stop.
    unit_started: bool,
}

impl Cgroup {
    /// Makes the directory `path` in every hierarchy and sets the limits. On an error nothing is left behind.
    ///
    /// An absolute path (`/pyd/<id>`) counts from the mount point of each hierarchy, a relative one from the group
    /// that this process is in.
    pub fn create(path: &str, resources: Option<&LinuxResources>) -> Result<Cgroup> {
        check(path)?;
        let layout = Layout::detect()?;
        let mut group = Cgroup {
            places: Places::default(),
            layout: Layout::default(),
            unit: None,
            unit_started: false,
        };
        let made = group
            .make(layout, path, resources)
            .and_then(|()| resources.map_or(Ok(()), |wanted| group.limit(wanted, Group::New)));
        if let Err(error) = made {
            let _ = group.remove();
            return Err(error);
        }
        Ok(group)
    }

    fn make(
        &mut self,
        mut layout: Layout,
        path: &str,
        resources: Option<&LinuxResources>,
    ) -> Result<()> {
        let wanted = v2::wanted(&layout, resources);
        for hierarchy in &mut layout.v1 {
            match make_v1(hierarchy, path) {
                Ok((dir, tasks)) => {
                    hierarchy.own = format!("/{}", directory::resolve(hierarchy, path));
                    self.places.v1.push(V1 {
                        controllers: hierarchy.controllers.clone(),
                        dir,
                        tasks: Some(tasks),
                    });
                }
                Err(errno) => self.skip_or_fail(&hierarchy.controllers, hierarchy, path, errno)?,
            }
        }
        if let Some(hierarchy) = &mut layout.v2 {
            match v2::create(hierarchy, path, wanted) {
                Ok((group, refused)) => {
                    hierarchy.own = format!("/{}", directory::resolve(hierarchy, path));
                    self.places.v2 = Some(group);
                    self.places.skipped.extend(refused);
                }
                Err(errno) => self.skip_or_fail(&hierarchy.controllers, hierarchy, path, errno)?,
            }
        }
        self.layout = layout;
        Ok(())
    }

    /// The hierarchies as a member sees them: `own` is this group. Of a group that was made, not loaded.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// No permission is what a rootless user or a container without a writable cgroup mount meets: such hierarchies are
    /// left out. Anything else is a real failure.
    fn skip_or_fail(
        &mut self,
        controllers: &[String],
        hierarchy: &Hierarchy,
        path: &str,
        errno: Errno,
    ) -> Result<()> {
        if matches!(errno, Errno::EACCES | Errno::EPERM | Errno::EROFS) {
            let reason = describe(errno);
            self.places
                .skipped
                .extend(controllers.iter().map(|name| format!("{name}: {reason}")));
            return Ok(());
        }
        let full = format!(
            "{}/{}",
            hierarchy.mountpoint.display(),
            directory::resolve(hierarchy, path)
        );
        let error = Error::at("cgroup", "mkdir", full, errno);
        Err(match errno {
            Errno::EBUSY => error.hint("another container uses this control group"),
            Errno::ENOSPC | Errno::EAGAIN => {
                error.hint("the limit of control groups is reached (cgroup.max.descendants)")
            }
            _ => error,
        })
    }

    fn limit(&self, wanted: &LinuxResources, group: Group) -> Result<()> {
        let places = &self.places;
        if let Some(rules) = wanted.devices() {
            devices::apply(places, rules, group)?;
        }
        if let Some(memory) = wanted.memory() {
            memory::apply(places, memory)?;
        }
        if let Some(cpu) = wanted.cpu() {
            cpu::apply(places, cpu)?;
            cpuset::apply(places, cpu)?;
        }
        if let Some(pids) = wanted.pids() {
            pids::apply(places, pids)?;
        }
        if let Some(io) = wanted.block_io() {
            blkio::apply(places, io)?;
        }
        if let Some(limits) = wanted.hugepage_limits() {
            hugetlb::apply(places, limits)?;
        }
        if let Some(limits) = wanted.rdma() {
            rdma::apply(places, limits)?;
        }
        if let Some(network) = wanted.network() {
            network::apply(places, network)?;
        }
        // Last: the file names of v2 are the most precise way to say a thing.
        if let Some(unified) = wanted.unified() {
            unified::apply(places, unified)?;
        }
        Ok(())
    }

    /// The v2 directory, for CLONE_INTO_CGROUP. None where no v2 hierarchy can be used.
    pub fn init_fd(&self) -> Option<BorrowedFd<'_>> {
        self.places.v2.as_ref().map(|group| group.dir.fd())
    }

    /// Child, which has one thread: puts itself into the v1 groups, and so is a member of all if it was cloned into
    /// [`Self::init_fd`]. Allocates nothing but the text of an error.
    pub fn join_v1(&self) -> Result<()> {
        for V1 { dir, tasks, .. } in &self.places.v1 {
            let joined = match tasks {
                Some(tasks) => write(tasks, b"0"),
                None => dir.open_tasks().and_then(|tasks| write(tasks, b"0")),
            };
            joined.map_err(|errno| join_error(&dir.label, errno))?;
        }
        Ok(())
    }

    /// Closes what was kept open for init to join: the monitor of a container does without.
    pub fn close_tasks(&mut self) {
        for group in &mut self.places.v1 {
            group.tasks = None;
        }
    }

    /// Child, which has one thread and was made by fork: the same with the v2 group, or the one below it.
    pub fn join(&self, nested: Option<&Nested>) -> Result<()> {
        let own = self.places.v2.as_ref().map(|group| &group.dir);
        if let Some(dir) = nested.map(|nested| &nested.0).or(own) {
            dir.write("cgroup.procs", "0")
                .map_err(|errno| join_error(&dir.label, errno))?;
        }
        self.join_v1()
    }

    /// Moves another process, with all of its threads, into every hierarchy.
    pub fn add(&self, pid: i32) -> Result<()> {
        for dir in self.dirs() {
            dir.write("cgroup.procs", &pid.to_string())
                .map_err(|errno| join_error(&dir.label, errno))?;
        }
        Ok(())
    }

    /// Changes the limits that are given, leaves the others.
    pub fn update(&self, resources: &LinuxResources) -> Result<()> {
        if let Some(unit) = &self.unit {
            self.update_unit(unit, resources)?;
        }
        self.limit(resources, Group::Running)
    }

    /// Stops every process; returns when they stand still.
    pub fn freeze(&self) -> Result<()> {
        freezer::freeze(&self.places)
    }

    pub fn thaw(&self) -> Result<()> {
        freezer::thaw(&self.places)
    }

    /// Whether the group is frozen or being frozen, by whomever.
    pub fn is_frozen(&self) -> bool {
        freezer::is_frozen(&self.places)
    }

    /// Sends a signal to every process of the group and of the groups below it. To frozen ones it is delivered when
    /// they are thawed, except SIGKILL, which is [`Self::kill_all`].
    pub fn signal_all(&self, signal: Signal) -> Result<()> {
        members::signal_all(&self.places, signal)
    }

    /// Kills every process, frozen ones too. Does not wait for them.
    pub fn kill_all(&self) -> Result<()> {
        members::kill_all(&self.places)
    }

    /// Host pids of the group and of the groups below it.
    pub fn pids(&self) -> Result<Vec<i32>> {
        members::pids(&self.places)
    }

    pub fn stats(&self) -> Result<Stats> {
        Ok(stats::collect(&self.places))
    }

    /// How many processes the kernel's OOM killer has killed here.
    pub fn oom_kills(&self) -> u64 {
        oom::kills(&self.places)
    }

    /// Becomes readable when the kernel's OOM killer may have run here. Does not change what that killer does.
    pub fn oom_event_fd(&self) -> Option<OwnedFd> {
        oom::event_fd(&self.places)
    }

    /// Lets `uid` of the host, a user in the container, manage groups below this one. On v2 only.
    pub fn give(&self, uid: u32) -> Result<()> {
        delegate::give(&self.places, uid)
    }

    /// What of `resources` has no counterpart here and is left out, one sentence each.
    pub fn ignored(&self, resources: &LinuxResources) -> Vec<String> {
        ignored::warnings(&self.places, resources)
    }

    /// The v2 group that another process of the container must start in, when it is not [`Self::init_fd`]: once the
    /// container has enabled controllers for groups of its own (an init system does), the kernel lets no process into
    /// the group above them. `init`: a process that is in the right one.
    pub fn nested(&self, init: i32) -> Option<Nested> {
        let group = &self.places.v2.as_ref()?.dir;
        let enabled = group.read("cgroup.subtree_control").ok()?;
        if enabled.trim().is_empty() {
            return None;
        }
        let own = std::fs::read_to_string(format!("/proc/{init}/cgroup")).ok()?;
        let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let below = path.strip_prefix(group.path())?.strip_prefix('/')?;
        group.child(below).ok().map(Nested)
    }

    /// Controllers that could not be used, with the reason: `memory: permission denied`.
    pub fn skipped(&self) -> &[String] {
        &self.places.skipped
    }

    /// Whether any directory of this container exists.
    pub fn exists(&self) -> bool {
        !self.places.v1.is_empty() || self.places.v2.is_some()
    }

    /// Removes the directories, waiting for exiting processes, then each empty parent that pyd made.
    ///
    /// Goes on after a failure and gives the first one.
    pub fn remove(&self) -> Result<()> {
        let started = self.unit.as_ref().filter(|_| self.unit_started);
        let stopped = started.map_or(Ok(()), Unit::stop);
        // What systemd does not know, or leaves behind (groups below the unit, before version 240).
        let removed = self.remove_leaf();
        self.remove_parent();
        stopped.and(removed)
    }

    /// [`Self::remove`] without the parents. Making them again costs the next start more than a third of its time in
    /// control groups (measured on nine v1 hierarchies), so whoever waits for the container should be told first.
    pub fn remove_leaf(&self) -> Result<()> {
        self.dirs().map(Dir::remove).fold(Ok(()), Result::and)
    }

    /// Removes each parent that pyd made, if no other container is in it.
    pub fn remove_parent(&self) {
        self.dirs().for_each(Dir::remove_parent);
    }

    fn dirs(&self) -> impl Iterator<Item = &Dir> {
        let v2 = self.places.v2.iter().map(|group| &group.dir);
        v2.chain(self.places.v1.iter().map(|group| &group.dir))
    }
}

/// Whether the rules can be expressed, in any hierarchy.
pub fn check_device_rules(rules: &[oci_spec::runtime::LinuxDeviceCgroup]) -> Result<()> {
    devices::Policy::from_rules(rules).map(drop)
}

/// See [`Cgroup::nested`].
#[derive(Debug)]
pub struct Nested(Dir);

impl Nested {
    /// For CLONE_INTO_CGROUP.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd()
    }
}

/// Kills what is in the group and removes it: what a sweeper does for a container whose monitor is gone.
pub fn destroy(path: &str) -> Result<()> {
    let group = Cgroup::load(path)?;
    if group.exists() {
        group.kill_all()?;
        group.remove()?;
    }
    Ok(())
}

fn make_v1(hierarchy: &Hierarchy, path: &str) -> nix::Result<(Dir, OwnedFd)> {
    let cpuset = hierarchy.controllers.iter().any(|name| name == "cpuset");
    let dir = Dir::create(hierarchy, path, &mut |root, parent| {
        if cpuset {
            cpuset::prepare_parent(root, parent)?;
        }
        Ok(())
    })?;
    let finished = (|| {
        if cpuset {
            cpuset::prepare_leaf(&dir, &directory::resolve(hierarchy, path))?;
        }
        dir.open_tasks()
    })();
    match finished {
        Ok(tasks) => Ok((dir, tasks)),
        Err(errno) => {
            // Also what a mount point hidden under another file system comes to.
            let _ = dir.remove();
            dir.remove_parent();
            Err(errno)
        }
    }
}

fn join_error(label: &str, errno: Errno) -> Error {
    let error = Error::at("cgroup", "join", label, errno)
        .context("cannot move the process into its control group");
    match errno {
        Errno::ENOSPC => error.hint("the cpuset has no CPU or no memory node"),
        Errno::EBUSY => error.hint("the group has controllers enabled for groups below it"),
        Errno::EINVAL => {
            error.hint("a real-time process needs a real-time budget (cpu.rt_runtime_us)")
        }
        _ => error,
    }
}

/// The path comes from a spec and is joined to a mount point.
fn check(path: &str) -> Result<()> {
    let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
    if parts.peek().is_none()
        || parts.any(|part| part == "." || part == "..")
        || path.contains('\0')
    {
        return Err(Error::invalid(format!(
            "\"{path}\" is not the path of a control group"
        )));
    }
    Ok(())
}
